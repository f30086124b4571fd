package wallet

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	library "github.com/xssnick/tonutils-go/ton/wallet"
)

// Key is a private key that spends money. It prints and marshals as
// "[redacted]" under every verb; only [Key.Private] and [Key.Seed] give it away.
type Key struct {
	// A function, because in an unexported field of something fmt cannot call
	// our methods: it would print bytes, and for a wrong verb even what a
	// pointer points to.
	private func() ed25519.PrivateKey
}

const redacted = "[redacted]"

// NewKey draws a key.
func NewKey() Key {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return KeyOf(private)
}

// KeyOf takes a key that came from elsewhere.
func KeyOf(private ed25519.PrivateKey) Key {
	if len(private) != ed25519.PrivateKeySize {
		return Key{}
	}
	return Key{func() ed25519.PrivateKey { return private }}
}

// ParseKey reads a key's seed, 64 hexadecimal digits. The error does not repeat it.
func ParseKey(text string) (Key, error) {
	seed, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, errors.New("key: want 64 hexadecimal digits, the key's seed")
	}
	return KeyOf(ed25519.NewKeyFromSeed(seed)), nil
}

// IsZero says that there is no key.
func (k Key) IsZero() bool { return k.private == nil }

// Public is the public key, nil if there is none.
func (k Key) Public() ed25519.PublicKey {
	if k.IsZero() {
		return nil
	}
	return k.private().Public().(ed25519.PublicKey)
}

// Private is the secret itself, for signing.
func (k Key) Private() ed25519.PrivateKey {
	if k.IsZero() {
		return nil
	}
	return k.private()
}

// Seed is the secret itself, as [ParseKey] reads it.
func (k Key) Seed() string {
	if k.IsZero() {
		return ""
	}
	return hex.EncodeToString(k.private().Seed())
}

// Format, String, GoString, MarshalJSON, MarshalText and LogValue hide the key.

// Format prints "[redacted]".
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

func (k Key) String() string { return redacted }

// GoString is "[redacted]".
func (k Key) GoString() string { return redacted }

// MarshalJSON is "[redacted]".
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText is "[redacted]".
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue is "[redacted]".
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// Mnemonic is the 24 words that a person's key is made from. It prints and
// marshals as "[redacted]"; only [Mnemonic.Reveal] gives it away.
type Mnemonic struct{ words func() []string }

// mnemonicWords is how many words all wallet applications expect.
const mnemonicWords = 24

func mnemonicOf(words []string) Mnemonic { return Mnemonic{func() []string { return words }} }

// NewMnemonic draws 24 words.
func NewMnemonic() Mnemonic {
	return mnemonicOf(library.NewSeed())
}

// ParseMnemonic reads 24 words with blanks or newlines between them. Errors
// name a word by its place and never repeat it.
func ParseMnemonic(text string) (Mnemonic, error) {
	words := strings.Fields(strings.ToLower(text))
	if len(words) != mnemonicWords {
		return Mnemonic{}, fmt.Errorf("mnemonic: %d words, want %d", len(words), mnemonicWords)
	}
	for i, word := range words {
		if !inList(word) {
			return Mnemonic{}, fmt.Errorf("mnemonic: word %d is not in the list of words: look for a slip of the pen", i+1)
		}
	}
	if _, err := library.SeedToPrivateKeyWithOptions(words); err != nil {
		return Mnemonic{}, errors.New("mnemonic: the words do not belong together: one is wrong, or they are not in order")
	}
	return mnemonicOf(words), nil
}

// inList asks the library, which does not export its list: it looks at the
// words before anything else, and names one that it does not know.
func inList(word string) bool {
	probe := make([]string, mnemonicWords)
	for i := range probe {
		probe[i] = word
	}
	_, err := library.SeedToPrivateKeyWithOptions(probe)
	return err == nil || !strings.HasPrefix(err.Error(), "unknown word")
}

// IsZero says that there are no words.
func (m Mnemonic) IsZero() bool { return m.words == nil }

// Key is the key made from the words.
func (m Mnemonic) Key() (Key, error) {
	if m.IsZero() {
		return Key{}, errors.New("mnemonic: no words")
	}
	private, err := library.SeedToPrivateKeyWithOptions(m.words())
	if err != nil {
		return Key{}, errors.New("mnemonic: the words do not belong together")
	}
	return KeyOf(private), nil
}

// Reveal is the secret itself, with blanks between the words.
func (m Mnemonic) Reveal() string {
	if m.IsZero() {
		return ""
	}
	return strings.Join(m.words(), " ")
}

// Format prints "[redacted]".
func (m Mnemonic) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

func (m Mnemonic) String() string { return redacted }

// GoString is "[redacted]".
func (m Mnemonic) GoString() string { return redacted }

// MarshalJSON is "[redacted]".
func (m Mnemonic) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText is "[redacted]".
func (m Mnemonic) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue is "[redacted]".
func (m Mnemonic) LogValue() slog.Value { return slog.StringValue(redacted) }
