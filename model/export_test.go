package model

import (
	"bytes"
	"context"
	"os"
	"testing"
)

// WriteTreeOf writes the hash tree of a source, as somebody would who exchanged both.
func WriteTreeOf(t *testing.T, s *Source, name string) error {
	t.Helper()
	data := make([]byte, s.Size)
	if _, err := s.ReadAt(data, 0); err != nil {
		return err
	}
	b, _ := TreeOf(t, data)
	return os.WriteFile(name, b, 0o600)
}

// TreeOf is the file of a hash tree over data, and its root.
func TreeOf(t testing.TB, data []byte) ([]byte, Hash) {
	t.Helper()
	blocks := int64(len(data)) / BlockSize
	l := layOutTree(blocks)
	out := make([]byte, l.end)
	copy(out, writeSuperblock(blocks))
	s := sum{data: bytes.NewReader(data), size: int64(len(data)), each: func(level int, number int64, block []byte) error {
		copy(out[l.start[level]+number*BlockSize:], block)
		return nil
	}}
	root, err := s.run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return out, root
}
