package tdx

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tdx-guest/verify"
)

//go:embed intel-root.pem
var intelRoot []byte

// IntelRootKey is the key id of Intel's SGX root CA, as [Quote.RootKey]
// computes it; the network's routers pin the same value (wire.md 3.7).
var IntelRootKey = mustKey("46e403bd34f05a3f2817ab9badcaacc7ffc98e0f261008cd30dae936cace18d5dcf58eef31463613de1570d516200993")

// intelQESigner signs Intel's quoting enclaves.
var intelQESigner = [32]byte(mustHex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5"))

const (
	tdQuotingEnclave = 2      // ISVPRODID of Intel's TD quoting enclave
	sgxDebug         = 1 << 1 // bit of an enclave's attributes
)

// Root returns Intel's SGX root CA, the only root of a production network.
func Root() *x509.Certificate {
	block, _ := pem.Decode(intelRoot)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic("tdx: embedded root: " + err.Error()) // a build that cannot be right
	}
	return root
}

// IntelRoots returns a pool that holds only Intel's root.
func IntelRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(Root())
	return pool
}

// VerifySignature checks that header and body are signed by a key that the
// quoting enclave reported, the enclave's report by a PCK certificate, and
// that one by one of roots, all valid at now. Revocation and TCB level are
// left to [Quote.VerifyTCB]; without it they are unknown. The library verifies
// version 4 under Intel's platform CA; other quotes are refused.
func (q *Quote) VerifySignature(roots *x509.CertPool, now time.Time) error {
	return q.verify(&verify.Options{TrustedRoots: roots, Now: now})
}

// VerifyEnclave checks that the quote was made by Intel's own quoting
// enclave. A platform's owner may run enclaves of his own that the same PCK
// key certifies, so without this check a valid signature proves only that the
// processor is genuine, and nothing about the guest.
func (q *Quote) VerifyEnclave() error {
	e := &q.Enclave
	switch {
	case e.MRSigner != intelQESigner:
		return fmt.Errorf("tdx: quoting enclave is signed by %x, want %x", e.MRSigner, intelQESigner)
	case e.ISVProdID != tdQuotingEnclave:
		return fmt.Errorf("tdx: quoting enclave is product %d, want %d", e.ISVProdID, tdQuotingEnclave)
	case e.Attributes[0]&sgxDebug != 0:
		return errors.New("tdx: quoting enclave runs in debug mode")
	}
	return nil
}

// RootKey is the key id of the root that the quote names: SHA-384 over the
// public key as an uncompressed point. It means something only after
// VerifySignature.
func (q *Quote) RootKey() (id [48]byte, err error) {
	certs, err := q.certificates()
	if err != nil {
		return id, err
	}
	key, ok := certs[len(certs)-1].PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return id, errors.New("tdx: root's key is not ECDSA")
	}
	point, err := key.Bytes()
	if err != nil {
		return id, fmt.Errorf("tdx: root's key: %w", err)
	}
	return sha512.Sum384(point), nil
}

// certificates are PCK certificate, intermediate and root.
func (q *Quote) certificates() (certs []*x509.Certificate, err error) {
	for rest := q.chain; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("tdx: certificate %d: %w", len(certs), err)
		}
		certs = append(certs, c)
	}
	if len(certs) != 3 {
		return nil, fmt.Errorf("tdx: chain of %d certificates, want 3", len(certs))
	}
	return certs, nil
}

// verify runs the library. It slices by lengths that Parse has checked; the
// recover keeps a mistake in either from ending the process for a peer's bytes.
func (q *Quote) verify(opts *verify.Options) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("tdx: verifier: %v", p)
		}
	}()
	if q.Header.Version != 4 {
		return fmt.Errorf("tdx: quote version %d cannot be verified, only version 4", q.Header.Version)
	}
	if opts.TrustedRoots == nil {
		return errors.New("tdx: no roots given")
	}
	if err := verify.RawTdxQuote(q.raw, opts); err != nil {
		return fmt.Errorf("tdx: %w", err)
	}
	return nil
}

// TCB is what Intel says about the platform that made a quote.
type TCB struct {
	// Status is Intel's word: UpToDate, SWHardeningNeeded, ConfigurationNeeded,
	// OutOfDate, Revoked, … or Unknown where no level was found.
	Status string
	// Advisories name the known weaknesses of this level.
	Advisories []string
	// NextUpdate is when the first part of the collateral expires.
	NextUpdate time.Time
}

// UnavailableError means that collateral could not be fetched: nothing is
// known, neither good nor bad. Retry later.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return "collateral unavailable: " + e.Err.Error() }
func (e *UnavailableError) Unwrap() error { return e.Err }

// VerifyTCB checks the quote against collateral from src: signed by roots and
// unexpired at now, nothing in the chain revoked, platform, TDX module and
// quoting enclave up to date. The TCB is filled as far as it could be read, also
// when the error says that it is not good enough; an *UnavailableError
// says that src did not answer.
//
// It must follow a VerifySignature that succeeded: the addresses asked for
// come from the quote's certificates.
func (q *Quote) VerifyTCB(ctx context.Context, src Collateral, roots *x509.CertPool, now time.Time) (TCB, error) {
	get := &getter{ctx: ctx, src: src, had: map[string]fetched{}}
	check := func(revocations bool) error {
		return q.verify(&verify.Options{TrustedRoots: roots, Now: now, GetCollateral: true, CheckRevocations: revocations, Getter: get})
	}
	err := check(true)
	if missing := get.failed; err != nil && missing != nil {
		// Levels may be there and bad while a revocation list is missing: a
		// source that withholds the list must not turn bad into unknown.
		if err = check(false); err == nil || get.failed != nil {
			return TCB{Status: Unknown}, &UnavailableError{missing}
		}
	}
	tcb := q.lookupTCB(get)
	if err == nil && tcb.Status != UpToDate {
		// The library has its own matching; where the two differ, refuse.
		err = fmt.Errorf("tdx: TCB status is %s, want %s", tcb.Status, UpToDate)
	}
	return tcb, err
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func mustKey(s string) [48]byte { return [48]byte(mustHex(s)) }
