// Package model is about the weights that the network serves: which they are,
// and whether a file or a folder holds them.
//
// A model is named by an [ID], name@commit:hash. The hash is the root of a
// dm-verity tree over a reproducible archive, so that the name stands for
// every byte: two people who pack the same revision get the same ID, and a
// guest that opens the archive through dm-verity cannot read anything else.
// [Open] turns a folder into that archive without writing it, [Pack] writes
// it, [Check] asks whether something is what an ID names. roles.md section 10
// has the recipe.
package model

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Hash is the root of a dm-verity tree.
type Hash [32]byte

// String is the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads 64 digits of lower-case hexadecimal. Capitals are refused: the
// registry lists a digest of the text, in which they would be another model.
func ParseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) || s != strings.ToLower(s) {
		return h, fmt.Errorf("hash %.80q, want %d digits of lower-case hexadecimal", s, 2*len(h))
	}
	return Hash(b), nil
}

// ID is the identity of a model. Use [New] or [Parse], so that its text can
// be read again.
type ID struct {
	// Name is what users ask for, such as Qwen/Qwen3-8B.
	Name string
	// Commit names the revision, as a rule by a hub's 40 digits. The network
	// takes any text here; only Hash says what the bytes are.
	Commit string
	// Hash is the root of the archive's dm-verity tree.
	Hash Hash
}

// Longest parts of an identity. The hub's own limit of a name is 96.
const (
	maxName   = 200
	maxCommit = 128
)

// New makes an identity of its parts, and refuses what would not survive
// being written and read.
func New(name, commit string, hash Hash) (ID, error) {
	return ID{name, commit, hash}, errors.Join(checkName(name), checkCommit(commit))
}

// Parse reads name@commit:hash. It takes exactly what String writes.
func Parse(s string) (ID, error) {
	name, rest, ok := strings.Cut(s, "@")
	commit, hash, full := strings.Cut(rest, ":")
	if !ok || !full {
		return ID{}, fmt.Errorf("model %.300q, want name@commit:hash", s)
	}
	h, err := ParseHash(hash)
	if err == nil {
		var id ID
		if id, err = New(name, commit, h); err == nil {
			return id, nil
		}
	}
	return ID{}, fmt.Errorf("model %.300q: %w", s, err)
}

// String is name@commit:hash, the text that the registry's digest is of.
func (id ID) String() string { return id.Revision() + ":" + id.Hash.String() }

// Revision is name@commit.
func (id ID) Revision() string { return id.Name + "@" + id.Commit }

// Base is the part of a model's text that names it for callers: all before @.
func Base(text string) string {
	name, _, _ := strings.Cut(text, "@")
	return name
}

// Pins says whether asked, which is name@commit or a whole identity, is
// fulfilled by a worker that announces the identity text. A name alone pins
// nothing and is fulfilled by every revision. Both may be any text: peers wrote
// them.
func Pins(asked, text string) bool {
	if !strings.Contains(asked, "@") {
		return asked == Base(text)
	}
	rest, ok := strings.CutPrefix(text, asked)
	_, revision, _ := strings.Cut(asked, "@")
	return ok && (rest == "" || rest[0] == ':' && !strings.Contains(revision, ":"))
}

func checkName(s string) error {
	switch {
	case s == "" || len(s) > maxName:
		return fmt.Errorf("name %.80q has %d bytes, want 1 to %d", s, len(s), maxName)
	case !clean(s, "._-/:+"):
		return fmt.Errorf("name %.80q, want letters, digits and . _ - / : +, beginning with a letter or digit", s)
	case strings.Contains(s, "//") || strings.Contains(s, "..") || strings.HasSuffix(s, "/"):
		return fmt.Errorf("name %.80q, want no empty part and no two dots in a row", s)
	}
	return nil
}

func checkCommit(s string) error {
	switch {
	case s == "" || len(s) > maxCommit:
		return fmt.Errorf("commit %.80q has %d bytes, want 1 to %d", s, len(s), maxCommit)
	case !clean(s, "._-/"):
		return fmt.Errorf("commit %.80q, want letters, digits and . _ - /, beginning with a letter or digit", s)
	}
	return nil
}

// clean: ASCII letters and digits, and not at the beginning the others. It
// keeps out what looks like something else on a terminal.
func clean(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || strings.IndexByte(others, c) < 0) {
			return false
		}
	}
	return true
}
