package attest

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Names of checks about one connection and not about a certificate. What a
// verifier asks about GPUs gets CheckGPU in front.
const (
	CheckSession  = "session"   // evidence made now and for this connection alone
	CheckGPU      = "gpu "      // and its name: about the evidence of GPUs
	CheckGPUNonce = "gpu nonce" // asked for this connection
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

// JudgeCertificate is [Policy.Judge] for a peer that has yet to prove itself
// for the connection: a level that this adds is not asked for yet.
func (p *Policy) JudgeCertificate(ctx context.Context, e Evidence, key ed25519.PublicKey, now time.Time) (*Verdict, error) {
	early := *p
	early.Require = LevelRefused
	return early.Judge(ctx, e, key, now)
}

// JudgeSession completes the verdict v of JudgeCertificate, or of a router,
// with what the peer proved for this connection; s is nil for a peer that does
// not know how. It returns as [Policy.Judge] does and leaves v alone. A peer
// whose evidence does not count has nothing to prove.
func (p *Policy) JudgeSession(ctx context.Context, v *Verdict, s *Session, now time.Time) (*Verdict, error) {
	v = v.reopened()
	switch {
	case v.Kind == KindNone:
		return p.decide(v)
	case s == nil:
		p.checkNoSession(v)
	default:
		p.checkSession(ctx, v, s, now)
		p.checkGPU(ctx, v, s, now)
	}
	proven := s != nil
	v, err := p.conclude(v)
	if proven && err == nil && v.Kind != KindNone {
		p.Proven.add(v, now)
	}
	return v, err
}

// checkNoSession is about a peer that does not offer to prove itself.
func (p *Policy) checkNoSession(v *Verdict) {
	const none = "not offered by the peer"
	switch since := p.Proven.since(v); {
	case !since.IsZero():
		v.check(CheckSession, false, none, "evidence made for this connection, as this machine showed on "+since.Format(time.DateOnly))
	case p.RequireFresh:
		v.check(CheckSession, false, none, "evidence made for this connection")
	default:
		v.check(CheckSession, true, none, "not needed")
	}
}

// JudgeConnection judges a certificate's evidence and s together.
func (p *Policy) JudgeConnection(ctx context.Context, e Evidence, key ed25519.PublicKey, s *Session, now time.Time) (*Verdict, error) {
	v, err := p.JudgeCertificate(ctx, e, key, now)
	if err != nil {
		return v, err
	}
	return p.JudgeSession(ctx, v, s, now)
}

// Rejudge judges anew a peer whose connection lives on; old is the verdict so
// far. What was made for the connection stays made for it: it came from the
// machine that the certificate names. All that can change since is asked again.
func (p *Policy) Rejudge(ctx context.Context, old *Verdict, e Evidence, key ed25519.PublicKey, s *Session, now time.Time) (*Verdict, error) {
	i := slices.IndexFunc(old.Checks, func(c Check) bool { return c.Name == CheckSession })
	if s == nil || i < 0 { // it proved nothing, or that did not count then
		return p.JudgeConnection(ctx, e, key, s, now)
	}
	v, err := p.JudgeCertificate(ctx, e, key, now)
	switch {
	case err != nil:
		return v, err
	case v.Kind == KindNone:
		return p.JudgeSession(ctx, v, s, now)
	}
	v = v.reopened()
	v.Checks = append(v.Checks, old.Checks[i])
	v.GPU, v.gpuAt = old.GPU, old.gpuAt
	p.checkGPU(ctx, v, s, now)
	return p.conclude(v)
}

// WantsGPU reports whether the policy looks at evidence of GPUs.
func (p *Policy) WantsGPU() bool { return p.Verifiers[evidence.NVIDIA] != nil }

// reopened is a copy that waits for more checks: the level is not decided.
func (v *Verdict) reopened() *Verdict {
	c := *v
	c.Checks = slices.DeleteFunc(slices.Clone(v.Checks), func(c Check) bool { return c.Name == CheckLevel })
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
	v.Expires = earlier(v.Expires, f.Expires)
	failed, bad := f.Failed()
	switch {
	case bad:
		v.check(CheckSession, false, fmt.Sprintf("evidence whose %s is %s", failed.Name, failed.Got), made)
	case f.Insecure != v.Insecure:
		v.check(CheckSession, false, "evidence under another kind of root, genuine or test", "under that of the certificate's")
	case f.ImageHash != v.ImageHash:
		v.check(CheckSession, false, "evidence of image "+f.ImageHash.String(), "of "+v.ImageHash.String()+", as the certificate's")
	case f.Platform != v.Platform:
		v.check(CheckSession, false, "evidence of machine "+f.Platform, "of "+v.Platform+", as the certificate's")
	case f.ReportData != s.ReportData:
		v.check(CheckSession, false, "report data "+short(f.ReportData[:]), short(s.ReportData[:])+", the hash of this connection, the certificate's key and the GPU evidence")
	default:
		v.check(CheckSession, true, "made for this connection", made)
	}
}

// fresh verifies evidence that will not be seen again and so is not
// remembered.
func (p *Policy) fresh(ctx context.Context, kind Kind, raw []byte, now time.Time) *Verdict {
	f := newVerdict(kind, now)
	verifier := p.Verifiers[kind]
	switch {
	case kind == KindFakeTDX:
		if f.check(evidence.CheckSize, len(raw) == fakeSize, fmt.Sprintf("%d bytes", len(raw)), fmt.Sprint(fakeSize)) {
			f.ReportData, f.ImageHash, f.Insecure = [64]byte(raw), Unmeasured, true
		}
	case verifier == nil:
		f.check(CheckEvidence, false, string(kind), "a kind that the policy can verify")
	default:
		found := verifier.Verify(ctx, raw, now)
		f.adopt(remembered{found, now, expiry(found, now)})
		if f.Registers != nil {
			p.Rules.check(f)
		}
	}
	return f
}

// checkGPU asks about the GPUs if the policy can. Their evidence counts only
// together with the session's, which carries its hash: without that anybody's
// GPUs could be shown. None at all is a matter of the level; a bad one is a lie.
func (p *Policy) checkGPU(ctx context.Context, v *Verdict, s *Session, now time.Time) {
	if _, failed := v.Failed(); failed || s.GPU == nil || !p.WantsGPU() {
		v.GPU = nil
		return
	}
	if f := v.GPU; f == nil || now.Before(v.gpuAt) || !now.Before(expiry(f, v.gpuAt)) {
		v.GPU, v.gpuAt = p.Verifiers[evidence.NVIDIA].Verify(ctx, s.GPU, now), now
	}
	for _, c := range v.GPU.Checks {
		v.check(CheckGPU+c.Name, c.OK, c.Got, c.Want)
	}
	p.checkBoards(v)
	nonce := [32]byte(v.GPU.ReportData[:32])
	v.check(CheckGPUNonce, nonce == s.Nonce, short(nonce[:]), short(s.Nonce[:])+", the hash of this connection and the certificate's key")
	v.Expires = earlier(v.Expires, expiry(v.GPU, v.gpuAt))
	if v.Level == LevelImage && v.GPU.Status == evidence.UpToDate && !v.GPU.Insecure {
		v.Level = LevelGPU
	}
}

// checkBoards asks whether one of the GPUs is struck off. The list of machines
// that alone are accepted names processors.
func (p *Policy) checkBoards(v *Verdict) {
	ids := v.GPU.Platforms()
	struck := slices.ContainsFunc(ids, func(id string) bool {
		return slices.ContainsFunc(p.DenyPlatforms, func(denied string) bool { return strings.EqualFold(denied, id) })
	})
	v.check(CheckGPU+evidence.CheckPlatform, !struck, listed(ids), "none that is struck off")
}

// lifeOfPassing is how long a finding is good at most to which a part was
// missing: long enough not to ask in vain all the time.
const lifeOfPassing = 5 * time.Minute

// expiry is when a finding should not be used any more.
func expiry(f *Finding, made time.Time) time.Time {
	life := lifeOfVerdict
	if f.Passing {
		life = lifeOfPassing
	}
	if until := made.Add(life); f.Expires.IsZero() || until.Before(f.Expires) {
		return until
	}
	return f.Expires
}
