package measure

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxSpecFile is the largest file that the network's guests take.
const maxSpecFile = 10 << 20

// SpecTree is the name under which a guest extends the specification of its
// role: the id of its files as a Git tree with SHA-256 (roles.md section 11.2).
// Left out are the folder runtime at the top, spec.tree and spec.meta there,
// every .gitignore, and what these ignore. Of their patterns only plain names
// are understood; another is an error, as are attributes that would change
// files, links and large files.
func SpecTree(dir string) (string, error) {
	id, err := specFolder(dir, nil, true)
	if err == nil && id == nil {
		err = errors.New("no file in it")
	}
	if err != nil {
		return "", fmt.Errorf("spec %s: %w", dir, err)
	}
	return hex.EncodeToString(id), nil
}

// specFolder is the id of a folder, nil if there is nothing in it.
func specFolder(dir string, ignored []string, top bool) ([]byte, error) {
	more, err := ignoredNames(filepath.Join(dir, ".gitignore"))
	if err != nil {
		return nil, err
	}
	ignored = append(slices.Clip(ignored), more...)
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var entries []treeEntry
	for _, f := range files {
		if top && leftOut[f.Name()] || f.Name() == ".gitignore" || slices.Contains(ignored, f.Name()) {
			continue
		}
		e, err := specEntry(dir, f, ignored)
		if err != nil {
			return nil, err
		}
		if e != nil {
			entries = append(entries, *e)
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	slices.SortFunc(entries, func(a, b treeEntry) int { return cmp.Compare(a.key, b.key) })
	var tree bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&tree, "%s %s\x00%s", e.mode, e.name, e.id)
	}
	return gitObject("tree", tree.Bytes()), nil
}

var leftOut = map[string]bool{".git": true, "runtime": true, "spec.tree": true, "spec.meta": true}

// treeEntry is one name of a tree. Git sorts folders as if a slash followed.
type treeEntry struct {
	mode, name, key string
	id              []byte
}

func specEntry(dir string, f fs.DirEntry, ignored []string) (*treeEntry, error) {
	path := filepath.Join(dir, f.Name())
	info, err := f.Info()
	switch {
	case err != nil:
		return nil, err
	case f.Name() == ".gitattributes":
		return nil, fmt.Errorf("%s: attributes may change files on their way; not supported", path)
	case info.IsDir() && f.Name() == ".git":
		return nil, fmt.Errorf("%s: a repository inside; guests refuse it", path)
	case info.IsDir():
		id, err := specFolder(path, ignored, false)
		if id == nil {
			return nil, err
		}
		return &treeEntry{"40000", f.Name(), f.Name() + "/", id}, nil
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is %v, want files and folders only; guests refuse it", path, info.Mode().Type())
	case info.Size() > maxSpecFile:
		return nil, fmt.Errorf("%s: %d bytes, want at most %d; guests refuse it", path, info.Size(), maxSpecFile)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	mode := "100644"
	if info.Mode().Perm()&0o100 != 0 {
		mode = "100755"
	}
	return &treeEntry{mode, f.Name(), f.Name(), gitObject("blob", content)}, nil
}

func gitObject(kind string, content []byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d\x00", kind, len(content))
	h.Write(content)
	return h.Sum(nil)
}

func ignoredNames(file string) (names []string, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n ")
		switch {
		case line == "" || line[0] == '#':
		case strings.ContainsAny(line, "*?[]!\\/"):
			return nil, fmt.Errorf("%s: pattern %q is not a plain name; give the tree's hash instead", file, line)
		default:
			names = append(names, line)
		}
	}
	return names, err
}
