package ratls_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
)

// watched is a listener whose policy may change its mind, and one peer that
// it believed.
type watched struct {
	*ratls.Config
	authority *insecure.Authority
	verifier  *tdx.Verifier
	now       atomic.Pointer[time.Time]
	images    atomic.Pointer[map[attest.Hash]bool]
	platforms atomic.Pointer[map[string]bool] // that are struck off
	theirs    *ratls.Conn
	ours      *ratls.Conn
	refused   chan error
}

func (w *watched) list(images ...string) {
	m := map[attest.Hash]bool{}
	for _, name := range images {
		m[insecure.ImageHash(name)] = true
	}
	w.images.Store(&m)
}

func watch(t *testing.T, opts ratls.SessionsOptions) *watched {
	t.Helper()
	a, err := insecure.NewAuthority() // its own: it publishes other collateral
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{authority: a, verifier: &tdx.Verifier{TestRoots: a.Roots(), TestCollateral: a}, refused: make(chan error, 1)}
	w.list("worker")
	w.platforms.Store(&map[string]bool{})
	policy := &attest.Policy{
		Images:          func(h attest.Hash) bool { return (*w.images.Load())[h] },
		PlatformAllowed: func(id string) bool { return !(*w.platforms.Load())[id] },
		Verifiers:       map[attest.Kind]attest.Verifier{attest.KindTDX: w.verifier},
	}
	w.Config = node(t, a.Machine("proxy"), policy)
	w.Sessions = ratls.NewSessions(opts)
	start := time.Now()
	w.now.Store(&start)
	w.Now = func() time.Time { return *w.now.Load() }
	l := listen(t, w.Config)
	came := accepted(l)
	w.theirs, err = ratls.Dial(t.Context(), l.Addr().String(), node(t, a.Machine("worker"), &attest.Policy{AllowNone: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.theirs.Close() })
	w.ours = <-came
	t.Cleanup(func() { w.ours.Close() })
	w.ours.Peer.OnRefused(func(reason error) { w.refused <- reason })
	return w
}

// What a peer was believed for may end while it is connected. It is told
// apart by the check that fails, and the others stay.
func TestLivePeersAreJudgedAnew(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*testing.T, *watched)
		check  string // that refuses; empty: still believed
	}{
		{"nothing", func(*testing.T, *watched) {}, ""},
		{"image struck off", func(_ *testing.T, w *watched) { w.list("other") }, "image hash"},
		{"platform struck off", func(_ *testing.T, w *watched) {
			w.platforms.Store(&map[string]bool{w.ours.Peer.Verdict.Platform: true})
		}, "platform"},
		{"policy replaced", func(_ *testing.T, w *watched) { w.Sessions.Replace(&attest.Policy{}) }, "evidence"},
		{"policy replaced by one that asks for more", func(_ *testing.T, w *watched) {
			p := *w.Policy
			p.Registers = []string{"mrtd=" + strings.Repeat("00", 48)}
			w.Sessions.Replace(&p)
		}, "register mrtd"},
		{"policy replaced by one that wants fresh evidence, which there was", func(_ *testing.T, w *watched) {
			p := *w.Policy
			p.RequireFresh = true
			w.Sessions.Replace(&p)
		}, ""},
		{"collateral expired", func(t *testing.T, w *watched) {
			soon := w.Now().Add(time.Minute)
			if err := w.authority.Publish(insecure.Collateral{NextUpdate: soon}); err != nil {
				t.Fatal(err)
			}
			later := w.Now().Add(61 * time.Minute) // what is remembered of the old has expired too
			w.now.Store(&later)
		}, "tcb info"},
		{"verdict expired, machine in order", func(_ *testing.T, w *watched) {
			later := w.Now().Add(61 * time.Minute)
			w.now.Store(&later)
		}, ""},
		{"revoked, found when the verdict expired", func(t *testing.T, w *watched) {
			if err := w.authority.Publish(insecure.Collateral{RevokePCK: true}); err != nil {
				t.Fatal(err)
			}
			later := w.Now().Add(61 * time.Minute)
			w.now.Store(&later)
		}, "revocation"},
		{"firmware out of date", func(t *testing.T, w *watched) {
			if err := w.authority.Publish(insecure.Collateral{TCBStatus: "OutOfDate"}); err != nil {
				t.Fatal(err)
			}
			later := w.Now().Add(61 * time.Minute)
			w.now.Store(&later)
		}, "tcb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t, ratls.SessionsOptions{Grace: time.Hour})
			c.change(t, w)
			n := w.Sessions.Revalidate(t.Context())
			v := w.ours.Peer.Judged()
			if c.check == "" {
				if n != 0 || !v.Trusted || w.Sessions.Len() != 1 {
					t.Fatalf("%d refused, trusted %v, %d live", n, v.Trusted, w.Sessions.Len())
				}
				if !v.Expires.After(w.Now()) || check(v, attest.CheckSession) == nil {
					t.Errorf("expires %v, now is %v, checks %+v", v.Expires, w.Now(), v.Checks)
				}
				return
			}
			reason := <-w.refused
			var refused *attest.RefusedError
			if !errors.As(reason, &refused) || refused.Check.Name != c.check || n != 1 || v.Trusted {
				t.Errorf("%v, %d refused, trusted %v, want a refusal by %q", reason, n, v.Trusted, c.check)
			}
			// Once is enough, and the connection lives until the role or the grace ends it.
			if n := w.Sessions.Revalidate(t.Context()); n != 0 {
				t.Errorf("%d refused again", n)
			}
			go io.Copy(w.ours, w.ours)
			if err := talk(t, w.theirs); err != nil {
				t.Errorf("while it is drained: %v", err)
			}
			w.ours.Close()
			if n := w.Sessions.Len(); n != 0 {
				t.Errorf("%d live after the end", n)
			}
		})
	}
}

// A role that does nothing about it loses the peer all the same.
func TestRefusedPeersAreCut(t *testing.T) {
	w := watch(t, ratls.SessionsOptions{Grace: time.Millisecond})
	w.list()
	w.Sessions.Revalidate(t.Context())
	w.theirs.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(w.theirs); isTimeout(err) {
		t.Error("still connected")
	}
	if n := w.Sessions.Len(); n != 0 {
		t.Errorf("%d live after the cut", n)
	}
}

// Who asks late whether the peer was refused hears it at once.
func TestRefusedBeforeAnybodyWatched(t *testing.T) {
	w := watch(t, ratls.SessionsOptions{Grace: time.Hour})
	w.list()
	w.Sessions.Revalidate(t.Context())
	<-w.refused
	again := make(chan error, 1)
	w.ours.Peer.OnRefused(func(reason error) { again <- reason })
	if err := <-again; !errors.Is(err, attest.ErrUntrusted) {
		t.Errorf("reason %v", err)
	}
}

// Run notices what tells that it has changed, and what does not.
func TestRunFollowsTheLists(t *testing.T) {
	w := watch(t, ratls.SessionsOptions{Grace: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan chan struct{}, 2)
	first := make(chan struct{})
	changes <- first
	changes <- make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- w.Sessions.Run(ctx, func() <-chan struct{} { return <-changes }) }()
	w.list()
	close(first)
	if err := <-w.refused; !errors.Is(err, attest.ErrUntrusted) {
		t.Errorf("reason %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}

// slowMachine lets the test do something while a peer proves itself.
type slowMachine struct {
	attest.Platform
	asked, goOn chan struct{}
	calls       atomic.Int64
}

func (s *slowMachine) Quote(ctx context.Context, data [64]byte) ([]byte, error) {
	if s.calls.Add(1) == 2 { // the first is for the certificate
		s.asked <- struct{}{}
		<-s.goOn
	}
	return s.Platform.Quote(ctx, data)
}

// A list that changes while a peer is negotiating counts for it: there is no
// moment between its judgement and its place among the sessions.
func TestStruckOffWhileNegotiating(t *testing.T) {
	w := watch(t, ratls.SessionsOptions{Grace: time.Hour})
	l := listen(t, w.Config)
	echo(t, l)
	slow := &slowMachine{Platform: w.authority.Machine("worker"), asked: make(chan struct{}), goOn: make(chan struct{})}
	peer := node(t, slow, &attest.Policy{AllowNone: true})
	served := make(chan error, 1)
	go func() {
		c, err := ratls.Dial(context.Background(), l.Addr().String(), peer)
		if err == nil {
			err = talk(t, c)
			c.Close()
		}
		served <- err
	}()
	<-slow.asked // its certificate has been judged
	w.list()
	w.Sessions.Revalidate(t.Context())
	close(slow.goOn)
	if err := <-served; err == nil {
		t.Error("served, though its image was struck off before it was accepted")
	}
	if _, n, _ := l.Counts(); n != 0 {
		t.Errorf("%d accepted", n)
	}
}
