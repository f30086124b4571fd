package wallet

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/opencocoon/cocoon/atomicfile"
)

// NodeKey reads the key of a node's wallet from a file of its own, the seed in
// hexadecimal; if the file does not exist it is made. Whoever reads the file
// can spend what the wallet holds, so one that others may read is refused.
func NodeKey(path string) (Key, error) {
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writePrivate(path, []byte(NewKey().Seed()+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
			return Key{}, err
		}
		text, err = readPrivate(path) // another process may have been first
	}
	if err != nil {
		return Key{}, err
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("key file %s: others may read it (mode %04o), want 0600: chmod 600 it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("more than %d bytes", maxKeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return text, nil
}

// writePrivate makes a file that appears with its whole content or not at all,
// and is on disk when it returns: a key that receives money must survive.
func writePrivate(path string, content []byte) error {
	switch err := atomicfile.Create(path, content, 0o600); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("key file %s: %w: it may hold money, so it is not replaced: move it away", path, fs.ErrExist)
	case err != nil:
		return fmt.Errorf("key file %s: %w", path, err)
	}
	return nil
}
