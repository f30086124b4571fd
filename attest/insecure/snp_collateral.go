package insecure

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/opencocoon/cocoon/attest/snp"
)

// SNPCollateral is what an authority says about its certificates. The zero
// value says that all are good for ten years.
type SNPCollateral struct {
	ThisUpdate, NextUpdate time.Time // of the revocation list
	Revoke                 bool      // the intermediate is on it
	// Alter changes the list before it is signed. May be nil.
	Alter func(*x509.RevocationList)
}

// Publish signs a new list and serves it from now on, with the chain and the
// chip's certificate.
func (a *SNPAuthority) Publish(c SNPCollateral) error {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate, SignatureAlgorithm: x509.SHA384WithRSAPSS}
	if list.ThisUpdate.IsZero() {
		list.ThisUpdate = a.root.cert.NotBefore
	}
	if list.NextUpdate.IsZero() {
		list.NextUpdate = a.root.cert.NotAfter
	}
	if c.Revoke {
		list.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: a.intermediate.cert.SerialNumber, RevocationTime: list.ThisUpdate}}
	}
	if c.Alter != nil {
		c.Alter(list)
	}
	crl, err := x509.CreateRevocationList(rand.Reader, list, a.root.cert, a.root.key)
	if err != nil {
		return fmt.Errorf("insecure: revocation list: %w", err)
	}
	answers := snp.Answers{snp.CRLPath(a.product, a.signer): crl, snp.ChainPath(a.product, a.signer): a.chain(a.intermediate, a.root)}
	if a.signer == snp.VCEK {
		answers[snp.VCEKPath(a.product, a.chip(), snpTCB)] = a.leaf.cert.Raw
	}
	a.published.Store(&answers)
	return nil
}

// Get implements snp.Collateral with what was published last.
func (a *SNPAuthority) Get(ctx context.Context, path string) ([]byte, error) {
	return a.published.Load().Get(ctx, path)
}
