package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/opencocoon/cocoon/atomicfile"
)

// Token reads a control token; if the file does not exist it is made.
func Token(file string) (string, error) {
	token, err := readOrCreate(file, rand.Text)
	if err == nil && len(token) < 16 {
		err = fmt.Errorf("%s: a control token has at least 16 characters", file)
	}
	return token, err
}

// Secret reads a secret from a file of its own, without the newline that
// editors leave.
func Secret(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// readOrCreate reads a secret file. A new one appears with its content or not
// at all, so that two processes that start together agree on it.
func readOrCreate(file string, create func() string) (string, error) {
	text, err := Secret(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if err := atomicfile.Create(file, []byte(create()+"\n"), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return Secret(file)
}
