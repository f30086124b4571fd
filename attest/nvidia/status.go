package nvidia

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// checkRevocation asks about each certificate but the root. That one cannot be
// known does not hide that another was taken back.
func (j *judgement) checkRevocation(name string, certs ...[]*x509.Certificate) {
	wanted, got, ok := "none revoked", "none", true
	for _, chain := range certs {
		for i, c := range chain[:len(chain)-1] {
			known, err := j.status(c, chain[i+1])
			if err == nil {
				continue
			}
			got, ok = fmt.Sprintf("%s: %v", c.Subject.CommonName, err), !known && j.v.AllowUnknown
			if !ok {
				j.Checks.Add(name, ok, got, wanted)
				return
			}
		}
	}
	j.Checks.Add(name, ok, got, wanted)
}

// status asks about one certificate. An error is an answer, if known, or the
// lack of one.
func (j *judgement) status(c, issuer *x509.Certificate) (known bool, err error) {
	answer, err := ask(j, func(src Collateral) ([]byte, error) { return src.Status(j.ctx, c, issuer) })
	if err != nil {
		return false, err
	}
	holds, err := j.v.memo.get("status", issuer, append(c.Raw[:len(c.Raw):len(c.Raw)], answer...), func() (any, error) { return checkRevocation(c, issuer, answer) })
	if err != nil {
		return true, err
	}
	s := holds.(span)
	j.Expires = earlier(j.Expires, s.to)
	return true, s.at(j.now)
}

// ask gets collateral; whatever goes wrong makes the judgement unknown.
func ask(j *judgement, get func(Collateral) ([]byte, error)) ([]byte, error) {
	if j.anchors.Collateral == nil {
		j.unknown = true
		return nil, errors.New("unknown: no collateral configured")
	}
	b, err := get(j.anchors.Collateral)
	if err != nil {
		j.unknown = true
		j.Passing = j.Passing || !errors.Is(err, ErrNotPublished)
		return nil, fmt.Errorf("unknown: %w", err)
	}
	return b, nil
}
