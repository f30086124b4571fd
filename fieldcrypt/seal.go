package fieldcrypt

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/opencocoon/cocoon/openai"
)

// Sealer seals documents from one key for another. Safe for concurrent use.
type Sealer struct {
	shared           [32]byte
	direction        Direction
	sender, receiver PublicKey
	random           func(b []byte) // fills b; tests fix it
}

// NewSealer agrees on a secret between own and the receiver. It does not keep
// own.
func NewSealer(own *Seed, receiver PublicKey, d Direction) (*Sealer, error) {
	shared, err := agree(own, receiver)
	if err != nil {
		return nil, err
	}
	return &Sealer{shared: shared, direction: d, sender: own.Public(), receiver: receiver, random: fillRandom}, nil
}

// message makes the keys of one document, and the nonce that they come from.
func (s *Sealer) message() (*messageKeys, string) {
	var raw [32]byte
	s.random(raw[:])
	nonce := base64.StdEncoding.EncodeToString(raw[:])
	return newMessageKeys(s.shared, nonce, s.direction), nonce
}

// marks are what a document sealed with this nonce says about itself.
func (s *Sealer) marks(nonce string) [4][2]string {
	return [4][2]string{{markVersion, version}, {markSender, hex.EncodeToString(s.sender[:])},
		{markReceiver, hex.EncodeToString(s.receiver[:])}, {markNonce, nonce}}
}

// Seal returns doc, which must be a JSON object, with its texts sealed under a
// fresh nonce, on one line. The result may be many times as long, at most 64 MiB.
func (s *Sealer) Seal(doc []byte) ([]byte, error) {
	if _, err := openai.ParseObject(doc); err != nil {
		return nil, err
	}
	keys, nonce := s.message()
	m := s.marks(nonce)
	head := fmt.Sprintf(`{%q:%q,%q:%q,%q:%q,%q:%q`, m[0][0], m[0][1], m[1][0], m[1][1], m[2][0], m[2][1], m[3][0], m[3][1])
	return rewrite(doc, make([]byte, 0, len(head)+2*len(doc)), head, func(dst, text []byte) ([]byte, error) {
		return keys.sealText(dst, text, s.random), nil
	})
}

// Reply opens what the receiver answers.
func (s *Sealer) Reply() *Opener {
	back := ToApp
	if s.direction == ToApp {
		back = ToWorker
	}
	return &Opener{shared: s.shared, direction: back, sender: s.receiver, receiver: s.sender}
}

// Opener opens documents from one key for another, and nothing else: others'
// documents, those without marks, and texts marked as clear are refused, so that
// whoever passes them on cannot put words of its own into an answer. It could
// still leave out or exchange texts, change numbers and the members that are
// always clear, and make up a document that has no others: the package's format
// authenticates one text at a time. Safe for concurrent use.
type Opener struct {
	shared           [32]byte
	direction        Direction
	sender, receiver PublicKey
}

// Open returns the document without marks and white space. Its errors are those
// of [Open], and [ErrClear].
func (o *Opener) Open(doc []byte) ([]byte, error) {
	m, err := objectMarks(doc)
	if err != nil {
		return nil, err
	}
	if m.sender != o.sender || m.receiver != o.receiver {
		return nil, ErrKeyMismatch
	}
	keys := newMessageKeys(o.shared, m.nonce, o.direction)
	return rewrite(doc, make([]byte, 0, len(doc)), "{", func(dst, text []byte) ([]byte, error) {
		if len(text) >= prefixLength && string(text[:prefixLength]) == prefixClear {
			return nil, ErrClear
		}
		return keys.openText(dst, text)
	})
}
