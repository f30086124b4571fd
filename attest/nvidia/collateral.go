package nvidia

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/opencocoon/cocoon/atomicfile"
	"github.com/opencocoon/cocoon/attest/collateral"
)

// Collateral gives what NVIDIA publishes to judge GPUs.
//
// It must honour ctx and may be called from several goroutines. What it
// returns need not be authentic: all of it is signed, and the verifier checks;
// only the keys of the token service are what the source says they are.
type Collateral interface {
	// Manifest returns the signed reference manifest of that name, in XML.
	Manifest(ctx context.Context, name string) ([]byte, error)
	// Status returns what issuer says about cert: an OCSP response, or a
	// revocation list, in DER.
	Status(ctx context.Context, cert, issuer *x509.Certificate) ([]byte, error)
	// Keys returns the JSON Web Key Set of NVIDIA's attestation service.
	Keys(ctx context.Context) ([]byte, error)
}

// ErrNotPublished means that a source has no such answer, and that asking
// again will not help.
var ErrNotPublished = errors.New("nvidia: not published")

const keysFile = "jwks.json"

const manifestSuffix = ".swidtag"

func manifestFile(name string) string { return name + manifestSuffix }

func statusFile(cert *x509.Certificate) string {
	id := sha256.Sum256(cert.Raw)
	return fmt.Sprintf("%x.ocsp", id[:16])
}

func listFile(issuer *x509.Certificate) string {
	id := sha256.Sum256(issuer.Raw)
	return fmt.Sprintf("%x.crl", id[:16])
}

// Dir reads collateral from the files of a directory, as [Save] and [Cached]
// write them: <name>.swidtag for manifests, jwks.json for the keys; for a
// certificate <id>.ocsp or, of its issuer, <id>.crl, where id is the first 16
// bytes in hex of the SHA-256 of the certificate.
func Dir(path string) Collateral { return dir(path) }

type dir string

func (d dir) Manifest(_ context.Context, name string) ([]byte, error) {
	return d.read(manifestFile(name))
}

func (d dir) Status(_ context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	b, err := d.read(statusFile(cert))
	if errors.Is(err, ErrNotPublished) {
		b, err = d.read(listFile(issuer))
	}
	return b, err
}

func (d dir) Keys(context.Context) ([]byte, error) { return d.read(keysFile) }

func (d dir) read(name string) ([]byte, error) {
	if err := local(name); err != nil {
		return nil, err
	}
	b, err := collateral.ReadFile(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no %s here", ErrNotPublished, name)
	}
	return b, err
}

// local refuses names that a peer has chosen to lie elsewhere.
func local(name string) error {
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return fmt.Errorf("nvidia: %q is not the name of a file", name)
	}
	return nil
}

// write replaces a file in one step.
func (d dir) write(name string, body []byte) error {
	return atomicfile.Replace(filepath.Join(string(d), name), body, 0o600)
}

// Save fetches all that is needed to judge evidence and writes it to a
// directory that exists, for [Dir], for judging where there is no network.
func Save(ctx context.Context, src Collateral, evidence []byte, path string) error {
	boards, err := Decode(evidence)
	if err != nil {
		return err
	}
	s := saver{ctx, src, dir(path)}
	for i, b := range boards {
		if err := s.board(b); err != nil {
			return fmt.Errorf("nvidia: collateral of GPU %d: %w", i, err)
		}
	}
	return nil
}

type saver struct {
	ctx context.Context
	src Collateral
	to  dir
}

func (s saver) board(b Board) error {
	report, err := ParseReport(b.Report)
	if err != nil {
		return err
	}
	device, err := ParseChain(b.Chain)
	if err != nil {
		return err
	}
	if err := s.statuses(device.certs[1:]); err != nil {
		return err
	}
	for _, name := range []string{report.DriverManifest(device.Chip), report.VBIOSManifest()} {
		document, err := s.src.Manifest(s.ctx, name)
		if err != nil {
			return err
		}
		m, err := ParseManifest(document)
		if err != nil {
			return err
		}
		if err := errors.Join(s.to.write(manifestFile(name), document), s.statuses(m.certs)); err != nil {
			return err
		}
	}
	return nil
}

// statuses saves what is said about each certificate except the root.
func (s saver) statuses(certs []*x509.Certificate) error {
	for i, c := range certs[:len(certs)-1] {
		answer, err := s.src.Status(s.ctx, c, certs[i+1])
		if err != nil {
			return err
		}
		if err := s.to.write(statusFile(c), answer); err != nil {
			return err
		}
	}
	return nil
}
