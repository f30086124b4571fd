package snp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencocoon/cocoon/attest/collateral"
)

// item is one answer: as a file in a directory, and under the name that the
// network's guest images give it, if they have one.
type item struct {
	file, guest string
	chip        bool // the certificate of one chip
}

// locate says which answer a path stands for. Only the paths that this
// package makes stand for any, so that no part of one can name another file.
func locate(path string) (item, error) {
	u, err := url.Parse(path)
	if err != nil {
		return item{}, fmt.Errorf("snp: collateral path: %w", err)
	}
	parts := strings.Split(u.Path, "/") // "", signer, v1, product, what
	if len(parts) == 5 {
		p := Product(parts[3])
		base := strings.ToLower(parts[3]) + "-" + parts[1]
		for _, s := range []Signer{VCEK, VLEK} {
			guest := map[Signer]string{VCEK: parts[3]}[s]
			switch {
			case embedded[p] == nil || parts[1] != strings.ToLower(s.String()):
			case path == CRLPath(p, s):
				return item{file: base + "-crl.der", guest: suffixed(guest, ".cert_chain_crl.pem")}, nil
			case path == ChainPath(p, s):
				return item{file: base + "-chain.pem", guest: suffixed(guest, ".cert_chain.pem")}, nil
			case s == VCEK && isChip(p, parts[4]):
				return item{file: base + "-" + parts[4] + "-" + digits(u.RawQuery) + ".der", guest: "vcek.pem", chip: true}, nil
			}
		}
	}
	return item{}, fmt.Errorf("snp: %.80q is no collateral path", path)
}

func suffixed(name, suffix string) string {
	if name == "" {
		return ""
	}
	return name + suffix
}

func isChip(p Product, name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && (len(b) == 64 || p == Turin && len(b) == 8)
}

// digits are the numbers of a query, for a file's name.
func digits(query string) string {
	return strings.Join(strings.FieldsFunc(query, func(r rune) bool { return r < '0' || r > '9' }), ".")
}

// Dir reads collateral from the files of a directory, as [Save] writes them,
// or else under the names that the network's guest images use in /etc/tee/sev:
// <Product>.cert_chain.pem, <Product>.cert_chain_crl.pem, vcek.pem.
func Dir(path string) Collateral { return dir(path) }

type dir string

func (d dir) Get(_ context.Context, path string) ([]byte, error) {
	it, err := locate(path)
	if err != nil {
		return nil, err
	}
	b, err := collateral.ReadFile(filepath.Join(string(d), it.file))
	if errors.Is(err, os.ErrNotExist) && it.guest != "" {
		if other, err := collateral.ReadFile(filepath.Join(string(d), it.guest)); err == nil {
			return other, nil
		}
	}
	return b, err
}

// Save fetches what judging e takes and writes it to a directory for [Dir],
// for judging where there is no network.
func (e *Evidence) Save(ctx context.Context, src Collateral, path string) error {
	leaf, err := e.leaf(ctx, src)
	if err != nil {
		return err
	}
	said, err := ParseEndorsement(leaf)
	if err != nil {
		return err
	}
	paths := []string{CRLPath(said.Product, said.Signer), ChainPath(said.Product, said.Signer)}
	if said.Signer == VCEK && e.Report.ChipID != [64]byte{} {
		paths = append(paths, VCEKPath(said.Product, e.Report.ChipID, said.TCB))
	}
	for _, p := range paths {
		it, err := locate(p)
		if err != nil {
			return err
		}
		body, err := src.Get(ctx, p)
		if err != nil && it.chip {
			continue // it is in the evidence, or leaf would have failed
		}
		if err != nil {
			return fmt.Errorf("snp: collateral %s: %w", p, err)
		}
		if err := os.WriteFile(filepath.Join(path, it.file), body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Answers is collateral kept in memory, by path.
type Answers map[string][]byte

// Get implements [Collateral].
func (a Answers) Get(_ context.Context, path string) ([]byte, error) {
	b, ok := a[path]
	if !ok {
		return nil, fmt.Errorf("snp: no collateral here: %s", path)
	}
	return b, nil
}
