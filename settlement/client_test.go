package settlement

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

const stake = 2 * coin.TON // of the test network

// A client's life with one proxy: opened, registered, charged by itself and by
// the proxy, topped up, withdrawn and left, with the statement of it all.
func TestClientLife(t *testing.T) {
	s, at := found(t, 30*coin.TON)
	if err := s.Register(s.ctx, at, s.proxy.at, -77); err != nil {
		t.Fatal(err)
	}
	c := s.onChain(at)
	if c.SecretHash != sha256.Sum256([]byte(testSecret)) || c.Balance != stake {
		t.Fatalf("opened with %+v, want the secret's hash and one stake", c)
	}
	if nonce := s.proxy.nonces(at); len(nonce) != 1 || nonce[0] != 0xffff_ffff_ffff_ffb3 {
		t.Errorf("the proxy's contract was told nonces %x, want that of -77", nonce)
	}
	tokens := func(amount coin.Nano) int64 { return amount.PerFloor(price) }

	// Half a stake is not enough for a charge, more is.
	s.uses(at, tokens(stake/2))
	s.charged(at, tokens(stake/2))
	s.uses(at, tokens(stake/4))
	s.charged(at, tokens(stake/2)+1000)
	s.awaitState(at, "the charge that the client submits", func(c *contract.ClientState) bool { return c.Tokens == uint64(tokens(stake/2)+1000) })
	s.awaitState(at, "one more stake", func(c *contract.ClientState) bool {
		return c.Balance == 2*stake-coin.Nano(price).Times(tokens(stake/2)+1000)
	})
	s.rests(at)
	if err := s.Afford(at, tokens(stake)); err == nil || !strings.Contains(err.Error(), "max_tokens") {
		t.Errorf("a whole stake with a quarter used: %v", err)
	}
	if err := s.Afford(at, tokens(stake/2)); err != nil {
		t.Error(err)
	}
	if err := s.Afford(at, tokens(3*stake)); err == nil || !strings.Contains(err.Error(), "no more than the stake") {
		t.Errorf("three stakes: %v", err)
	}
	// The proxy charges the rest.
	s.proxy.owner.send(at, coin.TON, s.proxy.sign(contract.Charge, at, tokens(stake*3/4)), nil)
	s.await("the charge seen", func() bool { return s.Status().Accounts[0].Charged == uint64(tokens(stake*3/4)) })
	s.rests(at)
	if s.Status().Accounts[0].Disputed != "" {
		t.Errorf("an honest charge is disputed: %s", s.Status().Accounts[0].Disputed)
	}

	for _, bad := range []struct{ what, proxy, want string }{
		{"charge", s.proxy.at.String(), "nothing to charge"}, {"charge", at.String(), "proxy not found"}, {"charge", "x", "address"}, {"dance", s.proxy.at.String(), "unknown"},
	} {
		if _, err := s.Do(bad.what, bad.proxy); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s at %s: %v, want %q", bad.what, bad.proxy, err, bad.want)
		}
	}
	before := s.onChain(at).Balance
	s.do("topup")
	s.awaitState(at, "what was asked for", func(c *contract.ClientState) bool { return c.Balance == before+stake })
	s.rests(at)
	s.do("withdraw")
	s.awaitState(at, "what is above the stake taken out", func(c *contract.ClientState) bool { return c.Balance == stake })
	s.rests(at)
	if _, err := s.Do("withdraw", s.proxy.at.String()); err == nil || !strings.Contains(err.Error(), "nothing is above") {
		t.Errorf("once more: %v", err)
	}

	s.do("close")
	s.awaitState(at, "the first step", func(c *contract.ClientState) bool { return c.State == contract.Closing })
	if err := s.Open(s.ctx, s.proxy.root, s.proxy.at, s.proxy.public()); err == nil {
		t.Error("a closing account was opened")
	}
	if err := s.Afford(at, 1); err == nil {
		t.Error("a request at a closing account")
	}
	// The proxy grants the rest, the stake too.
	s.proxy.owner.send(at, coin.TON, s.proxy.sign(contract.GrantRefund, at, tokens(stake*3/4)), nil)
	s.await("the end seen", func() bool { return s.Status().Accounts[0].State == contract.Closed })
	s.await("the refund in the statement", func() bool { return sum(s.entries(), "refund") == before+stake })

	list := s.entries()
	if got := sum(list, "deposit"); got != 3*stake {
		t.Errorf("%s deposited, want three stakes", got.Text())
	}
	if got := sum(list, "charge"); got != coin.Nano(price).Times(tokens(stake*3/4)) {
		t.Errorf("%s charged, want three quarters of a stake", got.Text())
	}
	if got := sum(list, "funded"); got != 30*coin.TON {
		t.Errorf("%s funded, want 30 TON", got.Text())
	}
	if fees := sum(list, "fee"); fees <= 0 || fees > coin.TON/2 {
		t.Errorf("%s of fees", fees.Text())
	}
	// All that came is here, spent, or with validators and strangers' change.
	left, spent := s.account(s.node.driver.Address()).Balance, sum(list, "charge")+sum(list, "fee")
	if lost := 30*coin.TON - left - spent; lost < 0 || lost > coin.TON {
		t.Errorf("%s of 30 TON are left, %s are spent: %s are nowhere", left.Text(), spent.Text(), lost.Text())
	}
	raw, err := os.ReadFile(s.path(recordFile))
	if err != nil || strings.Contains(string(raw)+s.log.String(), testSecret) {
		t.Errorf("the record or the log holds the secret (%v)", err)
	}
}

func (s *clientSide) do(what string) {
	s.Helper()
	if _, err := s.Do(what, s.proxy.at.String()); err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// nonces are what the proxy's contract was told by the client's.
func (p *byHand) nonces(client *address.Address) (list []uint64) {
	p.Helper()
	account := p.account(p.at)
	txs, err := p.client.Transactions(p.ctx, p.at, account.Last, ton.TxID{}, 100)
	if err != nil {
		p.Fatal(err)
	}
	for _, tx := range txs {
		body, err := contract.ParseBody(tx.In.Body)
		if r, ok := body.(*contract.ClientRequest); err == nil && ok && tx.In.From.StringRaw() == client.StringRaw() && r.Part != nil && r.Part.Kind == contract.PartRegister {
			list = append(list, r.Part.Nonce)
		}
	}
	return list
}

// An inflated charge is kept as evidence and never submitted; the proxy gets no
// more money and no more requests, today and after a restart.
func TestClientRefusesInflatedCharges(t *testing.T) {
	for _, how := range []string{"signed", "charged on the chain"} {
		t.Run(how, func(t *testing.T) {
			s, at := found(t, 30*coin.TON)
			s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
			const used = 20_000_000 // 0.4 TON
			s.uses(at, used)
			if how == "signed" {
				s.charged(at, used+1)
			} else {
				s.proxy.owner.send(at, coin.TON, s.proxy.sign(contract.Charge, at, used+1), nil)
			}
			s.await("the dispute", func() bool { return s.Status().Accounts[0].Disputed != "" })
			if err := s.Open(s.ctx, s.proxy.root, s.proxy.at, s.proxy.public()); err == nil || !strings.Contains(err.Error(), "/request/close") {
				t.Errorf("the proxy is used again: %v", err)
			}
			s.restart()
			if err := s.Open(s.ctx, s.proxy.root, s.proxy.at, s.proxy.public()); err == nil {
				t.Error("the proxy is used again after a restart")
			}
			s.await("the chain", func() bool { return s.Status().Accounts[0].Known })
			want := uint64(0)
			if how != "signed" {
				want = used + 1
			}
			if c := s.onChain(at); c.Tokens != want {
				t.Errorf("the chain has %d tokens charged, want %d", c.Tokens, want)
			}
			if got := sum(s.entries(), "deposit"); got != stake {
				t.Errorf("%s paid in, want one stake and no more", got.Text())
			}
			var lines []evidence
			if err := readLines(s.cfg.Dir, evidenceFile, func(e evidence) error { lines = append(lines, e); return nil }); err != nil || len(lines) != 1 {
				t.Fatalf("evidence %+v, %v, want one line", lines, err)
			}
			if how == "signed" {
				e, err := contract.VerifyPayment(lines[0].Payment, contract.Charge, at, s.proxy.public())
				if err != nil || e.Tokens != used+1 {
					t.Errorf("the evidence proves %+v, %v", e, err)
				}
			}
			s.do("close")
			s.awaitState(at, "leaving", func(c *contract.ClientState) bool { return c.State == contract.Closing })
		})
	}
}

// Wherever the program ends, the account is opened once, with one deposit.
func TestClientRestarts(t *testing.T) {
	for point := range 6 {
		s, at := found(t, 30*coin.TON)
		points := []func() bool{
			func() bool { return true },
			func() bool { return s.Status().Accounts[0].Busy != "" },
			func() bool { return s.onChain(at) != nil },
			func() bool { return s.Status().Accounts[0].Busy == string(doSecretTopUp) },
			func() bool { c := s.onChain(at); return c != nil && c.Balance > 0 },
			func() bool { c := s.onChain(at); return c != nil && c.Balance > 0 && s.Status().Accounts[0].Busy == "" },
		}
		s.await("the point", func() bool { return points[point]() || point != 2 && s.Status().Accounts[0].Balance > 0 })
		s.restart()
		s.open()
		s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance >= stake })
		s.await("rest", func() bool { a := s.Status().Accounts[0]; return a.Busy == "" && a.Balance >= stake })
		s.await("the statement", func() bool { return sum(s.entries(), "deposit") >= stake })
		if got := sum(s.entries(), "deposit"); got != stake || s.onChain(at).Balance != stake {
			t.Errorf("ended at point %d: %s paid in, want one stake", point, got.Text())
		}
		s.stop()
	}
}

// The same record after a crash: requests that ran may be claimed, and no more.
func TestClientCrash(t *testing.T) {
	s, at := found(t, 30*coin.TON)
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	if _, err := s.Tally().Reserve(ledger.Spending{Account: at.StringRaw(), Price: price, Most: 1000}); err != nil {
		t.Fatal(err)
	}
	crashed, err := os.ReadFile(s.path(recordFile)) // what is on disk while the request runs
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	if err := os.WriteFile(s.path(recordFile), crashed, 0o600); err != nil {
		t.Fatal(err)
	}
	s.begin()
	s.charged(at, 1000)
	if a := s.Status().Accounts[0]; a.Disputed != "" || a.Signed != 1000 {
		t.Errorf("a charge of what ran is %+v", a)
	}
	s.stop()
	torn := append(crashed[:len(crashed)-9:len(crashed)-9], crashed[len(crashed)-5:]...)
	if err := os.WriteFile(s.path(recordFile), torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(s.cfg); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged record: %v", err)
	}
}

// A record that is lost begins where the chain is, with a stake in doubt.
func TestClientLosesItsRecord(t *testing.T) {
	s, at := found(t, 30*coin.TON)
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	s.stop()
	s.cfg.Dir = t.TempDir()
	s.begin()
	s.open()
	s.charged(at, stake.PerFloor(price))
	s.charged(at, stake.PerFloor(price)+1)
	if a := s.Status().Accounts[0]; a.Signed != stake.PerFloor(price) || a.Disputed == "" {
		t.Errorf("%+v, want a charge of one stake believed and more disputed", a)
	}
}

// An account that could not be read is not opened on the chain: it would seem to
// be one whose record was lost, and a stake of its use in doubt.
func TestClientOpensWhatItCounts(t *testing.T) {
	s, _ := found(t, 30*coin.TON)
	s.stop()
	s.cfg.Dir = t.TempDir()
	s.begin()
	away, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := s.Open(away, s.proxy.root, stranger(9), s.proxy.public()); err == nil {
		t.Fatal("opened without a chain")
	}
	d, err := s.proxy.root.DeployClient(s.node.driver.Address(), stranger(9), s.proxy.public())
	if err != nil {
		t.Fatal(err)
	}
	wanted := func() bool {
		s.Client.mu.Lock()
		defer s.Client.mu.Unlock()
		return s.Client.accounts[d.Address.StringRaw()].opened
	}
	if wanted() {
		t.Error("wanted, and not counted")
	}
	if err := s.Open(s.ctx, s.proxy.root, stranger(9), s.proxy.public()); err != nil || !wanted() {
		t.Errorf("once it can be read: %v, wanted %v", err, wanted())
	}
}

// What is paid in by itself has an end, and the operator may go beyond it.
func TestClientBudget(t *testing.T) {
	w := newWorld(t)
	p := newByHand(w, newRegistry(w))
	s := newClientSide(w, p, w.node("client", w.person("owner", 10*coin.TON).at, 40*coin.TON))
	s.stop()
	s.cfg.MaxTopUpHour = stake
	s.begin()
	at := s.open()
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	s.uses(at, (stake * 3 / 4).PerFloor(price))
	s.await("the end of the budget", func() bool { return strings.Contains(s.Status().Accounts[0].Trouble, "budget") })
	s.restart()
	s.open()
	s.await("the end of the budget after a restart", func() bool { return strings.Contains(s.Status().Accounts[0].Trouble, "budget") })
	if got := s.onChain(at).Balance; got != stake {
		t.Errorf("%s paid in beyond the budget", got.Text())
	}
	s.do("topup")
	s.awaitState(at, "what was asked for", func(c *contract.ClientState) bool { return c.Balance == 2*stake })
}

// An empty wallet is told about with the address and the amount, and what
// waited goes on when money arrives.
func TestClientFunding(t *testing.T) {
	w := newWorld(t)
	p := newByHand(w, newRegistry(w))
	n := w.node("client", w.person("owner", 10*coin.TON).at, 0)
	s := newClientSide(w, p, n)
	at := s.open()
	f := s.Funding()
	if f.Want != stake+5*coin.TON || f.Missing() != f.Want {
		t.Errorf("a new client wants %s, %s missing", f.Want.Text(), f.Missing().Text())
	}
	for _, want := range []string{f.Address.String(), "ton://transfer/", "7 TON", "█"} {
		if !strings.Contains(f.Text(), want) {
			t.Errorf("the text lacks %q:\n%s", want, f.Text())
		}
	}
	s.await("the trouble", func() bool { return strings.Contains(s.Status().Accounts[0].Trouble, f.Address.String()) })
	if err := s.Register(s.ctx, at, s.proxy.at, 1); err == nil || !strings.Contains(err.Error(), f.Address.String()) {
		t.Errorf("registered without money: %v", err)
	}
	for _, x := range []struct{ balance, missing coin.Nano }{{f.Want - 1, 0}, {f.Want - coin.TON/50, coin.TON / 50}, {f.Want + 1, 0}} {
		if got := (&Funding{Want: f.Want, Balance: x.balance}).Missing(); got != x.missing {
			t.Errorf("%s of %s are there: %s missing, want %s", x.balance.Text(), f.Want.Text(), got.Text(), x.missing.Text())
		}
	}
	s.stop() // a person is asked before anything runs
	seen := make(chan coin.Nano, 10)
	arrived := make(chan error, 1)
	go func() { arrived <- f.Await(s.ctx, s.client, func(f *Funding) { seen <- f.Missing() }) }()
	if missing := receive(w, seen); missing != f.Want {
		t.Errorf("%s missing at first", missing.Text())
	}
	s.fund(f.Address, 3*coin.TON)
	if missing := receive(w, seen); missing-(f.Want-3*coin.TON) > 10 { // rent
		t.Errorf("%s missing after 3 TON", missing.Text())
	}
	if _, err := s.chain.Advance(time.Hour); err != nil { // which costs rent
		t.Fatal(err)
	}
	s.fund(f.Address, 4*coin.TON)
	if err := receive(w, arrived); err != nil {
		t.Fatal(err)
	}
	s.begin()
	s.open()
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	if err := s.Register(ctx, at, s.proxy.at, 1); err != nil {
		t.Error(err)
	}
	if f := s.Funding(); f.Want != 3*coin.TON {
		t.Errorf("a client with an account wants %s", f.Want.Text())
	}
}

// New parameters: the old account is left after its grace, whatever the proxy
// does, even if the client was away for days; the new one opens beside it.
func TestClientChangesGeneration(t *testing.T) {
	for _, away := range []bool{false, true} {
		s, at := found(t, 40*coin.TON)
		s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
		s.uses(at, 1000)
		if away {
			s.stop()
		}
		s.proxy.registry.owner.send(s.proxy.registry.at, coin.TON, &contract.ChangePrice{QueryID: 1, Price: price + 1, Fee: fee}, nil)
		s.await("new parameters", func() bool { return s.proxy.registry.Root().ParamsVersion == 2 })
		oldProxy := s.proxy.at
		s.proxy.owner.send(oldProxy, coin.TON, &contract.OwnerClose{Excess: s.proxy.owner.at}, nil)
		s.proxy.deploy()
		if away {
			if _, err := s.chain.Advance(72 * time.Hour); err != nil {
				t.Fatal(err)
			}
			s.node.restart()
			s.begin()
		}
		next := s.open()
		s.awaitState(next, "the new account", func(c *contract.ClientState) bool { return c.Balance == stake-stake%(price+1) })
		if !away {
			if c := s.onChain(at); c.State != contract.Normal {
				t.Errorf("the old account is %s before its grace is over", c.State)
			}
			if _, err := s.chain.Advance(1501 * time.Second); err != nil { // half of 3600 − 600
				t.Fatal(err)
			}
		}
		s.awaitState(at, "leaving", func(c *contract.ClientState) bool { return c.State == contract.Closing })
		if _, err := s.chain.Advance(601 * time.Second); err != nil {
			t.Fatal(err)
		}
		s.awaitState(at, "the forced refund", func(c *contract.ClientState) bool { return c.State == contract.Closed })
		if got := sum(s.entries(), "deposit"); got != 2*stake-stake%(price+1) {
			t.Errorf("%s paid in, want one stake for each generation", got.Text())
		}
		s.stop()
	}
}

// A proxy that stays away for long is left, and the money comes home.
func TestClientLeavesTheAbsent(t *testing.T) {
	s, at := found(t, 30*coin.TON)
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	if _, err := s.chain.Advance(6 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	s.open()
	if _, err := s.chain.Advance(6 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.await("the chain", func() bool { return s.Status().Accounts[0].Known })
	if c := s.onChain(at); c.State != contract.Normal {
		t.Errorf("left after six days: %s", c.State)
	}
	if _, err := s.chain.Advance(25 * time.Hour); err != nil {
		t.Fatal(err)
	}
	s.awaitState(at, "leaving", func(c *contract.ClientState) bool { return c.State == contract.Closing })
}

// A pool that is short pays a part, the rest when there is more, and at last the
// client contract's own coins come home: nothing is asked for in vain.
func TestClientTakesItsPart(t *testing.T) {
	s, at := found(t, 30*coin.TON)
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	worker := s.person("worker", 5*coin.TON)
	d, err := s.proxy.root.DeployWorker(worker.at, s.proxy.at, s.proxy.public())
	if err != nil {
		t.Fatal(err)
	}
	worker.send(d.Address, coin.TON, s.proxy.sign(contract.Payout, d.Address, (stake*3/4).PerFloor(price)), d.Init)
	s.rests(at)
	if _, err := s.Do("close", s.proxy.at.String()); err != nil {
		t.Fatal(err)
	}
	s.awaitState(at, "leaving", func(c *contract.ClientState) bool { return c.State == contract.Closing })
	if _, err := s.chain.Advance(11 * time.Minute); err != nil {
		t.Fatal(err)
	}
	s.awaitState(at, "a part", func(c *contract.ClientState) bool { return c.State == contract.Closed && c.Balance == stake*3/4 })
	s.await("the trouble", func() bool {
		return strings.Contains(s.Status().Accounts[0].Trouble, "1.5 TON are due, and the proxy's contract has 0 TON")
	})
	lt := s.account(at).Last.LT
	looked := func() time.Time {
		s.Client.mu.Lock()
		defer s.Client.mu.Unlock()
		return s.Client.accounts[at.StringRaw()].pool.at
	}
	first := looked()
	s.await("another look", func() bool { return looked().After(first) })
	if again := s.account(at).Last.LT; again != lt {
		t.Error("it asks in vain")
	}
	s.restart()
	other := s.person("other", 20*coin.TON)
	c, err := s.proxy.root.DeployClient(other.at, s.proxy.at, s.proxy.public())
	if err != nil {
		t.Fatal(err)
	}
	other.send(c.Address, coin.TON, nil, c.Init)
	other.send(c.Address, 6*coin.TON, &contract.TopUp{Amount: 5 * coin.TON, Excess: other.at}, nil)
	s.awaitState(at, "the rest", func(c *contract.ClientState) bool { return c.Balance == 0 })
	s.await("its own coins", func() bool { return s.account(at).Balance <= coin.TON/50 })
	s.await("the end", func() bool { return s.Client.accountOf(at).finished() })
	if got := sum(s.entries(), "refund"); got != stake {
		t.Errorf("the statement has refunds of %s, want %s", got.Text(), stake.Text())
	}
}

// unable is a wallet that takes no message.
type unable struct{ Wallet }

func (unable) Enqueue(context.Context, wallet.Message) (*wallet.Handle, error) {
	return nil, wallet.ErrFull
}

// A proxy that demands registration after registration, each of which costs a
// fee, gets a few in a day.
func TestClientRegistersAFewTimes(t *testing.T) {
	s, at := found(t, 30*coin.TON)
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	said := func() (n int) {
		t.Helper()
		a := s.account(s.proxy.at)
		list, err := s.client.Transactions(s.ctx, s.proxy.at, a.Last, ton.TxID{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, tx := range list {
			if body, err := contract.ParseBody(tx.In.Body); err == nil {
				if m, ok := body.(*contract.ClientRequest); ok && m.Part != nil && m.Part.Kind == contract.PartRegister {
					n++
				}
			}
		}
		return n
	}
	s.stop()
	poor := s.cfg
	poor.Wallet = unable{s.node.driver}
	c, err := NewClient(poor)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.accountOf(at).look(s.ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 * maxRegistrations { // which cost nothing
		if err := c.Register(s.ctx, at, s.proxy.at, 7); !errors.Is(err, wallet.ErrFull) {
			t.Errorf("a wallet that takes nothing: %v", err)
		}
	}
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	leave, err := c.poster.enter(s.ctx, c.accountOf(at).address) // another message is under way, for hours perhaps
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(2 * maxRegistrations) { // connections come and go meanwhile
		if err := c.Register(ended, at, s.proxy.at, 10+i); !errors.Is(err, context.Canceled) {
			t.Errorf("while another message is under way: %v", err)
		}
	}
	leave()
	if err := c.Run(ended); err != nil {
		t.Fatal(err)
	}
	s.begin()
	s.open()
	for i := range int64(maxRegistrations) {
		if err := s.Register(s.ctx, at, s.proxy.at, 100+i); err != nil {
			t.Fatalf("registration %d: %v", i+1, err)
		}
	}
	if err := s.Register(s.ctx, at, s.proxy.at, 100); err != nil {
		t.Errorf("the same again: %v", err)
	}
	s.restart()
	s.open()
	if err := s.Register(s.ctx, at, s.proxy.at, 99); err == nil || !strings.Contains(err.Error(), "5 registrations") {
		t.Errorf("one too many: %v", err)
	}
	s.await("all arrive", func() bool { return said() == maxRegistrations })
	if _, err := s.chain.Advance(25 * time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Register(s.ctx, at, s.proxy.at, 98); err != nil {
		t.Errorf("a day later: %v", err)
	}
	s.await("it arrives", func() bool { return said() == maxRegistrations+1 })
}

// A status is for programs too: amounts are decimal strings.
func TestClientStatusJSON(t *testing.T) {
	s, at := found(t, 30*coin.TON)
	s.awaitState(at, "the deposit", func(c *contract.ClientState) bool { return c.Balance == stake })
	s.await("it seen", func() bool { return s.Status().Accounts[0].Balance == stake })
	b, err := json.Marshal(s.Status())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"balance":"2000000000"`, `"tokens_payed":100000000`, `"state":0`, `"proxy_sc_address":"` + s.proxy.at.String() + `"`, `"topup_budget":"8000000000"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("status lacks %s: %s", want, b)
		}
	}
}
