package tdx

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// Collateral gives what Intel publishes to judge quotes: TCB levels, the
// quoting enclave's identity, revocation lists.
//
// Get must honour ctx, and may be called from several goroutines. What it
// returns need not be authentic: it is signed, and the verifier checks.
type Collateral interface {
	Get(ctx context.Context, part Part) (Statement, error)
}

// Statement is one part of the collateral.
type Statement struct {
	Body  []byte
	Chain []byte // PEM of the issuers, signer first; only for JSON, which does not carry it
}

// Part names a part of the collateral.
type Part struct {
	what  partKind
	fmspc [6]byte
}

type partKind int

const (
	tcbInfo partKind = iota
	qeIdentity
	rootCRL
	pckCRLPlatform
	pckCRLProcessor
	sgxTCBInfo
	sgxQEIdentity
)

// Parts that there is one of.
var (
	QEIdentity      = Part{what: qeIdentity}      // of the TD quoting enclave, JSON
	RootCRL         = Part{what: rootCRL}         // what the root revoked, DER
	PCKCRLPlatform  = Part{what: pckCRLPlatform}  // what the CA of that name revoked, DER
	PCKCRLProcessor = Part{what: pckCRLProcessor} // so too
	SGXQEIdentity   = Part{what: sgxQEIdentity}   // of the quoting enclave for enclaves, JSON
)

// TCBInfo is the part about a model of processors, JSON.
func TCBInfo(fmspc [6]byte) Part { return Part{tcbInfo, fmspc} }

// SGXTCBInfo is the part about a model of processors as makers of enclaves,
// JSON.
func SGXTCBInfo(fmspc [6]byte) Part { return Part{sgxTCBInfo, fmspc} }

// File is the name of the part in a directory; a chain is in the file of that
// name and ".chain.pem".
func (p Part) File() string {
	switch p.what {
	case tcbInfo:
		return fmt.Sprintf("tcb-%x.json", p.fmspc)
	case qeIdentity:
		return "qe-identity.json"
	case sgxTCBInfo:
		return fmt.Sprintf("sgx-tcb-%x.json", p.fmspc)
	case sgxQEIdentity:
		return "sgx-qe-identity.json"
	case rootCRL:
		return "root-crl.der"
	case pckCRLProcessor:
		return "pck-crl-processor.der"
	default:
		return "pck-crl.der"
	}
}

// String is the name of the part for people.
func (p Part) String() string { return p.File() }

// signedJSON tells whether the part is JSON with a signature inside, and not a
// list, which carries its issuer's name.
func (p Part) signedJSON() bool {
	return p.what == tcbInfo || p.what == qeIdentity || p.what == sgxTCBInfo || p.what == sgxQEIdentity
}

// Dir reads collateral from the files of a directory, as [Save] and [Cached] write them,
// for judging where there is no network.
func Dir(path string) Collateral { return dir(path) }

type dir string

func (d dir) Get(_ context.Context, part Part) (Statement, error) {
	s, _, err := disk(d).Read(part.File())
	return s, err
}

const chainSuffix = ".chain.pem"

// Save fetches the collateral about the platform that made a quote and writes
// it to a directory for [Dir].
func Save(ctx context.Context, q *Quote, src Collateral, path string) error {
	parts, err := q.parts()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for _, part := range parts {
		s, err := src.Get(ctx, part)
		if err == nil {
			err = disk(path).Write(part.File(), s, time.Now())
		}
		if err != nil {
			return fmt.Errorf("tdx: collateral %s: %w", part, err)
		}
	}
	return nil
}

// parts are what judging a quote asks for.
func (q *Quote) parts() ([]Part, error) {
	c, err := readChain(q.chain)
	if err != nil {
		return nil, err
	}
	pck, err := readPCK(c.pck)
	if err != nil {
		return nil, err
	}
	return []Part{TCBInfo(pck.FMSPC), QEIdentity, RootCRL, c.list()}, nil
}

// list is the list on which the PCK certificate would be.
func (c *chain) list() Part {
	if c.ca.Subject.CommonName == nameProcessor {
		return PCKCRLProcessor
	}
	return PCKCRLPlatform
}

// Answers is collateral kept in memory.
type Answers map[Part]Statement

// Get implements [Collateral].
func (a Answers) Get(_ context.Context, part Part) (Statement, error) {
	s, ok := a[part]
	if !ok {
		return s, fmt.Errorf("tdx: no %s here", part)
	}
	return s, nil
}

// reasons joins what is missing into one line.
func reasons(errs []error) string {
	var text []string
	for _, err := range errs {
		text = append(text, err.Error())
	}
	return strings.Join(text, "; ")
}
