package ratls_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

// counted counts the quotes that a platform makes.
type counted struct {
	attest.Platform
	quotes atomic.Int64
}

func (c *counted) Quote(ctx context.Context, data [64]byte) ([]byte, error) {
	c.quotes.Add(1)
	return c.Platform.Quote(ctx, data)
}

// check returns the named check of a verdict.
func check(v *attest.Verdict, name string) *attest.Check {
	for _, c := range v.Checks {
		if c.Name == name {
			return &c
		}
	}
	return nil
}

// Both ends make evidence for every connection, and nobody uses it twice.
func TestSessionIsProved(t *testing.T) {
	a := authority(t)
	proxy, worker := &counted{Platform: a.Machine("proxy")}, &counted{Platform: a.Machine("worker")}
	l := listen(t, node(t, proxy, trusting(t, "worker")))
	came := accepted(l)
	client := node(t, worker, trusting(t, "proxy"))
	client.Policy.RequireFresh = true
	for n := range int64(3) {
		c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := <-came
		defer s.Close()
		for name, v := range map[string]*attest.Verdict{"proxy": c.Peer.Verdict, "worker": s.Peer.Verdict} {
			if got := check(v, attest.CheckSession); !v.Trusted || got == nil || !got.OK || v.ImageHash != insecure.ImageHash(name) {
				t.Errorf("%s: trusted %v, session %+v", name, v.Trusted, got)
			}
		}
		if p, w := proxy.quotes.Load(), worker.quotes.Load(); p != n+2 || w != n+2 {
			t.Errorf("after %d connections: %d and %d quotes, want one for the certificate and one for each", n+1, p, w)
		}
	}
}

// A listener makes no evidence for a dialer that would not count it, nor for
// one that it refuses.
func TestQuotesAreNotMadeInVain(t *testing.T) {
	a := authority(t)
	proxy := &counted{Platform: a.Machine("proxy")}
	l := listen(t, node(t, proxy, trusting(t, "worker")))
	echo(t, l)
	if c, err := ratls.Dial(t.Context(), l.Addr().String(), node(t, a.Machine("stranger"), trusting(t, "proxy"))); err == nil {
		t.Error("a stranger was served")
		c.Close()
	}
	c, err := ratls.Dial(t.Context(), l.Addr().String(), node(t, a.Machine("worker"), &attest.Policy{AllowNone: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := talk(t, c); err != nil {
		t.Error(err)
	}
	if n := proxy.quotes.Load(); n != 1 {
		t.Errorf("%d quotes, want that of the certificate", n)
	}
}

// A dialer learns at once that it was refused, where the exchange tells.
func TestRefusedDialerLearnsIt(t *testing.T) {
	a := authority(t)
	l := listen(t, node(t, a.Machine("proxy"), trusting(t, "worker")))
	c, err := ratls.Dial(t.Context(), l.Addr().String(), node(t, a.Machine("other"), trusting(t, "proxy")))
	if err == nil {
		c.Close()
		t.Error("connected")
	}
}

// crook speaks TLS by hand: it shows a certificate that it may have stolen,
// and then plays by its own rules.
type crook struct {
	shown  *tls.Certificate
	protos []string
	play   func(tc *tls.Conn, listens bool) error
}

func (c crook) settings() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*c.shown}, ClientAuth: tls.RequireAnyClientCert,
		InsecureSkipVerify: true, SessionTicketsDisabled: true, NextProtos: c.protos,
	}
}

func (c crook) key() ed25519.PublicKey {
	return c.shown.PrivateKey.(ed25519.PrivateKey).Public().(ed25519.PublicKey)
}

// listen serves whoever comes, and returns the address.
func (c crook) listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(20 * time.Second))
				if wire.Challenge(context.Background(), nc, 0) != nil {
					return
				}
				tc := tls.Server(nc, c.settings())
				if tc.Handshake() == nil && c.play(tc, true) == nil {
					io.Copy(tc, tc)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// dial connects and returns what ended it; nil if it was served.
func (c crook) dial(t testing.TB, address string) error {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if err := wire.Solve(t.Context(), nc, 28); err != nil {
		return err
	}
	tc := tls.Client(nc, c.settings())
	if err := tc.Handshake(); err != nil {
		return err
	}
	if err := c.play(tc, false); err != nil {
		return err
	}
	return talk(t, tc)
}

// show makes a play of one record, which make makes for a proof.
func (c crook) show(make func(ratls.Proof) []byte) func(*tls.Conn, bool) error {
	return func(tc *tls.Conn, listens bool) error {
		proof, err := ratls.ProofOf(tc, c.key(), listens)
		if err != nil {
			return err
		}
		if listens {
			if _, err := ratls.ReadRawRecord(tc); err != nil {
				return err
			}
		}
		if _, err := tc.Write(make(proof)); err != nil || listens {
			return err
		}
		_, err = ratls.ReadRawRecord(tc)
		return err
	}
}

// Who has stolen the key of a genuine machine, certificate and all, still
// needs the machine for each connection. One thing is wrong at a time, in both roles.
func TestStolenKey(t *testing.T) {
	a := authority(t)
	stranger, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	debug := a.Machine("x")
	debug.Debug = true
	quoted := func(p attest.Platform, data [64]byte) []byte {
		q, err := p.Quote(context.Background(), data)
		if err != nil {
			t.Error(err)
		}
		return q
	}
	// by makes a record with evidence of a platform, for a proof that was bent.
	by := func(p attest.Platform, bend func(*ratls.Proof)) func(ratls.Proof) []byte {
		return func(proof ratls.Proof) []byte {
			bend(&proof)
			return ratls.Record(quoted(p, proof.ReportData()), nil)
		}
	}
	with := func(change func([]byte) []byte) func(ratls.Proof) []byte {
		return func(proof ratls.Proof) []byte {
			return ratls.Record(change(quoted(a.Machine("x"), proof.ReportData())), nil)
		}
	}
	same := func(*ratls.Proof) {}
	for _, c := range []struct {
		name   string
		record func(ratls.Proof) []byte
		good   bool
	}{
		{"all as it should be", by(a.Machine("x"), same), true},
		{"no evidence", func(ratls.Proof) []byte { return ratls.Record(nil, nil) }, false},
		{"the certificate's own evidence", func(p ratls.Proof) []byte { return ratls.Record(quoted(a.Machine("x"), attest.ReportData(p.Key)), nil) }, false},
		{"another connection", by(a.Machine("x"), func(p *ratls.Proof) { p.Exporter[0]++ }), false},
		{"another key", by(a.Machine("x"), func(p *ratls.Proof) { p.Key, _, _ = ed25519.GenerateKey(rand.Reader) }), false},
		{"the other side", by(a.Machine("x"), func(p *ratls.Proof) { p.Listener = !p.Listener }), false},
		{"evidence of GPUs that is not there", by(a.Machine("x"), func(p *ratls.Proof) { p.GPU = []byte("gpu") }), false},
		{"a genuine machine with another image", by(a.Machine("y"), same), false},
		{"a machine in debug mode", by(debug, same), false},
		{"a machine of another authority", by(stranger.Machine("x"), same), false},
		{"fake evidence", by(insecure.Fake{}, same), false},
		{"one bit of the signature", with(func(q []byte) []byte { q[700] ^= 1; return q }), false},
		{"one bit of a register", with(func(q []byte) []byte { q[48+136] ^= 1; return q }), false},
		{"one bit of the report data", with(func(q []byte) []byte { q[48+520] ^= 1; return q }), false},
		{"cut short", with(func(q []byte) []byte { return q[:len(q)-1] }), false},
		{"one byte too many", with(func(q []byte) []byte { return append(q, 1) }), false},
		{"garbage", func(ratls.Proof) []byte { return ratls.Record([]byte("garbage"), nil) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			victim := node(t, a.Machine("x"), nil)
			thief := crook{shown: victim.Identity.Certificate(), protos: []string{ratls.SessionProtocol}}
			thief.play = thief.show(c.record)

			judging := node(t, a.Machine("judge"), trusting(t, "x"))
			conn, err := ratls.Dial(t.Context(), thief.listen(t), judging)
			var refused *attest.RefusedError
			if c.good != (err == nil) || err != nil && (!errors.As(err, &refused) || refused.Check.Name != attest.CheckSession) {
				t.Errorf("dialing: %v, want a refusal by %q unless all is good (%v)", err, attest.CheckSession, c.good)
			}
			if err == nil {
				conn.Close()
			}
			l := listen(t, judging)
			echo(t, l)
			if err := thief.dial(t, l.Addr().String()); (err == nil) != c.good {
				t.Errorf("listening: served %v (%v), want %v", err == nil, err, c.good)
			}
			if _, n, _ := l.Counts(); n > 0 && !c.good {
				t.Errorf("listening: %d accepted", n)
			}
		})
	}
}

// demanding takes the authorities for real vendors, and wants GPUs beside the
// machine.
func demanding(t testing.TB, gpus *insecure.GPUAuthority, images ...string) *attest.Policy {
	p, a := trusting(t, images...), authority(t)
	p.Verifiers = map[attest.Kind]attest.Verifier{
		attest.KindTDX: &tdx.Verifier{Roots: a.Roots(), Collateral: a}, evidence.NVIDIA: &nvidia.Verifier{Anchors: *gpus.Anchors()},
	}
	p.Require = attest.LevelGPU
	return p
}

func gpuAuthority(t testing.TB) *insecure.GPUAuthority {
	t.Helper()
	a, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Evidence of GPUs counts only from the machine whose processor vouches for it
// on this connection.
func TestGPUEvidence(t *testing.T) {
	a, vendor := authority(t), gpuAuthority(t)
	own, foreign := vendor.Guest(), gpuAuthority(t).Guest()
	quoted := func(p ratls.Proof, shown []byte) []byte {
		q, err := a.Machine("x").Quote(context.Background(), p.ReportData())
		if err != nil {
			t.Error(err)
		}
		return ratls.Record(q, shown)
	}
	made := func(g nvidia.Source, nonce [32]byte) []byte {
		b, err := g.Evidence(context.Background(), nonce)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	elsewhere := vendor.Guest(insecure.GPU{Name: "of another machine"})
	for _, c := range []struct {
		name   string
		record func(ratls.Proof) []byte
		check  string // that refuses; empty: accepted
	}{
		{"its own", func(p ratls.Proof) []byte { p.GPU = made(own, p.Nonce()); return quoted(p, p.GPU) }, ""},
		{"none", func(p ratls.Proof) []byte { return quoted(p, nil) }, attest.CheckLevel},
		{"made for another connection", func(p ratls.Proof) []byte { p.GPU = made(own, [32]byte{1}); return quoted(p, p.GPU) }, attest.CheckGPUNonce},
		{"of another vendor", func(p ratls.Proof) []byte { p.GPU = made(foreign, p.Nonce()); return quoted(p, p.GPU) }, attest.CheckGPU + evidence.CheckChain},
		{"put there by somebody else", func(p ratls.Proof) []byte { return quoted(p, made(own, p.Nonce())) }, attest.CheckSession},
		{"of another machine, in place of its own", func(p ratls.Proof) []byte {
			p.GPU = made(own, p.Nonce())
			return quoted(p, made(elsewhere, p.Nonce()))
		}, attest.CheckSession},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := crook{shown: node(t, a.Machine("x"), nil).Identity.Certificate(), protos: []string{ratls.SessionProtocol}}
			peer.play = peer.show(c.record)
			judging := node(t, attest.NoPlatform{}, demanding(t, vendor, "x"))
			conn, err := ratls.Dial(t.Context(), peer.listen(t), judging)
			var refused *attest.RefusedError
			switch {
			case err == nil:
				if c.check != "" || conn.Peer.Verdict.GPU == nil {
					t.Errorf("accepted with %+v, want a refusal by %q", conn.Peer.Verdict.GPU, c.check)
				}
				conn.Close()
			case !errors.As(err, &refused) || refused.Check.Name != c.check:
				t.Errorf("%v, want a refusal by %q", err, c.check)
			}
		})
	}
}

// The whole way, with a platform and a GPU at the other end.
func TestGPUIsShown(t *testing.T) {
	a, g := authority(t), gpuAuthority(t)
	worker := node(t, a.Machine("worker"), &attest.Policy{AllowNone: true})
	worker.GPU = g.Guest(insecure.GPU{Name: "0"}, insecure.GPU{Name: "1"})
	proxy := node(t, a.Machine("proxy"), demanding(t, g, "worker"))
	l := listen(t, proxy)
	came := accepted(l)
	worker.Policy = trusting(t, "proxy")
	c, err := ratls.Dial(t.Context(), l.Addr().String(), worker)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := <-came
	defer s.Close()
	if v := s.Peer.Verdict; v.Level != attest.LevelGPU || check(v, attest.CheckGPU+evidence.CheckSignature) == nil {
		t.Errorf("level %v, checks %+v", v.Level, v.Checks)
	}
	// One that looks for none takes the peer as well.
	proxy.Policy = trusting(t, "worker")
	l = listen(t, proxy)
	came = accepted(l)
	if c, err = ratls.Dial(t.Context(), l.Addr().String(), worker); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s = <-came
	defer s.Close()
	if s.Peer.Verdict.GPU != nil || !s.Peer.Verdict.Trusted {
		t.Errorf("%+v", s.Peer.Verdict)
	}
}

// gauge counts how many quotes are being made at a time, and holds them.
type gauge struct {
	attest.Platform
	now, most atomic.Int64
	calls     atomic.Int64
	enough    chan struct{}
}

func (g *gauge) Quote(ctx context.Context, data [64]byte) ([]byte, error) {
	if g.calls.Add(1) == 1 { // for the certificate
		return g.Platform.Quote(ctx, data)
	}
	n := g.now.Add(1)
	defer g.now.Add(-1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
	if n == ratls.MaxSessionQuotes {
		select {
		case <-g.enough:
		default:
			close(g.enough)
		}
	}
	<-g.enough
	return g.Platform.Quote(ctx, data)
}

// A crowd of peers does not make a crowd of quotes, and all are served.
func TestQuotesWaitTheirTurn(t *testing.T) {
	g := &gauge{Platform: authority(t).Machine("proxy"), enough: make(chan struct{})}
	l := listen(t, node(t, g, &attest.Policy{AllowNone: true}))
	echo(t, l)
	client := node(t, attest.NoPlatform{}, trusting(t, "proxy"))
	const crowd = 5 * ratls.MaxSessionQuotes
	served := make(chan error, crowd)
	for range crowd {
		go func() {
			c, err := ratls.Dial(context.Background(), l.Addr().String(), client)
			if err == nil {
				c.Close()
			}
			served <- err
		}()
	}
	for range crowd {
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	if n := g.most.Load(); n != ratls.MaxSessionQuotes {
		t.Errorf("%d quotes at a time, want %d", n, ratls.MaxSessionQuotes)
	}
}
