package attest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"
)

// Names of the checks that concern one connection and not the certificate.
const (
	CheckSession = "session" // evidence made now and for this connection alone
	CheckGPU     = "gpu"     // evidence of the GPUs, bound to that of the processor
)

// Session is what a peer showed for one connection, and what it had to show.
// The certificate's evidence may be hours old and its key may have been stolen
// since; this was made during the handshake and fits no other connection.
type Session struct {
	Evidence   []byte   // of the certificate's kind; nil if the peer showed none
	ReportData [64]byte // that Evidence must carry: it names connection, key, side and GPU evidence
	GPU        []byte   // evidence of the GPUs, nil if there is none
	Nonce      [32]byte // that GPU must carry
}

// JudgeSession takes the verdict v about a peer's certificate and adds what
// the peer proved for this connection; s is nil for a peer that does not know
// how. It returns a new verdict, as [Policy.Judge] does, and leaves v alone.
// A peer without evidence that counts has nothing to prove.
func (p *Policy) JudgeSession(ctx context.Context, v *Verdict, s *Session, now time.Time) (*Verdict, error) {
	if v.Kind == KindNone {
		return v, nil
	}
	c := v.clone()
	if s == nil {
		c.check(CheckSession, !p.RequireFresh, "not offered by the peer", want(p.RequireFresh, "evidence made for this connection", "not needed"))
	} else {
		p.checkSession(ctx, c, s, now)
	}
	p.checkGPU(ctx, c, s, now)
	return p.conclude(c)
}

// Rejudge judges anew a peer whose connection lives on: old is its verdict so
// far, evidence that of its certificate. What was made for the connection
// stays made for it; everything that can change since is asked again.
func (p *Policy) Rejudge(ctx context.Context, old *Verdict, raw []byte, s *Session, key []byte, now time.Time) (*Verdict, error) {
	v, err := p.Judge(ctx, raw, key, now)
	if err != nil || v.Kind == KindNone {
		return v, err
	}
	if s == nil {
		return p.JudgeSession(ctx, v, nil, now)
	}
	i := slices.IndexFunc(old.Checks, func(c Check) bool { return c.Name == CheckSession })
	if i < 0 { // it did not count then
		return p.JudgeSession(ctx, v, s, now)
	}
	v = v.clone()
	v.Checks = append(v.Checks, old.Checks[i])
	v.GPU = old.GPU
	p.checkGPU(ctx, v, s, now)
	return p.conclude(v)
}

func (v *Verdict) clone() *Verdict {
	c := *v
	c.Checks = slices.Clone(v.Checks)
	return &c
}

// checkSession wants authentic evidence of the same machine and image as the
// certificate's, with the report data of this connection.
func (p *Policy) checkSession(ctx context.Context, v *Verdict, s *Session, now time.Time) {
	const made = "evidence that this machine made for this connection"
	if s.Evidence == nil {
		v.check(CheckSession, false, "none", made)
		return
	}
	f := p.fresh(ctx, v.Kind, s.Evidence, now)
	if failed, bad := f.Failed(); bad {
		v.check(CheckSession, false, fmt.Sprintf("evidence whose %s is %s", failed.Name, failed.Got), made)
		return
	}
	got := f.Measurements.ReportData
	switch {
	case f.Measurements.ImageHash() != v.ImageHash:
		v.check(CheckSession, false, "evidence of image "+f.Measurements.ImageHash().String(), "evidence of image "+v.ImageHash.String())
	case got != s.ReportData:
		v.check(CheckSession, false, "report data "+short(got[:]), short(s.ReportData[:])+", the hash of this connection, the certificate's key and the GPU evidence")
	default:
		v.check(CheckSession, true, "made for this connection", made)
	}
	v.Expires = earlier(v.Expires, f.Expires)
}

// fresh verifies evidence that will not be seen again, and so is not
// remembered.
func (p *Policy) fresh(ctx context.Context, kind Kind, raw []byte, now time.Time) *Verdict {
	if kind == KindFakeTDX {
		f := &Verdict{Measurements: &Measurements{}, Expires: now.Add(lifeOfVerdict)}
		if f.check(CheckSize, len(raw) == fakeSize, fmt.Sprintf("%d bytes", len(raw)), fmt.Sprintf("%d", fakeSize)) {
			f.Measurements.ReportData = [64]byte(raw)
		}
		return f
	}
	f := &p.verify(ctx, raw, now).Verdict
	if f.Measurements != nil {
		f.check(CheckDebug, !f.Measurements.Debug(), "on", "off")
		f.check(CheckMigration, !f.Measurements.Migratable(), "on", "off")
	}
	return f
}

// checkGPU asks about the GPUs if the policy can. Their evidence counts only
// together with the session's, which carries its hash: without that anybody's
// GPUs could be shown.
func (p *Policy) checkGPU(ctx context.Context, v *Verdict, s *Session, now time.Time) {
	if _, failed := v.Failed(); failed || p.GPU == nil {
		return
	}
	if s == nil || s.GPU == nil {
		v.GPU = nil
		if p.RequireGPU {
			v.check(CheckGPU, false, "none", "evidence of GPUs")
		}
		return
	}
	if v.GPU == nil || !v.GPU.Expires.IsZero() && !now.Before(v.GPU.Expires) {
		v.GPU = p.GPU.Verify(ctx, s.GPU, now)
	}
	p.judgeGPU(v, s)
}

func (p *Policy) judgeGPU(v *Verdict, s *Session) {
	f := v.GPU
	if !f.Expires.IsZero() {
		v.Expires = earlier(v.Expires, f.Expires)
	}
	failed, bad := f.Checks.Failed()
	switch {
	case bad:
		v.check(CheckGPU, false, fmt.Sprintf("%s is %s", failed.Name, failed.Got), failed.Want)
	case !bytes.Equal(f.ReportData[:len(s.Nonce)], s.Nonce[:]):
		v.check(CheckGPU, false, "nonce "+short(f.ReportData[:]), short(s.Nonce[:])+", the hash of this connection")
	case f.Insecure && !v.Insecure:
		v.check(CheckGPU, false, "simulated", "a real GPU beside a real processor")
	default:
		v.check(CheckGPU, true, "genuine, asked for this connection", "genuine, asked for this connection")
	}
}
