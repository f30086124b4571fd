package attest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// withholding is a source that keeps some parts to itself.
type withholding struct {
	tdx.Collateral
	parts []tdx.Part
}

func (s *withholding) Get(ctx context.Context, part tdx.Part) (tdx.Statement, error) {
	if slices.Contains(s.parts, part) {
		return tdx.Statement{}, errors.New("withheld")
	}
	return s.Collateral.Get(ctx, part)
}

// A status that a policy tolerates says nothing about the parts that did not
// come: a revoked machine must not pass because the list that names it is
// withheld.
func TestToleratedStatusNeedsAllCollateral(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(insecure.Collateral{TCBStatus: "SWHardeningNeeded", RevokePCK: true}); err != nil {
		t.Fatal(err)
	}
	now, key := time.Now(), newKey(t)
	raw := attest.Quoted(quote(t, a.Machine("worker"), key))
	tolerant := attest.Rules{Statuses: []string{"SWHardeningNeeded"}}
	src := &withholding{Collateral: a}
	p := &attest.Policy{Images: only(insecure.ImageHash("worker")), Rules: tolerant, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: src})}
	v, err := p.Judge(t.Context(), raw, key, now)
	mustRefuse(t, v, err, evidence.CheckRevocation)

	src.parts = []tdx.Part{tdx.PCKCRLPlatform}
	v, err = p.Judge(t.Context(), raw, key, now)
	mustRefuse(t, v, err, evidence.CheckTCB)

	src.parts = append(src.parts, tdx.QEIdentity)
	p.AllowUnknownTCB = true
	if v, err = p.Judge(t.Context(), raw, key, now); err != nil || v.Level != attest.LevelUnknownTCB {
		t.Errorf("unknown is allowed: %v, level %s, want %s", err, v.Level.Name(), attest.LevelUnknownTCB.Name())
	}
	p.Statuses = nil // what is known to be bad stays refused
	v, err = p.Judge(t.Context(), raw, key, now)
	mustRefuse(t, v, err, evidence.CheckTCB)
}

// So with AMD's list: firmware that meets the minimum is not a machine in order
// while nobody says whether its certificates were taken back.
func TestRevocationUnknownIsSeen(t *testing.T) {
	a, err := insecure.NewSNPAuthority(insecure.SNPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(insecure.SNPCollateral{Revoke: true}); err != nil {
		t.Fatal(err)
	}
	key, image := newKey(t), insecure.SNPImageHash("worker")
	raw := attest.Evidence{Kind: attest.KindSEVSNP, Raw: quote(t, a.Machine("worker"), key)}
	v := &snp.Verifier{Policy: snp.Policy{Minimum: a.Minimum(), AllowUnknown: true, KernelMeasured: only(image)}, Roots: a.Roots(), Collateral: a}
	p := &attest.Policy{Images: only(image), Verifiers: map[attest.Kind]attest.Verifier{attest.KindSEVSNP: v}}
	refused, err := p.Judge(t.Context(), raw, key, time.Now())
	mustRefuse(t, refused, err, evidence.CheckRevocation)

	v.Collateral = snp.Answers{}
	got, err := p.Judge(t.Context(), raw, key, time.Now())
	if err != nil || got.Level != attest.LevelUnknownTCB {
		t.Errorf("%v, level %s, want %s", err, got.Level.Name(), attest.LevelUnknownTCB.Name())
	}
}
