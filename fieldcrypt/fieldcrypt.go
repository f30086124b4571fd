// Package fieldcrypt seals and opens the text of requests and answers, field
// encryption "v1" of the network.
//
// Start with [Open] and [OpenForm] for what has come, and with [NewSealer] for
// what leaves; who has sealed a request opens its answer with [Sealer.Reply]. Every string value of a JSON object is sealed by itself; names,
// numbers, the structure and a few members (model, limits) stay clear, and four
// marks in the object say between which keys. agree.go derives the secret,
// field.go seals one string, json.go and form.go find the strings.
//
// It is kept for the sake of deployed apps and hides less than it seems to:
// strings can be swapped, dropped or replaced by clear ones on the way, there is
// no forward secrecy, and whoever hands the private key to a worker, today the
// proxy, can read everything. Where keys come from is left to others.
// Source: current.md section 3.
package fieldcrypt

import (
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/openai"
)

// Errors of Open and OpenForm. None holds anything of what was to be opened.
var (
	// ErrUnmarked means the body does not say that it is encrypted.
	ErrUnmarked = errors.New("not marked as encrypted")
	// ErrMarks means one of the four marks is missing, twice there, or unreadable.
	ErrMarks = errors.New("encryption marks are incomplete")
	// ErrKeyMismatch means it was sealed for another key.
	ErrKeyMismatch = errors.New("public key mismatch")
	// ErrPrefix means a text begins neither with ENC_ nor with DEC_.
	ErrPrefix = errors.New("a field is neither encrypted nor marked as clear")
	// ErrDamaged means a sealed text was changed, cut, or sealed with other keys.
	ErrDamaged = errors.New("an encrypted field is damaged")
	// ErrClear means a text is marked as clear where all must be encrypted.
	ErrClear = errors.New("a field is clear, want all of them encrypted")
	// ErrText means a text was sealed that is not UTF-8.
	ErrText = errors.New("an encrypted field is not UTF-8")
)

// The marks of an encrypted body.
const (
	markVersion  = "is_encrypted"
	markSender   = "sender_public_key"
	markReceiver = "receiver_public_key"
	markNonce    = "encryption_nonce"
	version      = "v1"
)

// clearNames are the members that stay as they are, with all below them, at
// every depth.
var clearNames = map[string]bool{
	markVersion: true, markSender: true, markReceiver: true, markNonce: true,
	"model": true, "max_completion_tokens": true, "max_tokens": true, "max_coefficient": true,
	"timeout": true, "debug": true, "enable_debug": true, "request_guid": true,
}

func isMark(name string) bool {
	return name == markVersion || name == markSender || name == markReceiver || name == markNonce
}

// marks is what an encrypted body says about itself.
type marks struct {
	sender, receiver PublicKey
	nonce            string
}

// readMarks takes the marks from a lookup that tells whether there is such a
// mark and whether it is a text. Any version's name is accepted, as in the network.
func readMarks(lookup func(name string) (text string, isText, found bool)) (m marks, err error) {
	if _, _, found := lookup(markVersion); !found {
		return m, ErrUnmarked
	}
	texts := map[string]string{}
	for _, name := range []string{markVersion, markSender, markReceiver, markNonce} {
		text, isText, _ := lookup(name)
		if !isText {
			return m, fmt.Errorf("%w: %s, want a text", ErrMarks, name)
		}
		texts[name] = text
	}
	m.nonce = texts[markNonce]
	if m.sender, err = ParsePublicKey(texts[markSender]); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrMarks, markSender, err)
	}
	if m.receiver, err = ParsePublicKey(texts[markReceiver]); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrMarks, markReceiver, err)
	}
	return m, nil
}

func objectMarks(doc []byte) (marks, error) {
	object, err := openai.ParseObject(doc)
	if err != nil {
		return marks{}, err
	}
	return readMarks(func(name string) (string, bool, bool) {
		raw := object.Get(name)
		if raw == nil || raw[0] != '"' {
			return "", false, raw != nil
		}
		return string(unquote(raw)), true, true
	})
}

// keys are the message keys of a body that own is to open.
func (m marks) keys(own *Seed, d Direction) (*messageKeys, error) {
	if own.Public() != m.receiver {
		return nil, ErrKeyMismatch
	}
	shared, err := agree(own, m.sender)
	if err != nil {
		return nil, err
	}
	return newMessageKeys(shared, m.nonce, d), nil
}

// Open opens an encrypted JSON object with the receiver's key and returns it
// without marks and white space, and whose key it came from, which proves
// nothing about who sent it. Other errors than the package's own blame the JSON.
func Open(own *Seed, doc []byte, d Direction) (plain []byte, sender PublicKey, err error) {
	m, err := objectMarks(doc)
	if err != nil {
		return nil, sender, err
	}
	keys, err := m.keys(own, d)
	if err != nil {
		return nil, sender, err
	}
	plain, err = rewrite(doc, make([]byte, 0, len(doc)), "{", keys.openText)
	return plain, m.sender, err
}
