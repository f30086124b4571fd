package fieldcrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
	"unicode/utf8"
)

// One sealed text, Telegram's TDE2E message form:
//
//	"ENC_" hex( id 16 bytes | AES-256-CBC( p | p-1 random bytes | text ) )
//
// with p from 16 to 31, so that the inner part fills whole blocks. The id
// authenticates that part and makes the cipher's key and start.
const (
	prefixSealed = "ENC_"
	prefixClear  = "DEC_"
	prefixLength = 4
	idSize       = 16
	minPadding   = 16
)

// messageKeys are the keys of one JSON value or form in one direction.
type messageKeys struct{ encrypt, mac [32]byte }

func newMessageKeys(shared [32]byte, nonce string, d Direction) *messageKeys {
	h := sha256.New()
	h.Write(shared[:])
	h.Write([]byte(nonce)) // the text, not the bytes it may stand for
	h.Write([]byte{byte(d)})
	long := sum(hmac.New(sha512.New, h.Sum(nil)), []byte("tde2e_encrypt_data"))
	return &messageKeys{encrypt: [32]byte(long[:32]), mac: [32]byte(long[32:])}
}

func sum(h hash.Hash, parts ...[]byte) []byte {
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// id authenticates a padded text. The four zero bytes are the length of
// associated data, of which there is none.
func (k *messageKeys) id(padded []byte) []byte {
	return sum(hmac.New(sha256.New, k.mac[:]), padded, make([]byte, 4))[:idSize]
}

func (k *messageKeys) cipher(id []byte) (block cipher.Block, iv []byte) {
	long := sum(hmac.New(sha512.New, k.encrypt[:]), id)
	block, _ = aes.NewCipher(long[:32]) // 32 bytes: cannot fail
	return block, long[32:48]
}

// sealText appends the sealed form of text to dst, quoted for JSON.
func (k *messageKeys) sealText(dst, text []byte, random func([]byte)) []byte {
	dst = append(dst, `"`+prefixSealed...)
	dst = hex.AppendEncode(dst, k.seal(text, random))
	return append(dst, '"')
}

func (k *messageKeys) seal(text []byte, random func([]byte)) []byte {
	p := (len(text)+31)&^15 - len(text)
	sealed := make([]byte, idSize+p+len(text))
	padded := sealed[idSize:]
	random(padded[:p])
	padded[0] = byte(p)
	copy(padded[p:], text)
	copy(sealed, k.id(padded))
	block, iv := k.cipher(sealed[:idSize])
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return sealed
}

// openText appends the JSON string that text, a sealed or marked one, stands for.
func (k *messageKeys) openText(dst, text []byte) ([]byte, error) {
	plain, err := k.open(text)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(plain) {
		return nil, ErrText
	}
	return appendQuoted(dst, plain), nil
}

func (k *messageKeys) open(text []byte) ([]byte, error) {
	switch {
	case strings.HasPrefix(string(text[:min(len(text), prefixLength)]), prefixClear):
		return text[prefixLength:], nil
	case !strings.HasPrefix(string(text[:min(len(text), prefixLength)]), prefixSealed):
		return nil, ErrPrefix
	}
	sealed := make([]byte, hex.DecodedLen(len(text)-prefixLength))
	if _, err := hex.Decode(sealed, text[prefixLength:]); err != nil {
		return nil, ErrDamaged
	}
	return k.unseal(sealed)
}

// unseal opens sealed in place. The id is checked before the padding is looked
// at, and both refusals are one: neither tells anything about the text.
func (k *messageKeys) unseal(sealed []byte) ([]byte, error) {
	if len(sealed) < idSize+minPadding || len(sealed)%aes.BlockSize != 0 {
		return nil, ErrDamaged
	}
	id, padded := sealed[:idSize], sealed[idSize:]
	block, iv := k.cipher(id)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(padded, padded)
	if !hmac.Equal(id, k.id(padded)) {
		return nil, ErrDamaged
	}
	p := int(padded[0])
	if p < minPadding || p > len(padded) {
		return nil, ErrDamaged
	}
	return padded[p:], nil
}

func fillRandom(b []byte) { rand.Read(b) } // never fails
