package settlement

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
)

const testSecret = "correct horse battery staple 7391"

// byHand is a proxy whose contract is real and whose key does what a test wants.
type byHand struct {
	*world
	registry *registry
	owner    *person
	key      ed25519.PrivateKey
	root     *contract.Root // of its generation
	at       *address.Address
}

func newByHand(w *world, r *registry) *byHand {
	w.Helper()
	p := &byHand{world: w, registry: r, owner: w.person("proxy-owner", 100*coin.TON), key: w.chain.Key("proxy")}
	p.deploy()
	return p
}

// deploy deploys the contract of the registry's present generation.
func (p *byHand) deploy() {
	p.Helper()
	p.root = p.registry.Root()
	d, err := p.root.DeployProxy(p.owner.at, p.registry.at, p.public())
	if err != nil {
		p.Fatal(err)
	}
	p.at = d.Address
	p.owner.send(d.Address, coin.TON, nil, d.Init)
}

func (p *byHand) public() ed25519.PublicKey { return p.key.Public().(ed25519.PublicKey) }

func (p *byHand) sign(kind contract.PaymentKind, at *address.Address, tokens int64) *contract.Envelope {
	p.Helper()
	e, err := (&contract.Payment{Kind: kind, QueryID: 1, Excess: p.owner.at, Tokens: tokens, Contract: at}).Sign(p.key)
	if err != nil {
		p.Fatal(err)
	}
	return e
}

func (p *byHand) forPeer(kind contract.PaymentKind, at *address.Address, tokens int64) []byte {
	p.Helper()
	data, err := p.sign(kind, at, tokens).ForPeer()
	if err != nil {
		p.Fatal(err)
	}
	return data
}

// clientSide is a client's settlement, which may end and begin again.
type clientSide struct {
	*world
	*Client
	proxy *byHand
	node  *node
	cfg   ClientConfig
	stop  func()
	log   *strings.Builder
}

func newClientSide(w *world, p *byHand, n *node) *clientSide {
	w.Helper()
	s := &clientSide{world: w, proxy: p, node: n, log: &strings.Builder{}}
	s.cfg = ClientConfig{Chain: w.client, Registry: p.registry, Dir: w.TempDir(), Secret: testSecret, Every: 20 * time.Millisecond, Now: w.chain.Now,
		Log: slog.New(slog.NewTextHandler(s.log, nil))}
	s.begin()
	w.Cleanup(func() {
		s.stop()
		if w.Failed() {
			w.Log(s.log)
		}
	})
	return s
}

func (s *clientSide) begin() {
	s.Helper()
	s.cfg.Wallet = s.node.driver
	var err error
	if s.Client, err = NewClient(s.cfg); err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Client.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.Errorf("Run: %v", err)
		}
		s.stop = func() {}
	}
}

// restart ends everything at this point and begins again from the disk.
func (s *clientSide) restart() {
	s.Helper()
	s.stop()
	s.node.restart()
	s.begin()
}

// open is the client contract with the proxy, once the proxy has been met.
func (s *clientSide) open() *address.Address {
	s.Helper()
	if err := s.Open(s.ctx, s.proxy.root, s.proxy.at, s.proxy.public()); err != nil {
		s.Fatal(err)
	}
	at, err := s.proxy.root.ClientAddress(s.node.driver.Address(), s.proxy.at, s.proxy.public())
	if err != nil {
		s.Fatal(err)
	}
	return at
}

// onChain is the client contract's state, nil if it is not deployed.
func (s *clientSide) onChain(at *address.Address) *contract.ClientState {
	s.Helper()
	a := s.account(at)
	if a.Data == nil {
		return nil
	}
	c, err := contract.ParseClientState(a.Data)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *clientSide) awaitState(at *address.Address, what string, so func(*contract.ClientState) bool) {
	s.Helper()
	s.await(what, func() bool { c := s.onChain(at); return c != nil && so(c) })
}

// rests waits until nothing is under way and what is known is what is.
func (s *clientSide) rests(at *address.Address) {
	s.Helper()
	s.await("rest", func() bool {
		a, c := s.Status().Accounts[0], s.onChain(at)
		return a.Busy == "" && a.Known && a.Balance == c.Balance && a.Charged == c.Tokens && a.State == c.State
	})
}

// uses counts tokens that requests used.
func (s *clientSide) uses(at *address.Address, tokens int64) {
	s.Helper()
	hold, err := s.Tally().Reserve(ledger.Spending{Account: at.StringRaw(), Price: price, Estimate: tokens, Most: tokens})
	if err != nil {
		s.Fatal(err)
	}
	hold.End(tokens)
	s.Tally().Said(at.StringRaw(), s.Tally().Count(at.StringRaw()).Used)
}

// charged hands over a signed charge as the client role does: verified, and
// refused if it is inflated.
func (s *clientSide) charged(at *address.Address, tokens int64) {
	s.Helper()
	data := s.proxy.forPeer(contract.Charge, at, tokens)
	e, err := contract.VerifyPayment(data, contract.Charge, at, s.proxy.public())
	if err != nil {
		s.Fatal(err)
	}
	if err := s.Tally().Accept(at.StringRaw(), e.Tokens); err != nil {
		s.Inflated(at, data, err)
		return
	}
	s.Charged(at, e.Tokens, data)
}

func (s *clientSide) entries() (list []Entry) {
	s.Helper()
	if err := ReadStatement(s.cfg.Dir, func(e Entry) error { list = append(list, e); return nil }); err != nil {
		s.Fatal(err)
	}
	return list
}

func sum(list []Entry, kind string) (total coin.Nano) {
	for _, e := range list {
		if e.Kind == kind {
			total = total.Add(e.Amount)
		}
	}
	return total
}

// found is a network with a proxy by hand and a client that has met it.
func found(t *testing.T, money coin.Nano) (*clientSide, *address.Address) {
	t.Helper()
	w := newWorld(t)
	p := newByHand(w, newRegistry(w))
	n := w.node("client", w.person("owner", 10*coin.TON).at, money)
	s := newClientSide(w, p, n)
	return s, s.open()
}

// Two processes that start together share the secret: the contract publishes one hash.
func TestSecretIsMadeOnce(t *testing.T) {
	for range 20 {
		file := filepath.Join(t.TempDir(), "secret")
		var made [8]string
		var wg sync.WaitGroup
		for i := range made {
			wg.Go(func() { made[i], _ = Secret(file) })
		}
		wg.Wait()
		for _, secret := range made {
			if secret == "" || secret != made[0] {
				t.Fatal("processes that start together have secrets that differ")
			}
		}
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	one, err := Secret(file)
	if err != nil || CheckSecret(one) != nil {
		t.Fatalf("a made secret of %d characters: %v, %v", len(one), err, CheckSecret(one))
	}
	two, err := Secret(file)
	if err != nil || two != one {
		t.Error("the secret of a file is another the second time")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want a file for its owner alone", info.Mode(), err)
	}
	for _, bad := range []string{"", "secret", "changeme", strings.Repeat("a", 64), "12345678901234567890", "abcabcabcabcabcabcabcabcabcabc",
		"EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ"} {
		err := CheckSecret(bad)
		if err == nil || len(bad) > 10 && strings.Contains(err.Error(), bad) {
			t.Errorf("CheckSecret(%q) = %v", bad, err)
		}
		if _, err := NewClient(ClientConfig{Secret: bad}); err == nil {
			t.Error("a client with it")
		}
	}
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret(file); err == nil {
		t.Error("a guessable secret in the file was taken")
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret(file); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a file for everybody: %v", err)
	}
}
