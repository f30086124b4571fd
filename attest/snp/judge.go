package snp

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// find gets the signing key's certificate, from the peer or from the source.
func (v *Verifier) find(ctx context.Context, j *judgement, e *Evidence) {
	leaf, err := e.leaf(ctx, v.Collateral)
	if err != nil && v.TestCollateral != nil {
		if other, failed := e.leaf(ctx, v.TestCollateral); failed == nil {
			leaf, err = other, nil
		}
	}
	if err == nil {
		j.leaf = leaf
		j.said, err = ParseEndorsement(leaf)
	}
	var unavailable *UnavailableError
	j.Passing = errors.As(err, &unavailable)
	signer := j.report.KeyInfo.Signer()
	if err == nil && j.said.Signer != signer {
		err = fmt.Errorf("snp: certificate is of a %s, the report is signed with a %s", j.said.Signer, signer)
	}
	j.Checks.Passed(CheckCertificate, err, "that of the "+signer.String())
	j.product, _ = j.report.CPU.Product()
	if j.said != nil {
		j.product = j.said.Product
	}
}

// anchor finds the root that the chain ends at: a trusted one, or else a test
// root if there are any.
func (v *Verifier) anchor(ctx context.Context, j *judgement, e *Evidence) {
	if j.leaf == nil {
		j.Checks.Add(evidence.CheckChain, false, "no certificate", "a chain to a trusted root")
		return
	}
	roots := v.Roots
	if roots == nil {
		roots = AMDRoots()
	}
	sent := e.Certificates[min(1, len(e.Certificates)):]
	chains, err := chainsTo(ctx, j, roots, append(intermediates(), sent...), v.Collateral)
	j.src = v.Collateral
	if err != nil && v.TestRoots != nil {
		if test, failed := chainsTo(ctx, j, v.TestRoots, sent, v.TestCollateral); failed == nil {
			chains, err, j.Insecure, j.src = test, nil, true, v.TestCollateral
		}
	}
	j.choose(ctx, chains)
	j.Checks.Passed(evidence.CheckChain, err, word(j.Insecure, "a chain to a test root", "a chain to a trusted root"))
}

// choose takes the first chain that is valid and not known to be revoked, or
// else the first. A peer may send an intermediate that was replaced.
func (j *judgement) choose(ctx context.Context, chains []*Chain) {
	for _, c := range chains {
		var ends time.Time
		var err error = &UnavailableError{errors.New("no collateral configured")}
		if j.src != nil {
			ends, err = c.VerifyRevocation(ctx, j.src, j.now)
		}
		var unavailable *UnavailableError
		good := c.ValidAt(j.now) && (err == nil || errors.As(err, &unavailable))
		if j.chain == nil || good {
			j.chain, j.listEnd, j.revoked = c, ends, err
		}
		if good {
			return
		}
	}
}

// chainsTo tries the intermediates at hand and then the one that src has, which
// is needed when AMD replaces one.
func chainsTo(ctx context.Context, j *judgement, roots, over []*x509.Certificate, src Collateral) ([]*Chain, error) {
	chains, err := VerifyChains(j.leaf, over, roots)
	if err == nil || src == nil || j.said == nil {
		return chains, err
	}
	body, failed := src.Get(ctx, ChainPath(j.said.Product, j.said.Signer))
	if failed != nil {
		return nil, err
	}
	more, failed := readCertificates(body)
	if failed != nil {
		return nil, err
	}
	return VerifyChains(j.leaf, more, roots)
}

// checkValidity asks whether each certificate is valid now.
func (j *judgement) checkValidity() {
	if j.chain == nil {
		return
	}
	names := []string{CheckLeaf, CheckIntermediate, CheckRoot}
	for i, c := range j.chain.Certificates() {
		j.Checks.Add(names[i], validAt(c, j.now), fmt.Sprintf("%s, %s to %s", c.Subject.CommonName, stamp(c.NotBefore), stamp(c.NotAfter)), "valid at "+stamp(j.now))
		j.until(c.NotAfter)
	}
}

// until lets the finding end no later than t.
func (j *judgement) until(t time.Time) {
	if j.Expires.IsZero() || t.Before(j.Expires) {
		j.Expires = t
	}
}

// checkRevocation tells three answers apart: on no list, on a list, unknown.
func (j *judgement) checkRevocation() {
	if j.chain == nil {
		return
	}
	want := word(j.policy.AllowUnknown, "not revoked, as far as is known", "not revoked")
	var unavailable *UnavailableError
	switch {
	case errors.As(j.revoked, &unavailable):
		j.Passing, j.Reason = j.Passing || j.src != nil, j.revoked.Error()
		j.Checks.Add(evidence.CheckRevocation, j.policy.AllowUnknown, "unknown: "+j.revoked.Error(), want)
	case j.revoked != nil:
		j.Checks.Add(evidence.CheckRevocation, false, j.revoked.Error(), want)
	default:
		j.Checks.Add(evidence.CheckRevocation, true, "not on the list, which is good until "+stamp(j.listEnd), want)
		j.until(j.listEnd)
	}
}

func (j *judgement) checkSignature() {
	if j.leaf != nil {
		j.Checks.Passed(evidence.CheckSignature, j.report.VerifySignature(j.leaf), "the certificate's key signed the report")
	}
}

// checkChip compares the report's chip with the certificate's and names the
// platform. A host may mask the report's; the signature still is of the one
// chip that the certificate names. A VLEK names none.
func (j *judgement) checkChip() {
	if j.said == nil {
		return
	}
	chip, named := j.report.ChipID, j.said.HWID
	masked := chip == [64]byte{}
	switch {
	case j.said.Signer == VLEK && masked:
		j.Checks.Add(CheckChip, true, "none: signed with the VLEK of "+j.said.CSP, "any")
		return
	case j.said.Signer == VLEK:
		named = chip[:]
		j.Checks.Add(CheckChip, true, short(chip[:]), "any")
	case masked:
		j.Checks.Add(CheckChip, true, "masked by the host", short(named)+", by the certificate")
	default:
		same := [64]byte{}
		copy(same[:], named)
		j.Checks.Add(CheckChip, chip == same, short(chip[:]), short(named)+", by the certificate")
	}
	j.Platform = hex.EncodeToString(named)
}
