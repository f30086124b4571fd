package model

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// MismatchError means that the data is not what the identity names. A retry
// gives the same answer.
type MismatchError struct {
	Got, Want Hash
	// Bad are the runs of blocks that differ, the first MaxRanges of them, and
	// Blocks how many blocks do. Both are empty unless there was a tree of the
	// wanted root to compare with.
	Bad    []Range
	Blocks int64
	// Tree says what is wrong with the hash tree beside the data; empty if
	// nothing is, or there is none.
	Tree string
}

// Range is a run of blocks of BlockSize bytes.
type Range struct {
	From, To int64 // the first and the last
	Files    []string
}

// MaxRanges is how many runs a MismatchError names.
const MaxRanges = 16

func (e *MismatchError) Error() string {
	var b strings.Builder
	if e.Got == e.Want {
		return "the archive is what it should be and its hash tree is not: " + e.Tree
	}
	fmt.Fprintf(&b, "hash is %s, want %s", e.Got, e.Want)
	if e.Tree != "" {
		fmt.Fprintf(&b, "; the hash tree cannot tell where: %s", e.Tree)
	}
	switch {
	case e.Blocks == 1:
		fmt.Fprintf(&b, "; one block of %d bytes differs", BlockSize)
	case e.Blocks > 1:
		fmt.Fprintf(&b, "; %d blocks of %d bytes differ", e.Blocks, BlockSize)
	}
	for _, r := range e.Bad {
		fmt.Fprintf(&b, "; %s", r)
	}
	return b.String()
}

// String names the run and what is in it.
func (r Range) String() string {
	text := fmt.Sprintf("block %d", r.From)
	if r.To > r.From {
		text = fmt.Sprintf("blocks %d to %d", r.From, r.To)
	}
	if len(r.Files) > 0 {
		text += " (" + strings.Join(r.Files, ", ") + ")"
	}
	return text
}

// Source is data that may be a model's archive: a file, a block device, or a
// folder that stands for its archive.
type Source struct {
	io.ReaderAt
	Size  int64
	close func() error
	// places names what is where; nil if nobody can say.
	places func() places
	tree   string // file of the hash tree, empty if there is none
}

// Close ends the use of the source.
func (s *Source) Close() error { return s.close() }

// OpenSource opens a file, a block device or a folder. If tree is empty, the
// tree is the file of the same name with .verity behind it, or there is none.
func OpenSource(name, tree string) (*Source, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		a, err := Open(name)
		if err != nil {
			return nil, err
		}
		return &Source{a, a.size, func() error { return nil }, a.places, tree}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd) // a device states no size
	if err != nil {
		f.Close()
		return nil, err
	}
	if tree == "" {
		tree = name + ".verity"
		if _, err := os.Stat(tree); err != nil {
			tree = ""
		}
	}
	return &Source{f, size, f.Close, func() places { return tarPlaces(f, size) }, tree}, nil
}

// Check reads all of the source and asks whether it is what the hash names.
// The answer no is a *MismatchError, which says where if there is a tree to
// say it.
func Check(ctx context.Context, s *Source, want Hash, progress Progress) error {
	sum := sum{data: s, size: s.Size, progress: progress}
	bad := &MismatchError{Want: want}
	if s.tree != "" && s.Size > BlockSize && s.Size%BlockSize == 0 {
		t, err := os.Open(s.tree)
		if err != nil {
			return err
		}
		defer t.Close()
		if bad.Tree, err = checkTree(t, s.Size/BlockSize, want); err != nil {
			return err
		}
		if bad.Tree == "" {
			sum.digests = bad.compare(t, layOutTree(s.Size/BlockSize))
		}
	}
	var err error
	if bad.Got, err = sum.run(ctx); err != nil {
		return err
	}
	if bad.Got == want && bad.Tree == "" {
		return nil
	}
	if len(bad.Bad) > 0 && s.places != nil {
		where := s.places()
		for i, r := range bad.Bad {
			bad.Bad[i].Files = where.in(r)
		}
	}
	return bad
}

// checkTree says what keeps the tree in a file from being that of the wanted
// root; empty if nothing does. Its lowest level is added up again, and every
// block above it compared.
func checkTree(f io.ReaderAt, blocks int64, want Hash) (wrong string, err error) {
	head := make([]byte, superblock)
	if _, err := f.ReadAt(head, 0); err != nil {
		return "it is cut short", ignoreEOF(err)
	}
	if err := checkSuperblock(head, blocks); err != nil {
		return err.Error(), nil
	}
	l := layOutTree(blocks)
	block := make([]byte, BlockSize)
	t := newTree(blocks, func(level int, number int64, b []byte) error {
		_, err := f.ReadAt(block, l.start[level]+number*BlockSize)
		if err == nil && string(block) != string(b) {
			err = fmt.Errorf("its level %d, block %d does not follow from the level below", level, number)
		}
		return err
	})
	buf := make([]byte, BlockSize)
	for i, left := int64(0), blocks; i < l.count[0]; i++ {
		if _, err := f.ReadAt(buf, l.start[0]+i*BlockSize); err != nil {
			return "it is cut short", ignoreEOF(err)
		}
		n := min(left, fanOut)
		if err := t.add(buf[:n*int64(len(Hash{}))]); err != nil {
			return err.Error(), nil
		}
		left -= n
	}
	root, err := t.finish()
	switch {
	case err != nil:
		return err.Error(), nil
	case root != want:
		return "its root is " + hex.EncodeToString(root[:]), nil
	}
	return "", nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// compare notes the blocks whose digests are not those of the tree.
func (e *MismatchError) compare(f io.ReaderAt, l layout) func(int64, []byte) error {
	var buf []byte
	return func(from int64, got []byte) error {
		want := append(buf[:0], got...)
		buf = want
		if _, err := f.ReadAt(want, l.start[0]+from*int64(len(Hash{}))); err != nil {
			return fmt.Errorf("hash tree: %w", err)
		}
		for i := 0; i < len(got); i += len(Hash{}) {
			if Hash(got[i:]) != Hash(want[i:]) {
				e.note(from + int64(i/len(Hash{})))
			}
		}
		return nil
	}
}

func (e *MismatchError) note(block int64) {
	e.Blocks++
	last := len(e.Bad) - 1
	switch {
	case last >= 0 && e.Bad[last].To == block-1:
		e.Bad[last].To = block
	case len(e.Bad) < MaxRanges:
		e.Bad = append(e.Bad, Range{From: block, To: block})
	}
}

// in names the files of a run, without saying one twice; the first few will do.
func (ps places) in(r Range) (names []string) {
	for block := r.From; block <= r.To && len(names) < 4; block++ {
		for _, name := range ps.of(block) {
			if len(names) == 0 || names[len(names)-1] != name {
				names = append(names, name)
			}
		}
	}
	return names
}

// tarPlaces reads the headers of an archive. What cannot be read, because it
// is what differs, has no places.
func tarPlaces(f io.ReaderAt, size int64) (out places) {
	section := io.NewSectionReader(f, 0, size)
	r := tar.NewReader(section)
	for {
		h, err := r.Next()
		if err != nil {
			return out
		}
		at, err := section.Seek(0, io.SeekCurrent)
		if err == nil && h.Typeflag == tar.TypeReg && h.Size > 0 {
			out = append(out, place{strings.TrimPrefix(filepath.ToSlash(h.Name), "./"), at, h.Size})
		}
	}
}
