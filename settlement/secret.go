package settlement

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/opencocoon/cocoon/contract"

	"github.com/opencocoon/cocoon/atomicfile"
)

// SecretHash is what is published of a secret.
func SecretHash(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// A secret's hash is on the chain for everybody, who may then guess as long as
// they like; whoever guesses it spends the client's balance.
const (
	minSecret   = 24 // characters
	minDistinct = 10 // among them
)

// CheckSecret refuses a secret that could be guessed. Errors do not repeat it.
func CheckSecret(secret string) error {
	distinct := map[rune]bool{}
	for _, r := range secret {
		distinct[r] = true
	}
	_, isAddress := contract.ParseAddress(secret)
	switch {
	case secret == "":
		return errors.New("secret_string is empty: everybody knows that secret. Leave it out, and one is made")
	case len(secret) < minSecret || len(distinct) < minDistinct:
		return fmt.Errorf("secret_string can be guessed: %d characters, %d of them different. Its hash is public, so take at least %d random ones, or leave it out, and one is made", len(secret), len(distinct), minSecret)
	case isAddress == nil:
		return errors.New("secret_string is an address, which is public: leave it out, and a secret is made")
	}
	return nil
}

// Secret reads the secret of a file; if there is none it is made, at random
// and for its owner's eyes. Of two that start together both get the same.
func Secret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		made := rand.Text() + rand.Text() // 260 bits
		if err := atomicfile.Create(path, []byte(made+"\n"), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return "", fmt.Errorf("secret file %s: others may read it (mode %04o), want 0600: chmod 600 it", path, info.Mode().Perm())
	}
	secret := strings.TrimSpace(string(text))
	if err := CheckSecret(secret); err != nil {
		return "", fmt.Errorf("secret file %s: %w", path, err)
	}
	return secret, nil
}
