package ton

import (
	"context"
	"fmt"

	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Librarian is a [Chain] that also knows the public libraries: cells that
// contracts name by hash instead of carrying them, as the newest wallets do
// with their code. [Client] is one; [Emulate] needs one for such contracts.
type Librarian interface {
	// Libraries returns the cells with the given hashes, in order, or an error
	// if any cannot be had.
	Libraries(ctx context.Context, hashes ...[32]byte) ([]*cell.Cell, error)
}

// Libraries asks for public libraries by their hashes, which prove them. That a
// library is still published is the server's word.
func (c *Client) Libraries(ctx context.Context, hashes ...[32]byte) ([]*cell.Cell, error) {
	found := make([]*cell.Cell, len(hashes))
	list := make([][]byte, len(hashes))
	for i := range hashes {
		list[i] = hashes[i][:]
	}
	err := c.ask(ctx, "read libraries", func(ctx context.Context, s server) error {
		answer, err := query[tonapi.LibraryResult](ctx, s.link, s.line, tonapi.GetLibraries{LibraryList: list})
		if err != nil {
			return err
		}
		for i, hash := range hashes {
			for _, entry := range answer.Result {
				if lib := unwrap(entry.Data, hash); lib != nil {
					found[i] = lib
				}
			}
			if found[i] == nil {
				return fmt.Errorf("it does not have library %x", hash)
			}
		}
		return nil
	})
	return found, err
}

// unwrap finds a library in an answer; some servers put it under an empty cell.
func unwrap(boc []byte, hash [32]byte) *cell.Cell {
	root, err := cell.FromBOC(boc)
	for err == nil && root.HashKey() != hash {
		if root.BitsSize() != 0 || root.RefsNum() != 1 {
			return nil
		}
		root, err = root.PeekRef(0)
	}
	return root
}

const (
	// maxLibraries is how many a prediction fetches, maxWalked how many cells it looks at for them.
	maxLibraries = 32
	maxWalked    = 1 << 16
)

// shelf holds the libraries that contracts have been found to name.
type shelf struct {
	books map[cell.Hash]*cell.Cell // by their hash
	seen  map[cell.Hash]bool       // cells that were looked at
}

// stock fetches the libraries that some cells name, and those that these name.
// It says whether there are new ones.
func (s *shelf) stock(ctx context.Context, chain Chain, roots ...*cell.Cell) (bool, error) {
	if s.books == nil {
		s.books, s.seen = map[cell.Hash]*cell.Cell{}, map[cell.Hash]bool{}
	}
	fresh := false
	for {
		var missing [][32]byte
		for _, root := range roots {
			missing = s.walk(root, missing)
		}
		if len(missing) == 0 {
			return fresh, nil
		}
		librarian, ok := chain.(Librarian)
		if !ok || len(s.books)+len(missing) > maxLibraries {
			return fresh, fmt.Errorf("library %x is needed, and cannot be had from a %T (or more than %d are)", missing[0], chain, maxLibraries)
		}
		books, err := librarian.Libraries(ctx, missing...)
		if err != nil {
			return fresh, err
		}
		for i, book := range books {
			s.books[missing[i]] = book
		}
		roots, fresh = books, true
	}
}

// walk adds the libraries that a tree of cells names and that are not there.
func (s *shelf) walk(root *cell.Cell, missing [][32]byte) [][32]byte {
	if root == nil || s.seen[root.HashKey()] || len(s.seen) >= maxWalked {
		return missing
	}
	s.seen[root.HashKey()] = true
	if root.GetType() == cell.LibraryCellType {
		slice, err := root.BeginParse()
		if err != nil || slice.SkipBits(8) != nil {
			return missing
		}
		if hash, err := slice.LoadSlice(256); err == nil && s.books[cell.Hash(hash)] == nil {
			missing = append(missing, [32]byte(hash))
		}
		return missing
	}
	for i := range int(root.RefsNum()) {
		if ref, err := root.PeekRef(i); err == nil {
			missing = s.walk(ref, missing)
		}
	}
	return missing
}

// cells is the shelf as the virtual machine reads it: a dictionary by hash.
func (s *shelf) cells() ([]*cell.Cell, error) {
	if len(s.books) == 0 {
		return nil, nil
	}
	dict := cell.NewDict(256)
	for hash, book := range s.books {
		if err := dict.Set(cell.BeginCell().MustStoreSlice(hash[:], 256).EndCell(), cell.BeginCell().MustStoreRef(book).EndCell()); err != nil {
			return nil, err
		}
	}
	return []*cell.Cell{dict.AsCell()}, nil
}
