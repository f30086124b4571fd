package storetest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
)

// Credit is what every client has in the mode without a chain.
var Credit = ledger.Deposit{Paid: 1_000_000, Stake: 1_000_000}

// Terms are those of all tests, with a chain if there is no credit.
func Terms(params uint32, credit ledger.Deposit) ledger.Terms {
	return ledger.Terms{Params: params, Contract: fmt.Sprintf("0:%064x", 1000+params), Price: 20, Fee: 18, Credit: credit, Memo: []byte{byte(params), 0, 7},
		Sign: func(p ledger.Promise) ([]byte, error) {
			return fmt.Appendf(nil, "%s %s %d", p.Side, p.Account, p.Tokens), nil
		}}
}

// Load opens a ledger on the store and continues under the terms.
func Load(t testing.TB, s ledger.Store, params uint32, credit ledger.Deposit) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(ledger.Config{Store: s, Key: Key})
	if err == nil {
		err = l.Begin(Terms(params, credit))
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Book moves tokens from a client to a worker.
func Book(l *ledger.Ledger, client, worker string, tokens int64) error {
	if _, err := l.OpenClient(client); err != nil {
		return err
	}
	if _, err := l.OpenWorker(worker); err != nil {
		return err
	}
	h, err := l.Reserve(client, tokens)
	if err != nil {
		return err
	}
	booked, err := l.Settle(h, worker, tokens)
	if err == nil && booked != tokens {
		err = fmt.Errorf("booked %d of %d tokens", booked, tokens)
	}
	return err
}

// Account names the n-th account as the network does.
func Account(n int) string { return fmt.Sprintf("0:%064x", n) }

// testLedger walks through a short life with every kind of movement.
func testLedger(t *testing.T, p Place) {
	s := open(t, p)
	l := Load(t, s, 1, Credit)
	for i := range 20 {
		if err := Book(l, Account(i%3), Account(100+i%2), int64(1+i)); err != nil {
			t.Fatal(err)
		}
	}
	l.Commit()
	if err := Book(l, "c", "w", 5); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(); err != nil {
		t.Fatal(err)
	}
	if err := Book(l, "c", "w", 6); err != nil {
		t.Fatal(err)
	}
	before := accounts(l)
	s = reopen(t, p, s)
	l = Load(t, s, 1, Credit)
	if after := accounts(l); after != before {
		t.Errorf("after a restart:\n%swant\n%s", after, before)
	}
	audit(t, l)
	if _, err := ledger.New(ledger.Config{Store: s, Key: ed25519.NewKeyFromSeed(make([]byte, 32))}); !errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("another proxy's key opens the ledger: %v", err)
	}
}

// accounts writes down everything durable that shows.
func accounts(l *ledger.Ledger) string {
	var b bytes.Buffer
	for _, g := range l.Generations() {
		lt, hash := l.Followed(g.Number)
		fmt.Fprintf(&b, "generation %+v followed %d %s\n", g, lt, hash)
	}
	clients, workers := l.Clients(), l.Workers()
	slices.SortFunc(clients, func(x, y ledger.Client) int { return cmp.Compare(x.Wallet, y.Wallet) })
	slices.SortFunc(workers, func(x, y ledger.Worker) int { return cmp.Compare(x.Owner, y.Owner) })
	for _, c := range clients {
		if c.Reserved, c.Running = 0, 0; c.Used.Max > 0 || c.State != ledger.Open {
			fmt.Fprintf(&b, "client %+v\n", c)
		}
	}
	for _, w := range workers {
		if w.Earned.Max > 0 {
			fmt.Fprintf(&b, "worker %+v\n", w)
		}
	}
	return b.String()
}

func audit(t *testing.T, l *ledger.Ledger) ledger.Summary {
	t.Helper()
	var out bytes.Buffer
	if err := l.Export(&out); err != nil {
		t.Fatal(err)
	}
	sum, err := ledger.Audit(&out, Key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if !sum.Complete {
		t.Error("the export is not complete")
	}
	return sum
}

// testManyAtOnce books from many goroutines; after a restart nothing that was
// acknowledged is missing and nothing is there that was not.
func testManyAtOnce(t *testing.T, p Place) {
	s := open(t, p)
	l := Load(t, s, 1, Credit)
	ctx, stop := context.WithCancel(context.Background())
	running := make(chan error, 1)
	go func() { running <- l.Run(ctx) }()
	const writers, each = 16, 30
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				if err := Book(l, Account(g%5), Account(100+i%4), int64(1+g)); err != nil {
					t.Error(err)
				}
				if i == each/2 && g == 0 {
					if err := l.Compact(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	stop()
	if err := <-running; err != nil {
		t.Error(err)
	}
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	l = Load(t, reopen(t, p, s), 1, Credit)
	var used int64
	for _, c := range l.Clients() {
		used += c.Used.DB
	}
	if want := int64(each * writers * (writers + 1) / 2); used != want {
		t.Errorf("%d tokens after the restart, want %d", used, want)
	}
	if sum := audit(t, l); sum.Moved != uint64(used) {
		t.Errorf("the audit counts %d tokens, want %d", sum.Moved, used)
	}
}

// model is the ledger's arithmetic once more, as plainly as can be.
type model struct {
	clients, workers map[string]*modelAccount
	note             *modelNote // waits
	covered          int        // moves that a seen note covers
	moves            int
	shown            bool
	params           uint32
	old              int // generations before
	last             int32
}

type modelAccount struct{ used, committed, charged, balance int64 }

type modelNote struct {
	number  int32
	session ledger.Hash
	moves   int
	levels  map[*modelAccount]int64
}

func newModel(params uint32) *model {
	return &model{clients: map[string]*modelAccount{}, workers: map[string]*modelAccount{}, params: params}
}

// History lives through a random history with a chain, closing and opening the
// ledger at random, and compares it with the model after every step.
func History(t *testing.T, p Place, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 7))
	s := open(t, p)
	l, m := Load(t, s, 1, ledger.Deposit{}), newModel(1)
	lt := uint64(1)
	for step := range steps {
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d step %d: %s", seed, step, fmt.Sprintf(format, args...))
		}
		client, worker := Account(r.IntN(4)), Account(100+r.IntN(3))
		number := l.Generations()[len(l.Generations())-1].Number
		lt++
		switch k := r.IntN(100); {
		case k < 45:
			m.book(r, l, client, worker, fail)
		case k < 55:
			a := m.account(m.clients, client)
			a.balance += r.Int64N(1_000_000)
			charged := a.charged + r.Int64N(a.committed-a.charged+1)
			a.balance, a.charged = max(0, a.balance-20*(charged-a.charged)), charged
			if err := l.SeeClient(number, client, ledger.ClientState{Balance: coin.Nano(a.balance), Stake: 10_000, Charged: charged, LT: lt}); err != nil {
				fail("%v", err)
			}
		case k < 60:
			a := m.account(m.workers, worker)
			a.charged += r.Int64N(a.committed - a.charged + 1)
			if err := l.SeeWorker(number, worker, ledger.WorkerState{Paid: a.charged, LT: lt}); err != nil {
				fail("%v", err)
			}
		case k < 72:
			m.prepare(l, fail)
		case k < 85:
			m.see(l, fail)
		case k < 88:
			if err := l.Compact(); err != nil {
				fail("%v", err)
			}
		case k < 89:
			m2 := newModel(m.params + 1)
			m2.note, m2.moves, m2.covered, m2.shown, m2.old, m2.last = m.note, m.moves, m.covered, m.shown, m.old+1, m.last
			m = m2
			if err := l.Begin(Terms(m.params, ledger.Deposit{})); err != nil {
				fail("%v", err)
			}
		default:
			s = reopen(t, p, s)
			l, m.shown = Load(t, s, m.params, ledger.Deposit{}), false
			if m.note != nil {
				m.note.session = ledger.Hash{} // of a session that is over: the next may be prepared
			}
		}
		m.compare(l, fail)
	}
	if sum := audit(t, l); sum.Moved == 0 {
		t.Errorf("seed %d: nothing was ever booked", seed)
	}
}

func (m *model) account(list map[string]*modelAccount, name string) *modelAccount {
	if list[name] == nil {
		list[name] = &modelAccount{}
	}
	return list[name]
}

func (m *model) book(r *rand.Rand, l *ledger.Ledger, client, worker string, fail func(string, ...any)) {
	c, w := m.account(m.clients, client), m.account(m.workers, worker)
	tokens := 1 + r.Int64N(120)
	room := min(c.charged+c.balance/20, c.charged+500) - c.used
	if c.balance == 0 {
		room = min(c.charged, c.charged+500) - c.used
	}
	if l.Health() == nil {
		if _, err := l.OpenClient(client); err != nil {
			fail("%v", err)
		}
	}
	err := Book(l, client, worker, tokens)
	var short *ledger.BalanceError
	switch {
	case !m.shown:
		if !errors.Is(err, ledger.ErrOpening) {
			fail("booking before the first note was seen: %v", err)
		}
	case errors.As(err, &short):
		if room >= tokens {
			fail("%v, and the client has %d of %d tokens", err, room, tokens)
		}
	case err != nil:
		fail("%v", err)
	default:
		if room < tokens {
			fail("%d tokens were booked, the client has %d", tokens, room)
		}
		c.used += tokens
		w.used += tokens
		m.moves++
	}
}

func (m *model) prepare(l *ledger.Ledger, fail func(string, ...any)) {
	number, session, ok := l.Note()
	waits := m.note != nil && m.note.session != ledger.Hash{}
	if due := !waits && (!m.shown || m.moves > m.covered); ok != due {
		// A client that was charged for everything needs no note: the chain has shown it.
		if ok || m.uncommitted() {
			fail("a note is prepared: %v, want %v", ok, due)
		}
		m.covered = m.moves
	}
	if !ok {
		return
	}
	if number != m.last+1 {
		fail("note %d follows %d", number, m.last)
	}
	m.last = number
	m.note = &modelNote{number, session, m.moves, map[*modelAccount]int64{}}
	for _, list := range []map[string]*modelAccount{m.clients, m.workers} {
		for _, a := range list {
			m.note.levels[a] = a.used
		}
	}
}

func (m *model) uncommitted() bool {
	for _, list := range []map[string]*modelAccount{m.clients, m.workers} {
		for _, a := range list {
			if a.committed < a.used {
				return true
			}
		}
	}
	return m.old > 0 // of which the model keeps no accounts
}

func (m *model) see(l *ledger.Ledger, fail func(string, ...any)) {
	if m.note == nil || m.note.session == (ledger.Hash{}) {
		return
	}
	if err := l.NoteSeen(m.note.number, m.note.session); err != nil {
		fail("%v", err)
	}
	for a, v := range m.note.levels {
		a.committed = max(a.committed, v)
	}
	m.covered, m.shown, m.note = m.note.moves, true, nil
}

func (m *model) compare(l *ledger.Ledger, fail func(string, ...any)) {
	if err := l.Check(); err != nil {
		fail("%v", err)
	}
	if n := len(l.Generations()); n != m.old+1 {
		fail("%d generations, want %d", n, m.old+1)
	}
	clients, workers := map[string]ledger.Client{}, map[string]ledger.Worker{}
	for _, c := range l.Clients() {
		clients[c.Wallet] = c
	}
	for _, w := range l.Workers() {
		workers[w.Owner] = w
	}
	for name, a := range m.clients {
		if c := clients[name]; c.Used.DB != a.used || c.Used.Chain != a.committed || c.Charged != a.charged {
			fail("client %s: %+v, want %+v", name, c, *a)
		}
	}
	for name, a := range m.workers {
		if w := workers[name]; w.Earned.DB != a.used || w.Earned.Chain != a.committed || w.Paid != a.charged {
			fail("worker %s: %+v, want %+v", name, w, *a)
		}
	}
}
