package fieldcrypt

import (
	"crypto/aes"
	"encoding/hex"
	"strings"
)

// Check says what keeps a JSON object that somebody else has encrypted from
// being encrypted throughout: marks that are missing, or a text that is clear.
// Without the key it can tell no more.
func Check(doc []byte) error {
	if _, err := objectMarks(doc); err != nil {
		return err
	}
	_, err := rewrite(doc, nil, "{", func(dst, text []byte) ([]byte, error) { return append(dst, '"', '"'), checkSealed(text) })
	return err
}

// CheckForm is [Check] for a multipart/form-data body of the given Content-Type.
func CheckForm(contentType string, body []byte) error {
	_, parts, err := readForm(contentType, body)
	if err != nil {
		return err
	}
	_, err = formMarks(parts)
	for _, p := range parts {
		if err == nil && !clearNames[p.FormName()] {
			err = checkSealed(p.content)
		}
	}
	return err
}

func checkSealed(text []byte) error {
	digits, sealed := strings.CutPrefix(string(text), prefixSealed)
	raw, err := hex.DecodeString(digits)
	switch {
	case !sealed:
		return ErrClear
	case err != nil || len(raw) < idSize+minPadding || len(raw)%aes.BlockSize != 0:
		return ErrDamaged
	}
	return nil
}
