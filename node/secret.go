package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Key reads an Ed25519 private key: base64 of its 32-byte seed, as in the
// reference network's configuration files. If the file does not exist it is
// made, readable by its owner only, so that a node keeps its name when it
// starts again.
func Key(file string) (ed25519.PrivateKey, error) {
	text, err := readOrCreate(file, func() string {
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		return base64.StdEncoding.EncodeToString(seed)
	})
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// ParseKey reads base64 of a 32-byte seed. All zeros, which is what a
// forgotten key looks like, is refused. Errors do not quote the text.
func ParseKey(text string) (ed25519.PrivateKey, error) {
	seed, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errors.New("a key is base64 of 32 bytes")
	}
	if [ed25519.SeedSize]byte(seed) == [ed25519.SeedSize]byte{} {
		return nil, errors.New("a key of zeros is nobody's")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

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
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(create() + "\n")
	if err = errors.Join(err, tmp.Close()); err != nil {
		return "", err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return Secret(file)
}
