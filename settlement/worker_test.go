package settlement

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"

	"github.com/opencocoon/cocoon/atomicfile"
)

// workerSide is a worker's settlement with a proxy by hand.
type workerSide struct {
	*world
	*Worker
	proxy *byHand
	node  *node
	owner *person
	cfg   WorkerConfig
	at    *address.Address
	stop  func()
}

func newWorkerSide(t *testing.T, bend func(*WorkerConfig)) *workerSide {
	t.Helper()
	w := newWorld(t)
	p := newByHand(w, newRegistry(w))
	owner := w.person("worker-owner", coin.TON)
	s := &workerSide{world: w, proxy: p, node: w.node("worker", owner.at, 20*coin.TON), owner: owner}
	s.cfg = WorkerConfig{Chain: w.client, Registry: p.registry, Owner: owner.at, Dir: w.TempDir(), Every: 20 * time.Millisecond, Now: w.chain.Now}
	if bend != nil {
		bend(&s.cfg)
	}
	s.begin()
	w.Cleanup(func() { s.stop() })
	return s
}

func (s *workerSide) begin() {
	s.Helper()
	s.cfg.Wallet = s.node.driver
	var err error
	if s.Worker, err = NewWorker(s.cfg); err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Worker.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.Errorf("Run: %v", err)
		}
		s.stop = func() {}
	}
	s.open()
}

func (s *workerSide) open() {
	s.Helper()
	root := s.proxy.root
	if err := s.Open(root, s.proxy.at, s.proxy.public()); err != nil {
		s.Fatal(err)
	}
	var err error
	if s.at, err = root.WorkerAddress(s.owner.at, s.proxy.at, s.proxy.public()); err != nil {
		s.Fatal(err)
	}
}

func (s *workerSide) restart() {
	s.Helper()
	s.stop()
	s.node.restart()
	s.begin()
}

// clientPays puts money into the pool: a client's deposit.
func (s *workerSide) clientPays(amount coin.Nano) { s.Helper(); s.pays("client", amount) }

// clientPays2 is another's.
func (s *workerSide) clientPays2(amount coin.Nano) { s.Helper(); s.pays("client 2", amount) }

func (s *workerSide) pays(who string, amount coin.Nano) {
	s.Helper()
	client := s.person(who, amount+20*coin.TON)
	d, err := s.proxy.root.DeployClient(client.at, s.proxy.at, s.proxy.public())
	if err != nil {
		s.Fatal(err)
	}
	client.send(d.Address, coin.TON, nil, d.Init)
	client.send(d.Address, amount+coin.TON, &contract.TopUp{Amount: amount, Excess: client.at}, nil)
}

// deployed makes the worker's contract by hand.
func (s *workerSide) deployed() {
	s.Helper()
	d, err := s.proxy.root.DeployWorker(s.owner.at, s.proxy.at, s.proxy.public())
	if err != nil {
		s.Fatal(err)
	}
	s.owner.send(d.Address, workerDeploy, nil, d.Init)
}

// signs hands over a promise for so many tokens.
func (s *workerSide) signs(tokens int64) {
	s.Helper()
	s.Promised(s.at, tokens, tokens, tokens, s.proxy.forPeer(contract.Payout, s.at, tokens))
}

func (s *workerSide) onChain() *contract.WorkerState {
	s.Helper()
	a := s.account(s.at)
	if a.Data == nil {
		return nil
	}
	state, err := contract.ParseWorkerState(a.Data)
	if err != nil {
		s.Fatal(err)
	}
	return state
}

// What is earned is cashed from the threshold on, in TON and not in tokens, by
// hand at once, once, and also what a process before had been promised.
func TestWorkerIsPaid(t *testing.T) {
	s := newWorkerSide(t, func(c *WorkerConfig) { c.PayoutFrom, c.PayoutIdle, c.IdleAfter = coin.TON/2, coin.TON/5, time.Hour })
	s.deployed()
	s.clientPays(20 * coin.TON)
	before := s.account(s.owner.at).Balance
	s.signs(0)
	tokens := func(amount coin.Nano) int64 { return amount.PerFloor(fee) }
	s.Worked(s.at, "m", tokens(coin.TON*2))
	if s.signs(tokens(coin.TON * 4 / 10)); s.Status().Accounts[0].Paid != 0 {
		t.Error("paid below the threshold while there is work")
	}
	s.await("rest", func() bool { a := s.Status().Accounts[0]; return a.Deployed && a.Busy == "" })
	if _, err := s.Payout(s.proxy.at.String()); err != nil {
		t.Fatal(err)
	}
	paid := func(n int64) func() bool { return func() bool { return s.Status().Accounts[0].Paid == n } }
	s.await("what was asked for", paid(tokens(coin.TON*4/10)))
	if _, err := s.Payout(s.proxy.at.String()); err == nil || !strings.Contains(err.Error(), "nothing to pay out") {
		t.Errorf("once more: %v", err)
	}
	if _, err := s.Payout(s.at.String()); err == nil {
		t.Error("a payout at no proxy")
	}
	s.signs(tokens(coin.TON))
	s.await("the threshold", paid(tokens(coin.TON)))
	s.signs(tokens(coin.TON) + tokens(coin.TON*3/10))
	s.restart()
	if signed, _, _, payment := s.Known(s.at); signed != tokens(coin.TON)+tokens(coin.TON*3/10) || payment == nil {
		t.Errorf("after a restart %d are known, want the newest promise", signed)
	}
	if _, err := s.chain.Advance(2 * time.Hour); err != nil {
		t.Fatal(err)
	}
	s.await("the threshold of the idle", paid(tokens(coin.TON)+tokens(coin.TON*3/10)))
	if got, want := s.account(s.owner.at).Balance-before, coin.Nano(fee).Times(tokens(coin.TON)+tokens(coin.TON*3/10)); got < want-coin.TON/100 || got > want {
		t.Errorf("the owner got %s, want %s", got.Text(), want.Text())
	}
	r := s.Status().Earnings
	if want := coin.Nano(fee).Times(tokens(2 * coin.TON)); r.Earned != want || r.Paid != r.Signed || r.Pending != want-r.Paid || len(r.Days) != 1 || r.Days[0].Model != "m" || r.Days[0].Earned != want {
		t.Errorf("earnings %+v, want %s earned", r, want.Text())
	}
	s.stop()
	if read, err := ReadEarnings(s.cfg.Dir); err != nil || read.Earned != r.Earned || read.Paid != r.Paid || len(read.Days) != 1 {
		t.Errorf("the directory says %+v, %v, want %+v", read, err, r)
	}
}

// A worker's contract is made when there is something to cash.
func TestWorkerContractIsMadeLate(t *testing.T) {
	s := newWorkerSide(t, nil)
	s.clientPays(20 * coin.TON)
	s.signs((10 * coin.TON).PerFloor(fee))
	s.Worked(s.at, "m", 1)
	s.await("a look", func() bool {
		s.Worker.mu.Lock()
		defer s.Worker.mu.Unlock()
		return s.Worker.accounts[s.at.StringRaw()].known
	})
	if s.onChain() != nil {
		t.Error("a contract for less than the threshold")
	}
	tokens := (10 * coin.TON).PerFloor(fee) + 1
	s.signs(tokens)
	s.await("the payout", func() bool { return s.Status().Accounts[0].Paid == tokens })
}

// From a pool that stays short the owner takes a part: the node by itself where
// it is the owner's wallet, else by a link that says all.
func TestWorkerTakesItsPart(t *testing.T) {
	for _, own := range []bool{true, false} {
		s := newWorkerSide(t, nil)
		s.stop()
		if own {
			s.cfg.Owner = s.node.driver.Address()
			s.cfg.Dir = t.TempDir()
		}
		s.begin()
		if own {
			var err error
			if s.at, err = s.proxy.root.WorkerAddress(s.cfg.Owner, s.proxy.at, s.proxy.public()); err != nil {
				t.Fatal(err)
			}
		}
		s.clientPays(3 * coin.TON)
		tokens := (4 * coin.TON).PerFloor(fee)
		s.signs(tokens)
		s.proxy.owner.send(s.proxy.at, coin.TON, &contract.OwnerClose{Excess: s.proxy.owner.at}, nil)
		trouble := func(text string) func() bool {
			return func() bool { return strings.Contains(s.Status().Accounts[0].Trouble, text) }
		}
		s.await("the proxy has its time", func() bool { return s.Status().Accounts[0].Trouble == "" && s.onChain() == nil })
		if _, err := s.chain.Advance(301 * time.Second); err != nil { // half of the clients' delay
			t.Fatal(err)
		}
		if !own {
			s.await("the link", trouble("collect 2.999999988 TON of it"))
			_, link, _ := strings.Cut(s.Status().Accounts[0].Trouble, "open ")
			ask, err := wallet.ParseLink(link)
			if err != nil || !ask.To.Equals(s.at) {
				t.Fatalf("%+v, %v", ask, err)
			}
			m, err := contract.ParseBody(ask.Body)
			if err != nil {
				t.Fatal(err)
			}
			s.owner.send(s.at, coin.TON*4/10, m, nil)
		}
		s.await("a part is paid", func() bool { return s.Status().Accounts[0].Paid == (3 * coin.TON).PerFloor(fee) })
		s.clientPays2(2 * coin.TON)
		s.await("the rest is paid", func() bool { return s.Status().Accounts[0].Paid == tokens && s.onChain().Owed == 0 })
		s.stop()
	}
}

// A proxy whose contract cannot pay is not asked: what is signed stays good.
func TestWorkerWaitsForThePool(t *testing.T) {
	s := newWorkerSide(t, nil)
	s.deployed()
	s.signs(coin.Nano(30 * coin.TON).PerFloor(fee))
	s.await("the trouble", func() bool { return strings.Contains(s.Status().Accounts[0].Trouble, "holds too little") })
	if got := s.onChain().Tokens; got != 0 {
		t.Errorf("counter %d: the claim was spent", got)
	}
	s.clientPays(40 * coin.TON)
	s.await("the payout", func() bool { return s.Status().Accounts[0].Paid > 0 })
}

// What is signed falls behind what was worked: the limit is in TON, and a
// twentieth may stay unpaid for good. Nothing of it is forgotten in a restart.
func TestWorkerKeepsCount(t *testing.T) {
	s := newWorkerSide(t, func(c *WorkerConfig) { c.MaxUnpaid = coin.TON })
	limit := coin.TON.PerFloor(fee)
	s.signs(0)
	s.Worked(s.at, "m", limit)
	if err := s.Behind(s.at); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	s.Worked(s.at, "m", limit/10)
	if err := s.Behind(s.at); err == nil || !strings.Contains(err.Error(), "1 TON is the limit") {
		t.Errorf("beyond the limit: %v", err)
	}
	s.restart()
	if err := s.Behind(s.at); err == nil {
		t.Error("a restart has forgotten it")
	}
	s.signs(limit)
	if err := s.Behind(s.at); err != nil {
		t.Errorf("it has caught up: %v", err)
	}
	// A worker that lost its record believes the proxy's count to begin with.
	s.stop()
	s.cfg.Dir = t.TempDir()
	s.begin()
	s.Promised(s.at, 0, 0, 2*limit, nil)
	if err := s.Behind(s.at); err == nil {
		t.Error("two limits counted, none signed")
	}
}

// An old generation's promise is cashed late, and a closed contract is done with.
func TestWorkerChangesGeneration(t *testing.T) {
	s := newWorkerSide(t, nil)
	s.deployed()
	s.clientPays(10 * coin.TON)
	old, tokens := s.at, (coin.TON / 20).PerFloor(fee)
	s.signs(tokens)
	s.proxy.registry.owner.send(s.proxy.registry.at, coin.TON, &contract.ChangePrice{QueryID: 1, Price: price + 1, Fee: fee}, nil)
	s.await("new parameters", func() bool { return s.proxy.registry.Root().ParamsVersion == 2 })
	oldProxy := s.proxy.at
	s.proxy.deploy()
	s.open()
	s.await("the worker to know", func() bool {
		s.Worker.mu.Lock()
		defer s.Worker.mu.Unlock()
		return s.Worker.accounts[old.StringRaw()].r.Outdated != 0
	})
	state := func() *contract.WorkerState {
		w, err := contract.ParseWorkerState(s.account(old).Data)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	s.await("the worker to see the change", func() bool {
		return slices.ContainsFunc(s.Status().Accounts, func(a WorkerAccountStatus) bool { return a.Contract == old.String() && a.Outdated != 0 })
	})
	if state().Tokens != 0 {
		t.Error("cashed before the proxy had its turn")
	}
	if _, err := s.chain.Advance(301 * time.Second); err != nil { // half of 600
		t.Fatal(err)
	}
	s.await("the old promise", func() bool { return state().Tokens == uint64(tokens) })
	last := s.proxy.sign(contract.LastPayout, old, tokens+5)
	s.proxy.owner.send(old, coin.TON, last, nil)
	s.await("the end", func() bool {
		for _, a := range s.Status().Accounts {
			if a.Proxy == oldProxy.String() {
				return a.State == contract.Closed && a.Paid == tokens+5
			}
		}
		return false
	})
}

// Days offline change nothing: a proxy that closes meanwhile leaves little time,
// which counts from its contract's word and not from when the worker is back.
func TestWorkerWasAway(t *testing.T) {
	for _, passed := range []bool{false, true} { // the registry's parameters too
		s := newWorkerSide(t, nil)
		s.deployed()
		s.clientPays(10 * coin.TON)
		tokens := (coin.TON / 20).PerFloor(fee)
		s.signs(tokens)
		s.stop()
		if passed {
			s.proxy.registry.owner.send(s.proxy.registry.at, coin.TON, &contract.ChangePrice{QueryID: 1, Price: price + 1, Fee: fee}, nil)
			s.await("new parameters", func() bool { return s.proxy.registry.Root().ParamsVersion == 2 })
		}
		s.proxy.owner.send(s.proxy.at, coin.TON, &contract.OwnerClose{Excess: s.proxy.owner.at}, nil)
		if _, err := s.chain.Advance(3500 * time.Second); err != nil { // of 3600
			t.Fatal(err)
		}
		s.node.restart()
		s.begin()
		s.await("the payout", func() bool { return s.onChain().Tokens == uint64(tokens) && s.Status().Accounts[0].Paid == tokens })
		s.stop()
	}
}

// What the pool could not pay when its proxy asked for it is collected with the
// same counter, even by a contract that was closed.
func TestWorkerIsOwed(t *testing.T) {
	for _, kind := range []contract.PaymentKind{contract.Payout, contract.LastPayout} {
		s := newWorkerSide(t, nil)
		s.deployed()
		before := s.account(s.owner.at).Balance
		tokens := (15 * coin.TON).PerFloor(fee)
		s.proxy.owner.send(s.at, coin.TON, s.proxy.sign(kind, s.at, tokens), nil)
		if state := s.onChain(); state.Owed != uint64(tokens) || state.Tokens != uint64(tokens) {
			t.Fatalf("%+v, want all of it owed", state)
		}
		s.signs(tokens)
		s.clientPays(40 * coin.TON)
		s.await("what is owed", func() bool { return s.Status().Accounts[0].Paid == tokens && s.onChain().Owed == 0 })
		if got, want := s.account(s.owner.at).Balance-before, coin.Nano(fee).Times(tokens); got < want-coin.TON/100 {
			t.Errorf("the owner got %s, want %s", got.Text(), want.Text())
		}
		s.stop()
	}
}

// A damaged record is put aside once, and the chain and the proxies tell again.
// Without a chain nobody would.
func TestWorkerRecordIsDamaged(t *testing.T) {
	s := newWorkerSide(t, func(c *WorkerConfig) { c.PayoutFrom = coin.TON })
	s.clientPays(40 * coin.TON)
	tokens := coin.TON.PerFloor(fee) + 1
	s.signs(tokens)
	s.await("the payout", func() bool { return s.Status().Accounts[0].Paid == tokens })
	damage := func() {
		s.Helper()
		s.stop()
		info, err := os.Stat(s.path())
		if err == nil {
			err = os.Truncate(s.path(), info.Size()-3)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	damage()
	alone := s.cfg
	alone.Chain = nil
	if _, err := NewWorker(alone); !errors.Is(err, errDamaged) {
		t.Errorf("without a chain: %v, want it refused", err)
	}
	var log strings.Builder
	s.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.begin()
	s.await("the chain's word", func() bool { return s.Status().Accounts[0].Paid == tokens })
	s.signs(2 * tokens)
	s.await("the next payout", func() bool { return s.Status().Accounts[0].Paid == 2*tokens })
	damage()
	if _, err := os.Stat(s.path() + ".damaged"); err != nil || strings.Count(log.String(), "put aside") != 1 {
		t.Errorf("put aside: %v, log %q", err, log.String())
	}
	if _, err := NewWorker(s.cfg); !errors.Is(err, errDamaged) {
		t.Errorf("a second time: %v, want it refused", err)
	}
}

// Requests do not wait for the disk.
func TestWorkerSavesBesideRequests(t *testing.T) {
	w, err := NewWorker(WorkerConfig{Owner: address.NewAddress(0, 0, make([]byte, 32)), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	writing, disk, saved := make(chan bool), make(chan bool), make(chan error)
	w.write = func(path string, content []byte, mode fs.FileMode) error {
		writing <- true
		<-disk
		return atomicfile.Replace(path, content, mode)
	}
	go func() { saved <- w.Remember(1000, 900, true) }()
	<-writing
	asked := make(chan bool)
	go func() {
		defer close(asked)
		at := address.NewAddress(0, 0, make([]byte, 32))
		w.Worked(at, "m", 1)
		if err := w.Behind(at); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("requests wait for the disk")
	}
	close(disk)
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	if w, err = NewWorker(w.cfg); err != nil {
		t.Fatal(err)
	}
	if c, paused := w.Remembered(1000); c != 900 || !paused {
		t.Errorf("written %d, %v, want 900 and a pause", c, paused)
	}
}

// Price and pause that were set by hand outlive a restart, but not another configuration.
func TestWorkerRemembers(t *testing.T) {
	cfg := WorkerConfig{Owner: address.NewAddress(0, 0, make([]byte, 32)), Dir: t.TempDir()}
	open := func() *Worker {
		w, err := NewWorker(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	if c, paused := open().Remembered(1000); c != 1000 || paused {
		t.Errorf("at first %d, %v", c, paused)
	}
	if err := open().Remember(1000, 900, true); err != nil {
		t.Fatal(err)
	}
	if c, paused := open().Remembered(1000); c != 900 || !paused {
		t.Errorf("after a restart %d, %v, want 900 and a pause", c, paused)
	}
	if c, paused := open().Remembered(1200); c != 1200 || !paused {
		t.Errorf("under another price %d, %v, want that and the pause", c, paused)
	}
}

// The choice, in nanoTON.
func TestWorkerRules(t *testing.T) {
	cfg := &WorkerConfig{Owner: address.NewAddress(0, 0, make([]byte, 32)), Dir: t.TempDir()}
	if err := cfg.fill(); err != nil {
		t.Fatal(err)
	}
	there, closed, owing := &contract.WorkerState{}, &contract.WorkerState{State: contract.Closed}, &contract.WorkerState{State: contract.Closed, Tokens: 5, Owed: 2}
	for _, x := range []struct {
		v    workerView
		want step
	}{
		{workerView{}, doNothing}, // a contract is made for something to cash
		{workerView{newer: true, worth: 10*coin.TON - 1}, doNothing},
		{workerView{newer: true, worth: 10 * coin.TON}, doDeploy},
		{workerView{worth: coin.TON/100 + workerStays - 1, newer: true, outdated: true, late: true}, doNothing},
		{workerView{worth: coin.TON/100 + workerStays, newer: true, outdated: true, late: true}, doDeploy},
		{workerView{state: there, newer: true, worth: 10*coin.TON - 1}, doNothing},
		{workerView{state: there, newer: true, worth: 10 * coin.TON}, doPayout},
		{workerView{state: there, newer: true, idle: true, worth: coin.TON/5 - 1}, doNothing},
		{workerView{state: there, newer: true, idle: true, worth: coin.TON / 5}, doPayout},
		{workerView{state: there, newer: true, outdated: true, worth: 10 * coin.TON}, doNothing},
		{workerView{state: there, newer: true, outdated: true, late: true, worth: coin.TON/100 - 1}, doNothing},
		{workerView{state: there, newer: true, outdated: true, late: true, worth: coin.TON / 100}, doPayout},
		{workerView{state: there, newer: true, asked: true, worth: 1}, doPayout},
		{workerView{state: there, newer: false, asked: true, worth: 10 * coin.TON}, doNothing},
		{workerView{state: owing, newer: true, asked: true, worth: 1}, doPayout},
		{workerView{state: closed, newer: true, asked: true, worth: 10 * coin.TON}, doNothing},
	} {
		x.v.cfg = cfg
		if got := x.v.next(); got != x.want {
			t.Errorf("%+v: %q, want %q", x.v, got, x.want)
		}
	}
}
