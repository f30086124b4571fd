package model

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Packed is where Pack put an archive: what a worker's launcher gives its
// guest.
type Packed struct {
	ID ID
	// Tar is the archive, Tree its hash tree, as veritysetup writes both; Sum
	// holds the root hash in hexadecimal.
	Tar, Tree, Sum string
}

// FileName is what the archive of a model is called: the network's launcher
// looks for it under this name, which leaves out the commit.
func FileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && clean(string(r), "") {
			return r
		}
		return '_'
	}, name) + ".tar"
}

// Pack writes the archive and its tree into the folder to, and computes the
// identity on the way. Files that are there already are refused, unless
// replace is set. Each appears under its name when it is whole and on disk;
// on failure none does.
func Pack(ctx context.Context, a *Archive, name, commit, to string, replace bool, progress Progress) (*Packed, error) {
	if _, err := New(name, commit, Hash{}); err != nil {
		return nil, err
	}
	tar := filepath.Join(to, FileName(name))
	p := &Packed{Tar: tar, Tree: tar + ".verity", Sum: tar + ".hash"}
	for _, file := range []string{p.Tar, p.Tree, p.Sum} {
		if _, err := os.Lstat(file); err == nil && !replace {
			return nil, fmt.Errorf("%s is there already: %w", file, os.ErrExist)
		}
	}
	var out files
	defer func() { out.close() }()
	data, err := out.create(p.Tar)
	if err != nil {
		return nil, err
	}
	hashes, err := out.create(p.Tree)
	if err != nil {
		return nil, err
	}
	sum, err := out.create(p.Sum)
	if err != nil {
		return nil, err
	}
	root, err := writeTree(ctx, a, data, hashes, progress)
	if err != nil {
		return nil, err
	}
	if _, err := sum.WriteString(root.String()); err != nil {
		return nil, err
	}
	p.ID = ID{name, commit, root}
	return p, out.keep()
}

func writeTree(ctx context.Context, a *Archive, data, hashes *os.File, progress Progress) (Hash, error) {
	l := layOutTree(a.size / BlockSize)
	s := sum{
		data: a, size: a.size, progress: progress,
		tap: func(at int64, b []byte) error {
			_, err := data.WriteAt(b, at)
			return err
		},
		each: func(level int, number int64, block []byte) error {
			_, err := hashes.WriteAt(block, l.start[level]+number*BlockSize)
			return err
		},
	}
	if _, err := hashes.WriteAt(writeSuperblock(a.size/BlockSize), 0); err != nil {
		return Hash{}, err
	}
	return s.run(ctx)
}

// files are written under another name until all are whole.
type files []*written

type written struct {
	*os.File
	name string
}

func (fs *files) create(name string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return nil, err
	}
	*fs = append(*fs, &written{f, name})
	return f, f.Chmod(0o644)
}

// keep gives the files their names, the archive last: who finds it finds the
// others.
func (fs files) keep() error {
	for _, f := range fs {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	for i := len(fs) - 1; i >= 0; i-- {
		if err := os.Rename(fs[i].File.Name(), fs[i].name); err != nil {
			return err
		}
	}
	return nil
}

// close removes what was not kept.
func (fs files) close() {
	for _, f := range fs {
		f.Close()
		os.Remove(f.File.Name()) // fails if it has its name already
	}
}
