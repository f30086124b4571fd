package attest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// finding is what verifying a quote showed. It holds for any key and any list
// of images.
type finding struct {
	Verdict
	keep bool // may be remembered
}

// verified verifies a quote, or remembers that it did.
func (p *Policy) verified(ctx context.Context, quote []byte, now time.Time) *Verdict {
	id := p.cacheKey(quote)
	if v := p.Cache.get(id, now); v != nil {
		return v
	}
	f := p.verify(ctx, quote, now)
	if _, failed := f.Failed(); !failed && f.keep {
		p.Cache.put(id, &f.Verdict)
	}
	return &f.Verdict
}

// verify asks whether a quote is authentic: made by a genuine machine, whose
// platform is in order, with nothing of ours involved.
func (p *Policy) verify(ctx context.Context, quote []byte, now time.Time) *finding {
	f := &finding{Verdict: Verdict{At: now, Expires: now.Add(lifeOfVerdict), TCB: tdx.Unknown}}
	if !f.check(CheckSize, len(quote) <= MaxEvidence, fmt.Sprintf("%d bytes", len(quote)), fmt.Sprintf("at most %d", MaxEvidence)) {
		return f
	}
	q, err := tdx.Parse(quote)
	if !f.check(CheckFormat, err == nil, answer(err), "a TDX quote") {
		return f
	}
	f.Measurements = &Measurements{Body: q.Body}
	roots, collateral, err := p.anchor(f, q)
	if !f.check(CheckSignature, err == nil, answer(err), want(f.Insecure, "a chain to the test root", "a chain to a trusted root")) {
		return f
	}
	err = q.VerifyEnclave()
	f.check(CheckEnclave, err == nil, answer(err), "the vendor's own")
	f.check(CheckModule, q.Body.IntelModule(), want(q.Body.IntelModule(), "ok", "signed by another or in debug mode"), "the vendor's own")
	p.checkTCB(ctx, f, q, roots, collateral)
	return f
}

// anchor finds the root that a quote's chain ends at: a trusted one, or else a
// test root if the policy has any.
func (p *Policy) anchor(f *finding, q *tdx.Quote) (*x509.CertPool, tdx.Collateral, error) {
	roots, collateral := p.Roots, p.Collateral
	if roots == nil {
		roots = tdx.IntelRoots()
	}
	err := q.VerifySignature(roots, f.At)
	if err != nil && p.TestRoots != nil && q.VerifySignature(p.TestRoots, f.At) == nil {
		roots, collateral, err = p.TestRoots, p.TestCollateral, nil
		f.Insecure = true
	}
	if err == nil {
		f.Measurements.RootKey, err = q.RootKey()
	}
	return roots, collateral, err
}

// checkTCB tells three outcomes apart: in order, known to be bad, unknown. The
// last passes only where the policy says so.
func (p *Policy) checkTCB(ctx context.Context, f *finding, q *tdx.Quote, roots *x509.CertPool, src tdx.Collateral) {
	f.keep = true
	if src == nil {
		f.check(CheckTCB, p.AllowUnknownTCB, "unknown: no collateral configured", want(p.AllowUnknownTCB, "anything", "UpToDate"))
		return
	}
	tcb, err := q.VerifyTCB(ctx, src, roots, f.At)
	f.TCB = tcb.Status
	var unavailable *tdx.UnavailableError
	switch {
	case errors.As(err, &unavailable):
		f.keep = false // ask again for the next peer
		f.check(CheckTCB, p.AllowUnknownTCB, "unknown: "+err.Error(), want(p.AllowUnknownTCB, "anything", "UpToDate"))
	case err != nil:
		f.check(CheckTCB, false, strings.TrimSpace(tcb.Status+" "+strings.Join(tcb.Advisories, " "))+": "+err.Error(), "UpToDate")
	default:
		f.check(CheckTCB, true, tcb.Status, "UpToDate")
		f.Expires = earlier(f.Expires, tcb.NextUpdate)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func answer(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}
