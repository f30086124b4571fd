package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// The parameters of the network's dm-verity trees. All are part of an
// identity: another salt makes another hash of the same bytes. The UUID is
// only in the superblock, which makes the tree's file reproducible too.
const (
	BlockSize = 4096
	// fanOut is how many digests a block of the tree holds.
	fanOut     = BlockSize / sha256.Size
	superblock = 512
	// treeStart is where the tree begins: the superblock has a block to itself.
	treeStart = BlockSize
)

var (
	salt       = []byte{0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x10, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f}
	treeUUID   = [16]byte{0x64, 0x5a, 0xc3, 0x1f, 0x76, 0x10, 0x42, 0xe1, 0x84, 0x34, 0x9d, 0x73, 0x36, 0x99, 0xea, 0xc0}
	veritySign = [8]byte{'v', 'e', 'r', 'i', 't', 'y'}
)

// Superblock is the first block of a tree's file, as veritysetup writes it
// (cryptsetup, DMVerity on-disk format, version 1): little-endian
//
//	0   signature "verity\0\0"    48  algorithm, padded    80  salt size u16
//	8   version u32 = 1           64  data block size u32  88  salt, 256 bytes
//	12  hash type u32 = 1         68  hash block size u32  344 zeros
//	16  UUID, 16 bytes            72  data blocks u64      512
//
// with the algorithm in bytes 32 to 64.
func writeSuperblock(blocks int64) []byte {
	b := make([]byte, treeStart)
	copy(b, veritySign[:])
	binary.LittleEndian.PutUint32(b[8:], 1)
	binary.LittleEndian.PutUint32(b[12:], 1)
	copy(b[16:], treeUUID[:])
	copy(b[32:], "sha256")
	binary.LittleEndian.PutUint32(b[64:], BlockSize)
	binary.LittleEndian.PutUint32(b[68:], BlockSize)
	binary.LittleEndian.PutUint64(b[72:], uint64(blocks))
	binary.LittleEndian.PutUint16(b[80:], uint16(len(salt)))
	copy(b[88:], salt)
	return b
}

// checkSuperblock says what keeps b from being that of a tree over so many
// blocks. The UUID is not looked at: it protects nothing.
func checkSuperblock(b []byte, blocks int64) error {
	if len(b) < superblock || [8]byte(b) != veritySign {
		return fmt.Errorf("no dm-verity superblock")
	}
	want := writeSuperblock(blocks)
	for _, field := range []struct {
		name     string
		from, to int
	}{
		{"version", 8, 12}, {"hash type", 12, 16}, {"algorithm", 32, 64}, {"data block size", 64, 68}, {"hash block size", 68, 72},
		{"number of data blocks", 72, 80}, {"salt size", 80, 82}, {"salt", 88, 344},
	} {
		if got, want := b[field.from:field.to], want[field.from:field.to]; !bytes.Equal(got, want) {
			return fmt.Errorf("superblock: %s is %x, want %x", field.name, got, want)
		}
	}
	return nil
}

// layout is where the blocks of a tree are in its file: the top comes first,
// and every level is one run of blocks.
type layout struct {
	count []int64 // blocks of each level, the lowest first; none if there is but one block of data
	start []int64 // offset of each level in the file
	end   int64
}

func layOutTree(blocks int64) layout {
	var l layout
	for n := blocks; n > 1; {
		n = (n + fanOut - 1) / fanOut
		l.count = append(l.count, n)
	}
	l.start, l.end = make([]int64, len(l.count)), treeStart
	for i := len(l.count) - 1; i >= 0; i-- {
		l.start[i] = l.end
		l.end += l.count[i] * BlockSize
	}
	return l
}

// tree adds digests up to a root. It holds one block of each level, however
// much data there is.
type tree struct {
	layout
	hash hash.Hash
	open [][]byte // the block of each level that is being filled
	done []int64  // full blocks of each level
	root Hash
	// each sees every finished block with its level and number, padded; it
	// must not keep it. Nil is nobody.
	each func(level int, number int64, block []byte) error
}

func newTree(blocks int64, each func(int, int64, []byte) error) *tree {
	l := layOutTree(blocks)
	t := &tree{layout: l, hash: sha256.New(), open: make([][]byte, len(l.count)), done: make([]int64, len(l.count)), each: each}
	for i := range t.open {
		t.open[i] = make([]byte, 0, BlockSize)
	}
	return t
}

// add takes the digests of the next blocks of data, in order.
func (t *tree) add(digests []byte) error {
	for ; len(digests) > 0; digests = digests[sha256.Size:] {
		if err := t.put(0, digests[:sha256.Size]); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) put(level int, digest []byte) error {
	if level == len(t.count) {
		t.root = Hash(digest)
		return nil
	}
	t.open[level] = append(t.open[level], digest...)
	if len(t.open[level]) < BlockSize {
		return nil
	}
	return t.close(level)
}

// close finishes the open block of a level and adds its digest one level up.
func (t *tree) close(level int) error {
	b := t.open[level]
	clear(b[len(b):BlockSize])
	b = b[:BlockSize]
	if t.each != nil {
		if err := t.each(level, t.done[level], b); err != nil {
			return err
		}
	}
	t.done[level]++
	t.open[level] = b[:0]
	return t.put(level+1, blockDigest(t.hash, nil, b))
}

// finish returns the root, when all digests were added.
func (t *tree) finish() (Hash, error) {
	for level := range t.open {
		if len(t.open[level]) > 0 {
			if err := t.close(level); err != nil {
				return Hash{}, err
			}
		}
	}
	return t.root, nil
}

// blockDigest appends SHA-256(salt ‖ block) to dst.
func blockDigest(h hash.Hash, dst, block []byte) []byte {
	h.Reset()
	h.Write(salt)
	h.Write(block)
	return h.Sum(dst)
}
