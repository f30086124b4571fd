package model

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Archive is the network's archive of a folder, without the copy: its headers
// are made in memory, and contents are read from the files when they are asked
// for. Safe for concurrent use. The folder must not change meanwhile; a file
// whose size does is an error.
type Archive struct {
	parts []part
	size  int64
	// Name and Commit are what the folder is called in a hub's cache, and empty
	// if it is not from one.
	Name, Commit string
	// Files is how many files it holds.
	Files int
}

// part is a run of the archive: bytes that are known, or a file's content. What
// lies between parts is zeros.
type part struct {
	at, len int64
	known   []byte
	path    string // of the file, and its name in the archive
	name    string
}

// hubFolder is a revision in the cache of a hub's client, whose files are links
// to blobs beside it.
var hubFolder = regexp.MustCompile(`^models--([^/]+)/snapshots/([0-9a-f]{40})$`)

// Open looks through a folder and lays out its archive. A revision in a hub's
// cache (models--OWNER--NAME/snapshots/COMMIT) is packed as the hub's client
// would have downloaded it to a folder. Elsewhere links, and everywhere whatever is
// neither file nor folder, are refused: their meaning would depend on the
// machine.
func Open(dir string) (*Archive, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	a := &Archive{}
	if m := hubFolder.FindStringSubmatch(lastParts(dir, 3)); m != nil {
		a.Name, a.Commit = strings.ReplaceAll(m[1], "--", "/"), m[2]
	}
	w := walker{a: a, root: dir}
	if a.Commit != "" {
		w.blobs = filepath.Dir(filepath.Dir(dir))
	}
	if err := w.folder(dir, "./", true); err != nil {
		return nil, err
	}
	if a.Files == 0 {
		return nil, fmt.Errorf("%s: no file to pack", dir)
	}
	// Two empty records end a tar, GNU tar fills up its last group of records,
	// and the recipe adds zeros to the next block, a whole one if there is
	// nothing to fill.
	a.size = (a.size + 2*record + tarPad - 1) / tarPad * tarPad
	a.size += BlockSize - a.size%BlockSize
	return a, nil
}

func lastParts(dir string, n int) string {
	parts := strings.Split(filepath.ToSlash(dir), "/")
	return strings.Join(parts[max(0, len(parts)-n):], "/")
}

type walker struct {
	a     *Archive
	root  string
	blobs string // a hub's repository, below which links may lead; empty: no links
}

// folder adds a folder and all in it in the order of bytes of their names, as
// GNU tar does in the C locale.
func (w *walker) folder(dir, name string, top bool) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: not a folder", dir)
	}
	w.known(headers(name, w.mode(info), 0))
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return err
	}
	for _, e := range entries {
		if top && e.Name() == ".cache" {
			continue // the hub's client leaves its own notes there; the recipe removes them
		}
		if err := w.entry(filepath.Join(dir, e.Name()), name+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(path, name string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if path, info, err = w.follow(path); err != nil {
			return err
		}
	}
	switch {
	case info.IsDir():
		return w.folder(path, name+"/", false)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: is %v, want files and folders only", path, info.Mode().Type())
	}
	w.known(headers(name, w.mode(info), info.Size()))
	w.a.parts = append(w.a.parts, part{at: w.a.size, len: info.Size(), path: path, name: strings.TrimPrefix(name, "./")})
	w.a.size += (info.Size() + record - 1) / record * record
	w.a.Files++
	return nil
}

func (w *walker) follow(path string) (string, fs.FileInfo, error) {
	if w.blobs == "" {
		return "", nil, fmt.Errorf("%s: is a link, want files and folders only: copy the folder with its links followed", path)
	}
	blobs, err := filepath.EvalSymlinks(w.blobs)
	if err != nil {
		return "", nil, err
	}
	to, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", nil, fmt.Errorf("%s: incomplete download: %w", path, err)
	}
	info, err := os.Stat(to)
	if err == nil && (!info.Mode().IsRegular() || !strings.HasPrefix(to, blobs+string(filepath.Separator))) {
		err = fmt.Errorf("%s: links to %s, want a file of the same repository", path, to)
	}
	return to, info, err
}

// mode is what the recipe makes of a file's permissions. Those in a hub's cache
// say nothing about the download that they stand for.
func (w *walker) mode(info fs.FileInfo) uint32 {
	switch {
	case w.blobs != "" && info.IsDir():
		return 0o755
	case w.blobs != "":
		return 0o644
	}
	perm := uint32(info.Mode().Perm())
	for bit, special := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if info.Mode()&special != 0 {
			perm |= bit
		}
	}
	return tarMode(perm)
}

func (w *walker) known(b []byte) {
	w.a.parts = append(w.a.parts, part{at: w.a.size, len: int64(len(b)), known: b})
	w.a.size += int64(len(b))
}

// Size is that of the archive in bytes, a multiple of BlockSize.
func (a *Archive) Size() int64 { return a.size }

// ReadAt implements io.ReaderAt.
func (a *Archive) ReadAt(b []byte, at int64) (n int, err error) {
	if at < 0 {
		return 0, errors.New("model: negative offset")
	}
	if at >= a.size {
		return 0, io.EOF
	}
	if left := a.size - at; int64(len(b)) > left {
		b, err = b[:left], io.EOF
	}
	clear(b)
	first := sort.Search(len(a.parts), func(i int) bool { return a.parts[i].at+a.parts[i].len > at })
	for _, p := range a.parts[first:] {
		if p.at >= at+int64(len(b)) {
			break
		}
		from, to := max(p.at, at), min(p.at+p.len, at+int64(len(b)))
		if bad := p.read(b[from-at:to-at], from-p.at); bad != nil {
			return int(from - at), bad
		}
	}
	return len(b), err
}

// read fills b from the part's byte on.
func (p *part) read(b []byte, from int64) error {
	if p.known != nil || len(b) == 0 {
		copy(b, p.known[min(from, int64(len(p.known))):])
		return nil
	}
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() != p.len {
		err = fmt.Errorf("%s has %d bytes, had %d: it changed meanwhile", p.path, info.Size(), p.len)
	}
	if err == nil {
		_, err = f.ReadAt(b, from)
	}
	return err
}

// places are what the archive's bytes belong to.
func (a *Archive) places() places {
	var out places
	for _, p := range a.parts {
		if p.known == nil && p.len > 0 {
			out = append(out, place{p.name, p.at, p.len})
		}
	}
	return out
}

// place is where a file's content lies in an archive.
type place struct {
	name    string
	at, len int64
}

type places []place

// of names the files that a block holds bytes of.
func (ps places) of(block int64) (names []string) {
	from, to := block*BlockSize, (block+1)*BlockSize
	i, _ := slices.BinarySearchFunc(ps, from, func(p place, at int64) int {
		if p.at+p.len > at {
			return 1
		}
		return -1
	})
	for ; i < len(ps) && ps[i].at < to; i++ {
		names = append(names, ps[i].name)
	}
	return names
}
