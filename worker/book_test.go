package worker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// bookIn is the record that nodes keep, in a directory.
func bookIn(t *testing.T, dir string, maxUnpaid coin.Nano) *settlement.Worker {
	t.Helper()
	b, err := settlement.NewWorker(settlement.WorkerConfig{Owner: account(3), Dir: dir, MaxUnpaid: maxUnpaid})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A proxy that does not sign for what was earned gets no more work, and is told
// so; when it signs it gets some again.
func TestNoWorkForAProxyThatIsBehind(t *testing.T) {
	p := newProxy(t)
	s := start(t, p, enginetest.Fast(), func(c *Config) { c.Book = bookIn(t, t.TempDir(), 100) })
	h := s.connected()
	ask := func() *answer { return h.run(query(post(pathChat, chat("")))) }
	used := ask().info.TokensUsed.TotalTokensUsed // at a fee of 10 nanoTON
	if used < 11 {
		t.Fatalf("%d tokens, want more than the limit", used)
	}
	if info := s.w.Snapshot().Proxies[0]; !strings.Contains(info.Owes, "has not signed") {
		t.Errorf("status: %q", info.Owes)
	}
	if a := ask(); a.code != wire.CodeNotReady {
		t.Errorf("a request of a proxy that is behind: %+v", a)
	}
	h.send(&tl.ProxyWorkerRequestPayment{SignedPayment: p.payment(used), DbTokens: used, MaxTokens: used})
	h.wantDisabled(0)
	if a := ask(); a.status != 200 {
		t.Errorf("after it has signed: %+v", a)
	}
}

// Price, pause and what was promised are there again after a restart: so a
// proxy that has waited for one to sign less is refused.
func TestBookOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	p := newProxy(t)
	p.signed, p.db, p.most = 50, 60, 70
	first := bookIn(t, dir, 0)
	s := start(t, p, enginetest.Fast(), func(c *Config) { c.Book = first })
	s.connected()
	if err := s.w.SetCoefficient(900); err != nil {
		t.Fatal(err)
	}
	s.w.Disable() // which saves
	s.stop()

	p2 := newProxy(t)
	p2.signed, p2.db, p2.most = 50, 60, 70
	s = start(t, p2, enginetest.Fast(), func(c *Config) { c.Book = bookIn(t, dir, 0) })
	h := <-s.conns
	state := s.w.Snapshot()
	if state.Local.Coefficient != 900 || !slices.Contains(state.Status.NotBecause, "switched off") || !h.disabled {
		t.Errorf("after a restart %+v %+v", state.Local, state.Status)
	}
	p2.mu.Lock()
	if c := p2.claims[0]; c.TokensCommittedToBlockchain != 50 || c.TokensCommittedToDb != 60 || c.MaxTokens != 70 || p2.params[0].Coefficient != 900 {
		t.Errorf("it claims %+v at %d", c, p2.params[0].Coefficient)
	}
	p2.mu.Unlock()
	s.w.Enable()
	s.stop()

	p3 := newProxy(t)
	p3.signed, p3.db, p3.most = 49, 60, 70
	s = start(t, p3, enginetest.Fast(), func(c *Config) { c.Book = bookIn(t, dir, 0) })
	refused := func() bool { list := s.w.Snapshot().Proxies; return len(list) > 0 && list[0].Error != "" }
	for end := time.Now().Add(time.Minute); !refused(); time.Sleep(time.Millisecond) {
		if len(s.conns) > 0 || time.Now().After(end) {
			t.Fatal("a proxy that takes a promise back was accepted")
		}
	}
	if why := s.w.Snapshot().Proxies[0].Error; !strings.Contains(why, "had one for 50 before") {
		t.Errorf("refused because %q", why)
	}
}
