package snp

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Collateral gives what AMD publishes: certificates of chips, intermediates,
// revocation lists.
//
// Get must answer for the paths of AMD's Key Distribution Service, as CRLPath,
// ChainPath and VCEKPath give them, whatever it really asks; must honour ctx;
// and may be called from several goroutines. What it returns need not be
// authentic: it is signed, and the verifier checks.
type Collateral interface {
	Get(ctx context.Context, path string) ([]byte, error)
}

// maxCollateral bounds one answer. AMD's largest are chains of 5 kB.
const maxCollateral = 1 << 20

// CRLPath is the list of intermediates that a product's root takes back, of
// those for chips or those for cloud providers.
func CRLPath(p Product, s Signer) string { return branch(p, s) + "/crl" }

// ChainPath is the product's intermediate and root, in PEM.
func ChainPath(p Product, s Signer) string { return branch(p, s) + "/cert_chain" }

// VCEKPath is the certificate of one chip's key for one TCB, the reported one.
// Turin's chips have short names and one component more (57230, chapter 4).
func VCEKPath(p Product, chip [64]byte, tcb Parts) string {
	name, query := hex.EncodeToString(chip[:]), ""
	if p == Turin {
		name, query = name[:16], fmt.Sprintf("fmcSPL=%02d&", tcb.FMC)
	}
	query += fmt.Sprintf("blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", tcb.Bootloader, tcb.TEE, tcb.SNP, tcb.Microcode)
	return branch(p, VCEK) + "/" + name + "?" + query
}

func branch(p Product, s Signer) string {
	return fmt.Sprintf("/%s/v1/%s", strings.ToLower(s.String()), p)
}

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
	b, err := readFile(filepath.Join(string(d), it.file))
	if errors.Is(err, os.ErrNotExist) && it.guest != "" {
		if other, err := readFile(filepath.Join(string(d), it.guest)); err == nil {
			return other, nil
		}
	}
	return b, err
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxCollateral+1))
	if len(b) > maxCollateral {
		return nil, fmt.Errorf("snp: collateral of more than %d bytes", maxCollateral)
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

// expiry reads out of an answer when it ends. An answer that is none is an
// error.
func expiry(path string, body []byte) (first time.Time, err error) {
	if strings.HasSuffix(path, "/crl") {
		list, err := parseCRL(body)
		if err != nil {
			return first, err
		}
		return list.NextUpdate, nil
	}
	certs, err := readCertificates(body)
	for _, c := range certs {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first, err
}

// readCertificates reads one certificate in DER, or some in PEM.
func readCertificates(body []byte) ([]*x509.Certificate, error) {
	if c, err := x509.ParseCertificate(body); err == nil {
		return []*x509.Certificate{c}, nil
	}
	certs, err := parseCertificates(body, 3)
	if err == nil && len(certs) == 0 {
		err = errNotCertificates
	}
	return certs, err
}

// parseCRL reads a revocation list in DER or PEM.
func parseCRL(body []byte) (*x509.RevocationList, error) {
	if block, rest := pem.Decode(body); block != nil && len(bytes.TrimSpace(rest)) == 0 {
		body = block.Bytes
	}
	list, err := x509.ParseRevocationList(body)
	if err != nil {
		return nil, fmt.Errorf("snp: revocation list: %w", err)
	}
	return list, nil
}

// leaf is the signing key's certificate, from the evidence or from src. A
// report of version 2 does not name its product; its chip's name and the
// answers tell.
func (e *Evidence) leaf(ctx context.Context, src Collateral) (*x509.Certificate, error) {
	r := e.Report
	switch {
	case len(e.Certificates) > 0:
		return e.Certificates[0], nil
	case r.KeyInfo.Signer() != VCEK || r.ChipID == [64]byte{}:
		return nil, errors.New("snp: evidence without a certificate names no chip to ask for")
	case src == nil:
		return nil, &UnavailableError{errors.New("evidence without a certificate, and no collateral configured")}
	}
	candidates := []Product{Milan, Genoa}
	if p, err := r.CPU.Product(); err == nil {
		candidates = []Product{p}
	} else if bytes.Equal(r.ChipID[8:], make([]byte, 56)) {
		candidates = []Product{Turin}
	}
	var last error
	for _, p := range candidates {
		body, err := src.Get(ctx, VCEKPath(p, r.ChipID, r.ReportedTCB.Parts(p)))
		if err != nil {
			last = &UnavailableError{err}
			continue
		}
		certs, err := readCertificates(body)
		if err == nil {
			return certs[0], nil
		}
		last = err
	}
	return nil, last
}
