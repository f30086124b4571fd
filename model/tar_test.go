package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// A file of 9 GiB has its size in the extended header; the digest is of what
// GNU tar 1.34 writes.
func TestHeadersOfALargeFile(t *testing.T) {
	sum := sha256.Sum256(headers("./w", 0o644, 9<<30))
	if got := hex.EncodeToString(sum[:]); got != "6d5630b0664537b62ff84633d25c7a6d0479bdafb713e9ec87479789c31b5b83" {
		t.Errorf("headers have SHA-256 %s, want GNU tar's", got)
	}
	if n := len(headers("./w", 0o644, tarSize)); n != record {
		t.Errorf("a file of 8 GiB - 1 has %d bytes of headers, want %d", n, record)
	}
}

// The length of a record counts its own digits.
func TestAppendExtra(t *testing.T) {
	for n := 1; n < 1100; n++ {
		b := appendExtra(nil, "path", string(make([]byte, n)))
		digits := 0
		for length := len(b); length > 0; length /= 10 {
			digits++
		}
		if len(b) != digits+len(" path=\n")+n {
			t.Fatalf("a path of %d bytes takes %d", n, len(b))
		}
	}
}

// Whatever is in a hash tree's file, it is believed only if it is the tree.
func FuzzTree(f *testing.F) {
	const blocks = 130
	genuine, root := TreeOf(f, make([]byte, blocks*BlockSize))
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add(writeSuperblock(blocks))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, tree []byte) {
		wrong, err := checkTree(bytes.NewReader(tree), blocks, root)
		if err != nil {
			t.Fatal(err)
		}
		if wrong == "" && !bytes.Equal(tree[treeStart:len(genuine)], genuine[treeStart:]) {
			t.Fatal("another tree was believed")
		}
	})
}
