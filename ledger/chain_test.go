package ledger

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/coin"
)

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))

// chained is a ledger of the mode with a chain, on a store in memory.
type chained struct {
	t *testing.T
	*Ledger
	store  *Memory
	signer signer
	params uint32
	lt     uint64
}

func onChain(t *testing.T) *chained {
	t.Helper()
	c := &chained{t: t, store: &Memory{}, params: 1}
	c.restart()
	t.Cleanup(func() {
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// restart begins a new session on the same store.
func (c *chained) restart() {
	c.t.Helper()
	if c.Ledger != nil {
		c.Close()
	}
	var err error
	if c.Ledger, err = New(Config{Store: c.store, Key: testKey}); err != nil {
		c.t.Fatal(err)
	}
	c.begin(c.params)
}

func (c *chained) begin(params uint32) {
	c.t.Helper()
	c.params = params
	c.must(c.Begin(Terms{Params: params, Contract: fmt.Sprint("proxy ", params), Price: 20, Fee: 18, Sign: c.signer.sign}))
}

func (c *chained) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// note prepares a note and lets the chain show it.
func (c *chained) note() {
	c.t.Helper()
	number, session, ok := c.Note()
	if !ok {
		c.t.Fatal("no note is due")
	}
	c.must(c.NoteSeen(number, session))
}

func (c *chained) deposit(wallet string, balance, stake coin.Nano, charged int64) {
	c.t.Helper()
	c.lt++
	c.must(c.SeeClient(c.current(), wallet, ClientState{Balance: balance, Stake: stake, Charged: charged, LT: c.lt}))
}

func (c *chained) current() uint32 {
	list := c.Generations()
	return list[len(list)-1].Number
}

func (c *chained) book(wallet, owner string, tokens int64) {
	c.t.Helper()
	_, err := c.OpenClient(wallet)
	c.must(err)
	_, err = c.OpenWorker(owner)
	c.must(err)
	h, err := c.Reserve(wallet, tokens)
	c.must(err)
	if booked, err := c.Settle(h, owner, tokens); err != nil || booked != tokens {
		c.t.Fatalf("booked %d of %d tokens, %v", booked, tokens, err)
	}
}

func (c *chained) clientOf(wallet string) Client {
	for _, a := range c.Clients() {
		if a.Wallet == wallet {
			return a
		}
	}
	return Client{}
}

// A session takes work once the chain has shown its first note; an idle one sends no other.
func TestSessionOpensWithItsFirstNote(t *testing.T) {
	c := onChain(t)
	c.deposit("c", 2000*20, 2000*20, 0)
	if _, err := c.Reserve("c", 1); !errors.Is(err, ErrOpening) || !errors.Is(c.Health(), ErrOpening) {
		t.Errorf("before the first note: %v", err)
	}
	number, session, ok := c.Note()
	if !ok || number != 1 {
		t.Fatalf("first note %d, %v", number, ok)
	}
	if _, _, again := c.Note(); again {
		t.Error("a second note while the first waits")
	}
	if n, s, ok := c.PendingNote(); !ok || n != number || s != session {
		t.Errorf("pending note %d, %v", n, ok)
	}
	c.must(c.NoteSeen(number, session))
	c.must(c.NoteSeen(number, session)) // the chain may be read twice
	if _, _, ok := c.Note(); ok {
		t.Error("an idle proxy sends a note")
	}
	c.book("c", "w", 5)
	c.note()
	if s, err := c.WorkerStatus("w"); err != nil || string(s.Payment) != "1 w 5" {
		t.Errorf("%s, %v", s.Payment, err)
	}
	c.restart()
	if s, err := c.WorkerStatus("w"); err != nil || string(s.Payment) != "1 w 5" {
		t.Errorf("after a restart %s, %v", s.Payment, err)
	}
	if c.note(); c.Health() != nil {
		t.Error(c.Health())
	}
}

// What was durable when a note was prepared is committed by it, and no more; a
// note of an earlier session may land late, or never.
func TestNotesCommitWhatTheyCover(t *testing.T) {
	c := onChain(t)
	c.deposit("c", 2000*20, 2000*20, 0)
	c.note()
	c.book("c", "w", 5)
	late, lateSession, _ := c.Note()
	c.book("c", "w", 7)
	if got := c.clientOf("c").Used; got != (Levels{12, 12, 0}) {
		t.Errorf("%+v", got)
	}
	c.restart()
	if _, _, ok := c.PendingNote(); ok {
		t.Error("another session's note is taken for ours")
	}
	number, session, _ := c.Note()
	if number != late+1 || session == lateSession {
		t.Errorf("note %d of session %s", number, session)
	}
	c.must(c.NoteSeen(late, lateSession))
	if got := c.clientOf("c").Used; got != (Levels{12, 12, 5}) {
		t.Errorf("after the late note %+v", got)
	}
	if !errors.Is(c.Health(), ErrOpening) {
		t.Errorf("a late note of another session opens this one: %v", c.Health())
	}
	c.must(c.NoteSeen(number, session))
	if got := c.clientOf("c").Used; got != (Levels{12, 12, 12}) {
		t.Errorf("after our note %+v", got)
	}
	c.restart()
	c.book2(3)
	number, session, _ = c.Note()
	c.must(c.NoteSeen(number, session))
	c.must(c.NoteSeen(late, lateSession)) // overtaken: changes nothing
	if got := c.clientOf("c").Used; got != (Levels{15, 15, 15}) {
		t.Errorf("at the end %+v", got)
	}
}

func (c *chained) book2(tokens int64) { c.t.Helper(); c.note(); c.book("c", "w", tokens) }

// The ledger is a copy, or yesterday's: it refuses and says so, signs nothing, and goes on living.
func TestRollbacks(t *testing.T) {
	var other Hash
	other[0] = 1
	for name, proof := range map[string]func(*chained) error{
		"an unknown session":        func(c *chained) error { return c.NoteSeen(1, other) },
		"a number of our session":   func(c *chained) error { return c.NoteSeen(7, c.session) },
		"a client charged for more": func(c *chained) error { return c.SeeClient(1, "c", ClientState{Charged: 11, LT: 99}) },
		"an unknown client charged": func(c *chained) error { return c.SeeClient(1, "x", ClientState{Charged: 1, LT: 99}) },
		"a worker paid for more":    func(c *chained) error { return c.SeeWorker(1, "w", WorkerState{Paid: 11, LT: 99}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := onChain(t)
			c.deposit("c", 2000*20, 2000*20, 0)
			c.note()
			c.book("c", "w", 10)
			c.note()
			h, err := c.Reserve("c", 5)
			c.must(err)
			var rollback *RollbackError
			if err := proof(c); !errors.As(err, &rollback) {
				t.Fatalf("%v, want a rollback", err)
			}
			if _, err := c.Reserve("c", 1); !errors.As(err, &rollback) {
				t.Errorf("work is still taken: %v", err)
			}
			if _, err := c.WorkerStatus("w"); !errors.As(err, &rollback) {
				t.Errorf("payments are still signed: %v", err)
			}
			if _, err := c.SignOrder(Order{Kind: Payout, Generation: c.Generations()[0], Account: "w", Tokens: 1}); !errors.As(err, &rollback) {
				t.Errorf("orders are still signed: %v", err)
			}
			if _, _, ok := c.Note(); ok || len(c.Due(Rules{}, time.Now())) > 0 {
				t.Error("notes and orders are still made")
			}
			if !strings.Contains(c.Health().Error(), "newest copy") {
				t.Errorf("%v does not say what to do", c.Health())
			}
			// What runs is still earned.
			if booked, err := c.Settle(h, "w", 5); booked != 5 || err != nil {
				t.Errorf("booked %d, %v", booked, err)
			}
			c.restart()
			if used := c.clientOf("c").Used.DB; used != 15 {
				t.Errorf("%d tokens after a restart, want 15", used)
			}
		})
	}
}

// An old copy of the store is found out by the notes that newer ones prepared.
func TestYesterdaysCopy(t *testing.T) {
	c := onChain(t)
	c.deposit("c", 2000*20, 2000*20, 0)
	c.note()
	c.book("c", "w", 10)
	backup := &Memory{}
	c.must(c.store.Load(0, backup.Append))
	c.book("c", "w", 10)
	number, session, _ := c.Note()
	c.must(c.NoteSeen(number, session))
	c.store = backup
	c.restart()
	var rollback *RollbackError
	if err := c.NoteSeen(number, session); !errors.As(err, &rollback) {
		t.Errorf("%v, want a rollback", err)
	}
}

// Foreign nonsense is refused without any effect, and old news changes nothing.
func TestObservations(t *testing.T) {
	c := onChain(t)
	c.deposit("c", 1000*20, 300*20, 0)
	c.note()
	before := c.state.seq
	for i, err := range []error{
		c.SeeClient(1, "c", ClientState{Balance: -1, LT: 50}), c.SeeClient(1, "c", ClientState{Charged: -1, LT: 50}),
		c.SeeWorker(1, "w", WorkerState{Paid: -1}), c.SeeClient(1, "", ClientState{}), c.SeeWorker(1, strings.Repeat("w", 1001), WorkerState{}),
		c.Begin(Terms{Params: 2, Memo: make([]byte, maxText+1)}), c.Begin(Terms{Params: 2, Credit: Deposit{Paid: -1}}),
		func() error { _, err := c.OpenClient(""); return err }(), func() error { _, err := c.OpenWorker(strings.Repeat("w", 1001)); return err }(), c.SeeProxy(1, ProxyState{Balance: -1}), c.SeeClient(2, "c", ClientState{}),
	} {
		if err == nil {
			t.Errorf("nonsense %d is accepted", i)
		}
	}
	c.must(c.SeeClient(1, "c", ClientState{Balance: 5, LT: 0})) // older than what is known
	c.must(c.SeeClient(1, "c", ClientState{Balance: 1000 * 20, Stake: 300 * 20, LT: 1}))
	if c.state.seq != before {
		t.Error("old news was stored")
	}
	if got := c.clientOf("c"); got.Deposit != (Deposit{1000, 300}) || got.Available() != 300 {
		t.Errorf("%+v", got)
	}
	c.deposit("c", coin.Max, coin.Max, 0) // a stake beyond all money kills nobody
	if got := c.clientOf("c"); got.Available() != int64(coin.Max/20) {
		t.Errorf("available %d", got.Available())
	}
	c.book("c", "w", 100)
	c.note()
	c.lt++
	c.must(c.SeeClient(1, "c", ClientState{Debt: 50 * 20, Stake: 300 * 20, Charged: 100, LT: c.lt}))
	if got := c.clientOf("c"); got.Available() != -50 {
		t.Errorf("a client in debt: %+v, available %d, want -50", got, got.Available())
	}
	if _, err := c.Reserve("c", 0); err == nil {
		t.Error("a client in debt gets work")
	}
	c.lt++
	c.must(c.SeeClient(1, "c", ClientState{State: Closing, Balance: 1000, Charged: 100, LT: c.lt}))
	if _, err := c.Reserve("c", 1); !errors.Is(err, ErrClosing) {
		t.Errorf("closing client: %v", err)
	}
}

func kinds(list []Order) string {
	var b strings.Builder
	for _, o := range list {
		fmt.Fprintf(&b, "%s %s %d; ", o.Kind, o.Account, o.Tokens)
	}
	return b.String()
}

// An order is due from its threshold on, not again while its transaction may
// still arrive, and again when it did not.
func TestDue(t *testing.T) {
	c := onChain(t)
	now := time.Unix(1_800_000_000, 0)
	c.deposit("a", 1000*20, 1000*20, 0)
	c.deposit("b", 1000*20, 1000*20, 0)
	c.note()
	c.book("a", "w", 100)
	c.book("b", "w", 10)
	rules := Rules{Charge: 100 * 20, Payout: 110 * 18, Withdraw: 50}
	due := func(want string) []Order {
		t.Helper()
		list := c.Due(rules, now)
		if got := kinds(list); got != want {
			t.Errorf("due: %q, want %q", got, want)
		}
		return list
	}
	due("") // nothing is committed yet
	c.note()
	list := due("charge a 100; payout w 110; ")
	for _, o := range list {
		if pay, err := c.SignOrder(o); err != nil || !strings.HasSuffix(string(pay), fmt.Sprint(o.Account, " ", o.Tokens)) {
			t.Errorf("%s, %v", pay, err)
		}
		c.Submitted(o, now.Add(time.Minute))
	}
	due("")
	now = now.Add(time.Minute) // they did not arrive
	due("charge a 100; payout w 110; ")
	c.must(c.SeeWorker(1, "w", WorkerState{Paid: 110, LT: 50}))
	c.deposit("a", 900*20, 1000*20, 100)
	due("")
	c.must(c.SeeProxy(1, ProxyState{Balance: 60, LT: 51}))
	due("withdraw  0; ")
	c.must(c.SeeProxy(1, ProxyState{LT: 52}))
	// A client that leaves is refunded when nothing runs and everything is committed.
	h, err := c.Reserve("b", 5)
	c.must(err)
	c.lt++
	c.must(c.SeeClient(1, "b", ClientState{State: Closing, Balance: 1000 * 20, Stake: 1000 * 20, LT: c.lt}))
	due("")
	if _, err := c.Settle(h, "w", 5); err != nil {
		t.Fatal(err)
	}
	due("")
	c.note()
	grant := due("grant b 15; ")[0]
	over := grant
	over.Tokens++
	if _, err := c.SignOrder(over); err == nil {
		t.Error("an order for more than was committed is signed")
	}
	c.lt++
	c.must(c.SeeClient(1, "b", ClientState{State: Closed, Charged: 15, LT: c.lt}))
	due("")
}

// A client that leaves while a request of it still runs is charged for what is
// committed: its own refund, which it may force after a while, must not take that along.
func TestLeavingWhileBusy(t *testing.T) {
	c := onChain(t)
	now := time.Unix(1_800_000_000, 0)
	c.deposit("a", 1000*20, 1000*20, 0)
	c.note()
	c.book("a", "w", 300)
	c.note()
	h, err := c.Reserve("a", 5)
	c.must(err)
	c.lt++
	c.must(c.SeeClient(1, "a", ClientState{State: Closing, Balance: 1000 * 20, Stake: 1000 * 20, LT: c.lt}))
	rules := Rules{Charge: 300 * 20, Payout: coin.TON, Withdraw: coin.TON}
	if got := kinds(c.Due(rules, now)); got != "charge a 300; " {
		t.Errorf("due: %q, want the charge", got)
	}
	c.lt++
	c.must(c.SeeClient(1, "a", ClientState{State: Closing, Balance: 700 * 20, Stake: 1000 * 20, Charged: 300, LT: c.lt}))
	if got := kinds(c.Due(rules, now)); got != "" {
		t.Errorf("due: %q, want nothing while the request runs", got)
	}
	c.must(c.Release(h))
	if got := kinds(c.Due(rules, now)); got != "grant a 300; " {
		t.Errorf("due: %q, want the grant", got)
	}
}

// New parameters close the accounts before: a list that survives restarts and compaction, worked off one by one.
func TestClosingGeneration(t *testing.T) {
	c := onChain(t)
	c.deposit("a", 1000*20, 1000*20, 0)
	c.note()
	c.book("a", "w", 100)
	c.must(c.SeeProxy(1, ProxyState{LT: 10}))
	h, err := c.Reserve("a", 10)
	c.must(err)
	c.begin(2)
	if err := c.Release(h); !errors.Is(err, ErrSpent) {
		t.Errorf("a hold of the old accounts: %v", err)
	}
	now := time.Unix(1_800_000_000, 0)
	due := func(want string) {
		t.Helper()
		if got := kinds(c.Due(closingRules, now)); got != want {
			t.Errorf("due: %q, want %q", got, want)
		}
	}
	due("start closing  0; ") // the rest waits until it is committed
	c.must(c.Compact())
	c.restart()
	due("") // it may be an old copy, which must not close anything
	if _, err := c.SignOrder(Order{Kind: Grant, Generation: c.Generations()[0], Account: "a", Tokens: 100}); !errors.Is(err, ErrOpening) {
		t.Errorf("a grant is signed before the first note is seen: %v", err)
	}
	c.note()
	due("start closing  0; grant a 100; last payout w 100; ")
	c.must(c.SeeProxy(1, ProxyState{State: Closing, Unlock: now.Unix() + 100, LT: 11}))
	c.must(c.Compact())
	c.restart()
	c.note()
	c.must(c.SeeClient(1, "a", ClientState{State: Closed, Charged: 100, LT: 60}))
	due("last payout w 100; ")
	c.must(c.SeeWorker(1, "w", WorkerState{State: Closed, Paid: 100, LT: 61}))
	due("")
	now = now.Add(100 * time.Second)
	due("finish closing  0; ")
	c.must(c.SeeProxy(1, ProxyState{State: Closed, LT: 62}))
	due("")
	if list := c.Generations(); len(list) != 1 || list[0].Number != 2 {
		t.Errorf("generations %+v", list)
	}
	if err := c.Begin(Terms{Params: 1, Contract: "proxy 1", Price: 20, Fee: 18}); !errors.Is(err, ErrTerms) {
		t.Errorf("parameters go back: %v", err)
	}
	if err := c.Begin(Terms{Params: 3, Contract: "proxy 3", Price: 20, Fee: 21}); err == nil {
		t.Error("a fee above the price is accepted")
	}
}

// closingRules leave nothing to workers.
var closingRules = Rules{Charge: coin.TON, Payout: coin.TON, Withdraw: coin.TON, LastPayout: 1}

// What is too little to be worth making a worker's contract is left to the
// worker, and keeps nothing open. One that was paid before is paid all.
func TestDustIsLeftToTheWorker(t *testing.T) {
	c := onChain(t)
	c.deposit("a", 1000*20, 1000*20, 0)
	c.note()
	c.book("a", "dust", 10)
	c.book("a", "enough", 11)
	c.book("a", "paid", 12)
	c.book("a", "settled", 13)
	c.note()
	c.must(c.SeeWorker(1, "paid", WorkerState{Paid: 11, LT: 20}))
	c.must(c.SeeWorker(1, "settled", WorkerState{Paid: 13, LT: 21}))
	c.must(c.SeeWorker(1, "registered", WorkerState{LT: 22}))
	c.must(c.SeeProxy(1, ProxyState{LT: 10}))
	rules := Rules{LastPayout: 11 * 18}
	if got, want := kinds(c.Due(Rules{Charge: coin.TON, Payout: 10 * 18, Withdraw: coin.TON}, time.Now())), "payout enough 11; payout dust 10; "; got != want {
		t.Errorf("due: %q, want %q", got, want)
	}
	c.begin(2)
	now := time.Unix(1_800_000_000, 0)
	c.must(c.SeeProxy(1, ProxyState{State: Closing, Unlock: now.Unix(), LT: 11}))
	due := func(want string) {
		t.Helper()
		if got := kinds(c.Due(rules, now)); got != want {
			t.Errorf("due: %q, want %q", got, want)
		}
	}
	due("grant a 46; last payout enough 11; last payout paid 12; last payout settled 13; ")
	c.must(c.Compact())
	c.restart()
	c.note()
	due("grant a 46; last payout enough 11; last payout paid 12; last payout settled 13; ")
	for i, w := range []string{"enough", "paid", "settled"} {
		c.must(c.SeeWorker(1, w, WorkerState{State: Closed, Paid: int64(11 + i), LT: 60}))
	}
	c.must(c.SeeClient(1, "a", ClientState{State: Closed, Charged: 46, LT: 60}))
	due("finish closing  0; ")
}

// A fee of nothing is paid to nobody.
func TestNoFee(t *testing.T) {
	c := onChain(t)
	free := func(params uint32) {
		c.must(c.Begin(Terms{Params: params, Contract: fmt.Sprint("free ", params), Price: 20, Sign: c.signer.sign}))
	}
	free(2)
	c.must(c.SeeClient(2, "a", ClientState{Balance: 1000 * 20, Stake: 1000 * 20, LT: 5}))
	c.note()
	c.book("a", "w", 10)
	c.note()
	c.must(c.SeeWorker(2, "w", WorkerState{Paid: 9, LT: 20}))
	free(3)
	if got, want := kinds(c.Due(Rules{}, time.Now())), "grant a 10; "; got != want {
		t.Errorf("due: %q, want %q", got, want)
	}
}

// Who comes when the contract is closing already, and who has nothing there,
// costs the proxy no gas and delays nothing, after a restart neither.
func TestLateClients(t *testing.T) {
	c := onChain(t)
	c.deposit("rich", 1000*20, 1000*20, 0)
	c.deposit("empty", 0, 1000*20, 0)
	c.note()
	c.must(c.SeeProxy(1, ProxyState{LT: 10}))
	c.begin(2)
	c.deposit2("in time", ClientState{Balance: 7 * 20})
	now := time.Unix(1_800_000_000, 0)
	c.must(c.SeeProxy(1, ProxyState{State: Closing, Unlock: now.Unix(), LT: 11}))
	c.deposit2("late", ClientState{Balance: 1000 * 20})
	c.deposit2("late and leaving", ClientState{Balance: 1000 * 20, State: Closing})
	c.must(c.SeeReturned(1, "late and returned", 100, 50))
	c.deposit2("late and returned", ClientState{Balance: 1000 * 20})
	for range 2 {
		if got, want := kinds(c.Due(closingRules, now)), "grant in time 0; grant rich 0; "; got != want {
			t.Errorf("due: %q, want %q", got, want)
		}
		c.must(c.Compact())
		c.restart()
		c.note()
	}
	c.deposit2("late", ClientState{Balance: 2000 * 20, State: Closing}) // again
	c.deposit2("empty", ClientState{State: Closing})                    // it wants what its contract holds of its own
	if got, want := kinds(c.Due(closingRules, now)), "grant empty 0; grant in time 0; grant rich 0; "; got != want {
		t.Errorf("due: %q, want %q", got, want)
	}
	for _, name := range []string{"rich", "in time", "empty"} {
		c.deposit2(name, ClientState{State: Closed})
	}
	if got, want := kinds(c.Due(closingRules, now)), "finish closing  0; "; got != want {
		t.Errorf("due: %q, want %q", got, want)
	}
}

func (c *chained) deposit2(wallet string, s ClientState) {
	c.t.Helper()
	c.lt++
	s.LT = c.lt
	c.must(c.SeeClient(1, wallet, s))
}

// A contract that holds too little keeps an old generation open for a week, and
// not for ever, if it keeps on paying when it is closed.
func TestShortContractIsClosed(t *testing.T) {
	c := onChain(t)
	c.deposit("a", 1000*20, 1000*20, 0)
	c.note()
	c.book("a", "w", 10)
	c.note()
	c.must(c.SeeProxy(1, ProxyState{LT: 10}))
	c.begin(2)
	now := time.Unix(1_800_000_000, 0)
	c.must(c.SeeProxy(1, ProxyState{State: Closing, Unlock: now.Unix(), LT: 11}))
	due := func(at time.Time, want string) []Order {
		t.Helper()
		list := c.Due(closingRules, at)
		if got := kinds(list); got != want {
			t.Errorf("due: %q, want %q", got, want)
		}
		return list
	}
	both := due(now.Add(shortPatience), "grant a 10; last payout w 10; ")
	for _, o := range both {
		c.Short(o)
	}
	due(now.Add(shortPatience), "grant a 10; last payout w 10; ")
	c.KeepsDeposits(1)
	c.KeepsDeposits(7)
	due(now.Add(shortPatience-time.Second), "grant a 10; last payout w 10; ")
	due(now.Add(shortPatience), "grant a 10; last payout w 10; finish closing  0; ")
	c.Submitted(both[0], now) // there is enough for it again
	due(now.Add(shortPatience), "grant a 10; last payout w 10; ")
	c.Short(both[0])
	c.must(c.SeeProxy(1, ProxyState{State: Closed, LT: 12}))
	due(now.Add(shortPatience), "")
	if len(c.short) > 0 {
		t.Errorf("%d orders of a closed contract are remembered", len(c.short))
	}
}

// While a booking of the old accounts is still being written, its worker is not
// paid for the last time: the rest would be lost to it.
func TestLastPayoutWaitsForBookings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := onChain(t)
		c.deposit("a", 1000*20, 1000*20, 0)
		c.note()
		c.book("a", "w", 100)
		c.note()
		h, err := c.Reserve("a", 10)
		c.must(err)
		slow := make(chan error)
		c.store.Fault = func(Record) error { return <-slow }
		go c.begin(2)
		synctest.Wait()
		booked := make(chan error)
		go func() { _, err := c.Settle(h, "w", 10); booked <- err }()
		synctest.Wait()
		slow <- nil // the new terms are there, the booking waits for the disk
		synctest.Wait()
		if got := kinds(c.Due(DefaultRules, time.Unix(1_800_000_000, 0))); got != "" {
			t.Errorf("due: %q, want nothing", got)
		}
		last := Order{Kind: LastPayout, Generation: c.Generations()[0], Account: "w", Tokens: 100}
		if _, err := c.SignOrder(last); err == nil {
			t.Error("a last payout is signed while the worker earns more")
		}
		slow <- nil
		c.must(<-booked)
		c.store.Fault = nil
		c.note()
		if got := kinds(c.Due(closingRules, time.Unix(1_800_000_000, 0))); got != "grant a 110; last payout w 110; " {
			t.Errorf("due: %q", got)
		}
	})
}

// While a store does not answer no work is taken that would wait behind it.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := onChain(t)
		c.deposit("a", 1000*20, 1000*20, 0)
		c.note()
		_, err := c.OpenWorker("w")
		c.must(err)
		h, err := c.Reserve("a", 10)
		c.must(err)
		slow := make(chan error)
		c.store.Fault = func(Record) error { return <-slow }
		booked := make(chan error)
		go func() { _, err := c.Settle(h, "w", 10); booked <- err }()
		time.Sleep(slowStore)
		c.must(c.Health())
		time.Sleep(time.Nanosecond)
		if err := c.Health(); !errors.Is(err, errSlow) {
			t.Errorf("health %v, want %v", err, errSlow)
		}
		if _, err := c.Reserve("a", 10); !errors.Is(err, errSlow) {
			t.Errorf("reserved behind a store that does not answer: %v", err)
		}
		slow <- nil
		c.must(<-booked)
		c.must(c.Health())
	})
}

// A store that fails books nothing, half of nothing, and takes no more work.
func TestStoreFails(t *testing.T) {
	c := onChain(t)
	c.deposit("c", 1000*20, 1000*20, 0)
	c.note()
	c.book("c", "w", 10)
	h, err := c.Reserve("c", 20)
	c.must(err)
	c.store.Fault = func(Record) error { return errors.New("no space left on device") }
	if booked, err := c.Settle(h, "w", 20); booked != 0 || !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("booked %d, %v", booked, err)
	}
	c.store.Fault = nil
	if got := c.clientOf("c"); got.Used != (Levels{10, 10, 0}) || got.Reserved != 0 || got.Running != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := c.Reserve("c", 1); !errors.Is(err, ErrStore) {
		t.Errorf("work is still taken: %v", err)
	}
	if _, _, ok := c.Note(); ok {
		t.Error("a note is prepared")
	}
	if err := c.SeeProxy(1, ProxyState{LT: 5}); !errors.Is(err, ErrStore) {
		t.Errorf("an observation is accepted: %v", err)
	}
	if _, err := c.WorkerStatus("w"); err != nil {
		t.Errorf("what was committed is not signed any more: %v", err)
	}
	c.restart()
	if got := c.clientOf("c").Used.DB; got != 10 {
		t.Errorf("%d tokens after a restart, want 10", got)
	}
}

// Whoever waits behind a write that fails learns it too.
func TestQueueFailsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := onChain(t)
		c.deposit("c", 1000*20, 1000*20, 0)
		c.note()
		_, err := c.OpenWorker("w")
		c.must(err)
		broken := make(chan error)
		c.store.Fault = func(Record) error { return <-broken }
		results := make(chan error, 9)
		for range 9 {
			go func() {
				h, err := c.Reserve("c", 5)
				if err == nil {
					_, err = c.Settle(h, "w", 5)
				}
				results <- err
			}()
		}
		synctest.Wait()
		if len(c.queue) != 8 {
			t.Errorf("%d wait behind the first, want 8", len(c.queue))
		}
		broken <- errors.New("broken")
		for range 9 {
			if err := <-results; !errors.Is(err, ErrStore) {
				t.Errorf("%v, want %v", err, ErrStore)
			}
		}
		if got := c.clientOf("c"); got.Reserved != 0 || got.Used.DB != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// What gathers while one write is under way is stored by the next, together.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := onChain(t)
		c.deposit("c", 1000*20, 1000*20, 0)
		c.note()
		_, err := c.OpenWorker("w")
		c.must(err)
		let, written := make(chan struct{}), 0
		c.store.Fault = func(Record) error { written++; <-let; return nil }
		for range 40 {
			go func() {
				if h, err := c.Reserve("c", 5); err != nil {
					t.Error(err)
				} else if _, err = c.Settle(h, "w", 5); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		close(let)
		synctest.Wait()
		if got := c.clientOf("c").Used.DB; got != 200 || written != 2 {
			t.Errorf("%d tokens in %d writes, want 200 in 2", got, written)
		}
	})
}

// A deposit that a closing contract gave back and the client's contract still
// counts is taken away by the client's last charge, across a restart and a
// compaction too; the chain's showing it is no rollback.
func TestReturnedDeposit(t *testing.T) {
	c := onChain(t)
	c.note()
	c.deposit("alice", 1_000_000, 1_000_000, 0)
	c.book("alice", "worker", 100)
	c.note()
	old := c.current()
	c.begin(2)
	c.must(c.SeeReturned(old, "alice", 405, 7))
	c.must(c.SeeReturned(old, "alice", 405, 7)) // read again after a crash
	c.must(c.Compact())
	c.restart()
	c.note()
	c.must(c.SeeReturned(old, "alice", 20, 6))
	var grant Order
	for _, o := range c.Due(DefaultRules, time.Now()) {
		if o.Kind == Grant {
			grant = o
		}
	}
	if grant.Returned != 21 {
		t.Errorf("the order takes %d tokens away, want 21", grant.Returned)
	}
	got, err := c.SignOrder(grant)
	if err != nil || !strings.Contains(string(got), "121") { // 100 used, and 405 nanoTON at 20
		t.Errorf("signed %q, %v, want 121 tokens", got, err)
	}
	c.lt++
	c.must(c.SeeClient(old, "alice", ClientState{State: Closed, Charged: 121, LT: c.lt}))
	c.lt++
	var rollback *RollbackError
	if err := c.SeeClient(old, "alice", ClientState{State: Closed, Charged: 122, LT: c.lt}); !errors.As(err, &rollback) {
		t.Errorf("charged for more than that: %v, want a rollback", err)
	}
}
