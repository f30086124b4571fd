package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	library "github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
)

// person is somebody with an ordinary wallet.
type person struct {
	e    *economy
	name string
	key  ed25519.PrivateKey
	at   *address.Address
}

func (e *economy) person(name string, amount coin.Nano) person {
	p := person{e: e, name: name, key: e.chain.net.Key(name)}
	at, err := library.AddressFromPubKey(p.key.Public().(ed25519.PublicKey), library.ConfigV5R1Final{NetworkGlobalID: e.chain.net.GlobalID()}, 0)
	e.must(err)
	p.at = at.Bounce(false)
	e.names[p.at.StringRaw()] = name
	if amount > 0 {
		e.fund(p.at, amount)
	}
	return p
}

func (p *person) account() string { return p.at.StringRaw() }

// says sends a message from the person's wallet. What comes of it, the chain shows.
func (p *person) says(to *address.Address, value coin.Nano, body contract.Body, init *tlb.StateInit) {
	c := cell.BeginCell().EndCell()
	if body != nil {
		var err error
		c, err = body.Cell()
		p.e.must(err)
	}
	m := &tlb.InternalMessage{IHRDisabled: true, Bounce: init == nil, DstAddr: to, Amount: tlb.FromNanoTON(value.Big()), StateInit: init, Body: c}
	external, err := p.e.chain.net.SignTransfer(context.Background(), p.key, &library.Message{Mode: library.PayGasSeparately + library.IgnoreErrors, InternalMessage: m})
	p.e.must(err)
	if err := p.e.chain.external(external); err != nil { // too poor
		p.e.tell("%s has spent all, and gets 100 TON: %v", p.name, err)
		p.e.fund(p.at, 100*coin.TON)
	}
}

// somebody is an address that only receives.
func (e *economy) somebody(name string, i byte) *address.Address {
	id := sha256.Sum256([]byte{i})
	a := address.NewAddress(0, 0, id[:]).Bounce(false)
	e.names[a.StringRaw()] = name
	return a
}

// lot is randomness of its own for a part of the world.
func (e *economy) lot(what string) *rand.Rand {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %s", e.seed, what))
	return rand.New(rand.NewChaCha8(h))
}

// client counts for itself what it uses.
type client struct {
	person
	program *program // nil for people, who do it by hand
	lies    bool
	old     bool          // its disk is yesterday's
	tally   *ledger.Tally // of people
	mail    []*mail
	// own is the model's count of what each account used and may have used.
	own map[string]*count
	// papers are signed charges it was handed, by account.
	papers map[string]*contract.Envelope
	// most is what may come into the accounts whose proxy is not trusted.
	most map[string]coin.Nano
}

type count struct{ used, unsure int64 }

// newGateway is a client whose money a program looks after.
func (e *economy) newGateway(name string) *client {
	p := e.newProgram(name)
	c := &client{person: person{e: e, name: name, at: p.wallet}, program: p, most: map[string]coin.Nano{}, own: map[string]*count{}, papers: map[string]*contract.Envelope{}}
	p.killed = func() {
		for _, r := range e.requests {
			if r.client == c {
				r.spend = nil // nobody is there to hear it
			}
		}
	}
	return c
}

func (c *client) start() { c.program.begin(c.program.run(false)) }

// now is the clock of the client's machine.
func (c *client) now() time.Time {
	if c.program != nil {
		return c.program.now()
	}
	return time.Now()
}

// counts is the client's own book; nil if there is none at the moment.
func (c *client) counts() *ledger.Tally {
	switch {
	case c.program == nil:
		return c.tally
	case c.program.alive():
		return c.program.client.Tally()
	}
	return nil
}

func (e *economy) newClient(name string) *client {
	c := &client{person: e.person(name, 400*coin.TON), own: map[string]*count{}, papers: map[string]*contract.Envelope{}}
	c.tally = ledger.NewTally(ledger.TallyConfig{}, ledger.TallyState{})
	return c
}

// mail is a signed payment on its way to a peer.
type mail struct {
	page    *page
	payment []byte
	forged  bool // by somebody else's key
	asked   bool // it answers a question
	life    int  // of the process that asked
	// question is the moment of asking.
	question ledger.Asked
	db, max  int64
	at       time.Time
}

// life of the client's program; people have one.
func (c *client) life() int {
	if c.program != nil {
		return c.program.life
	}
	return 0
}

// polls asks a proxy for the totals; the answer may take its time.
func (c *client) polls(h *house) {
	tally := c.counts()
	if tally == nil || h.unhealthy() != "" {
		return
	}
	p := h.page()
	key := c.e.client(p.contracts, c).Address.StringRaw()
	asked := tally.Ask(key)
	if s, err := h.ledger.ClientStatus(c.account()); err == nil && tally.Knows(key) {
		c.mail = append(c.mail, &mail{page: p, payment: s.Payment, db: s.DB, max: s.Max, at: time.Now(), asked: true, life: c.life(), question: asked})
	}
}

func (c *client) count(key string) *count {
	if c.own[key] == nil {
		c.own[key] = &count{}
	}
	return c.own[key]
}

// believes says whether a total on the chain is one that this client can owe.
func (c *client) believes(p *page, at *address.Address, tokens int64) error {
	if c.lies || p.house.lies {
		return nil
	}
	own := c.count(at.StringRaw())
	if tokens > own.used+own.unsure {
		return fmt.Errorf("%s was charged for %d tokens; it counted %d, and %d more are in doubt", c.name, tokens, own.used, own.unsure)
	}
	return nil
}

// reads takes a payment out of its mail.
func (c *client) reads(m *mail) {
	d := c.e.client(m.page.contracts, c)
	tally := c.counts()
	if m.payment == nil || tally == nil {
		return
	}
	key := d.Address.StringRaw()
	if !tally.Knows(key) {
		return
	}
	switch {
	case m.forged || m.page.house.lies && m.at.IsZero():
	case m.asked && m.life == c.life():
		tally.Answered(key, m.max, m.question)
	default:
		tally.Said(key, m.max)
	}
	e, err := contract.VerifyPayment(m.payment, contract.Charge, d.Address, m.page.house.issuer.Public())
	if m.forged {
		if err == nil {
			c.e.broken("%s believes a charge that somebody else has signed", c.name)
		}
		return
	}
	if err != nil {
		c.e.broken("%s was handed a payment that is none: %v", c.name, err)
		return
	}
	err = tally.Accept(key, e.Tokens)
	if own := c.count(key); !m.page.house.lies && !m.page.house.diverged && !c.old && (err != nil || e.Tokens > own.used+own.unsure) {
		c.e.broken("%s was handed a charge of %d tokens; it counted %d, and %d more are in doubt (%v)", c.name, e.Tokens, own.used, own.unsure, err)
	}
	if own := c.count(key); !c.old && err == nil && e.Tokens > own.used+own.unsure {
		c.e.broken("%s believes a charge of %d tokens; it counted %d, and %d more are in doubt", c.name, e.Tokens, own.used, own.unsure)
	}
	switch old := c.papers[key]; {
	case err != nil && c.program != nil:
		c.program.client.Inflated(d.Address, m.payment, err)
	case err != nil:
	case c.program != nil:
		c.program.client.Charged(d.Address, e.Tokens, m.payment)
	case old == nil || old.Tokens < e.Tokens:
		c.papers[key] = e
	}
}

func (c *client) look(p *page) *contract.ClientState {
	s, err := c.e.book.clientState(c.e.client(p.contracts, c).Address)
	c.e.must(err)
	return s
}

// moves does something about the client's money on the chain.
func (c *client) moves(r *rand.Rand) {
	if c.program != nil {
		c.byHand()
		return
	}
	p := c.e.anyPage(r)
	if p == nil {
		return
	}
	d := c.e.client(p.contracts, c)
	s := c.look(p)
	where := c.e.called(d.Address)
	switch n := r.IntN(12); {
	case s == nil && p.over:
	case s == nil:
		c.e.tell("%s deploys %s", c.name, where)
		c.says(d.Address, 8*coin.TON/10, nil, d.Init)
	case n < 8 && s.Balance < 4*coin.TON && s.State == contract.Normal && p.gen == c.e.registryNow().ParamsVersion, n < 1 && s.State == contract.Normal:
		amount := coin.Nano(r.Int64N(int64(6 * coin.TON)))
		c.e.tell("%s tops %s up by %s", c.name, where, amount.Text())
		c.says(d.Address, amount+coin.TON, &contract.TopUp{QueryID: 1, Amount: amount, Excess: c.at}, nil)
	case n < 7:
		if e := c.papers[d.Address.StringRaw()]; e != nil {
			c.e.tell("%s charges itself for %d tokens at %s", c.name, e.Tokens, where)
			c.says(d.Address, 7*coin.TON/10, e.Repack(c.at), nil)
		}
	case n < 8 && r.IntN(3) == 0:
		c.e.tell("%s withdraws from %s", c.name, where)
		c.says(d.Address, 7*coin.TON/10, &contract.Withdraw{QueryID: 2, Excess: c.at}, nil)
	case n < 9 && (p.gen < c.e.registryNow().ParamsVersion || r.IntN(16) == 0):
		c.e.tell("%s asks for its money at %s", c.name, where)
		c.says(d.Address, 7*coin.TON/10, &contract.RequestRefund{QueryID: 3, Excess: c.at}, nil)
	case n < 10:
		stake := coin.Nano(r.Int64N(int64(4 * coin.TON)))
		c.e.tell("%s raises its stake at %s to %s", c.name, where, stake.Text())
		c.says(d.Address, 7*coin.TON/10, &contract.RaiseStake{QueryID: 4, Stake: stake, Excess: c.at}, nil)
	}
}

// worker serves, and keeps the newest payment it was handed.
type worker struct {
	person
	program *program // nil for people, who do it by hand
	lies    bool
	old     bool // its disk is yesterday's
	mail    []*mail
	papers  map[string]*contract.Envelope
	// served is what its answers were worth and, as far as it heard, booked.
	served map[string]int64
}

// newShop is a worker whose money a program looks after.
func (e *economy) newShop(name string) *worker {
	p := e.newProgram(name)
	return &worker{person: person{e: e, name: name, at: p.owner}, program: p, papers: map[string]*contract.Envelope{}, served: map[string]int64{}}
}

func (w *worker) start() { w.program.begin(w.program.run(true)) }

// takes says whether the worker takes work of a proxy.
func (w *worker) takes(h *house) bool {
	p := w.program
	if p == nil {
		return true
	}
	running := 0
	for _, r := range w.e.requests {
		if r.worker == w && r.stage == serving {
			running++
		}
	}
	if running >= maxRunning || !p.alive() || p.registry.Root().ParamsVersion != h.terms.ParamsVersion {
		return false
	}
	c := h.page().contracts
	w.e.must(p.worker.Open(p.registry.Root(), c.Proxy.Address, h.issuer.Public()))
	own := w.e.worker(c, w).Address
	err := p.worker.Behind(own)
	for _, a := range p.worker.Status().Accounts {
		if lost := a.Fee.Times(max(0, a.Worked-a.Worked/20-a.Signed)); err == nil && lost > maxUnpaid && own.Equals(contractOf(a.Contract)) {
			w.e.broken("%s works for %s, which has not signed for %s; %s is the limit", w.name, h.name, lost.Text(), maxUnpaid.Text())
		}
	}
	if err != nil {
		w.e.tell("%s takes no work of %s: %v", w.name, h.name, err)
		w.e.counts["work refused"]++
	}
	return err == nil
}

func (e *economy) newWorker(name string) *worker {
	return &worker{person: e.person(name, 60*coin.TON), papers: map[string]*contract.Envelope{}, served: map[string]int64{}}
}

func (w *worker) reads(m *mail) {
	d := w.e.worker(m.page.contracts, w)
	if m.payment == nil {
		return
	}
	e, err := contract.VerifyPayment(m.payment, contract.Payout, d.Address, m.page.house.issuer.Public())
	if m.forged {
		if err == nil {
			w.e.broken("%s believes a payment that somebody else has signed", w.name)
		}
		return
	}
	if err != nil {
		w.e.broken("%s was handed a payment that is none: %v", w.name, err)
		return
	}
	key := d.Address.StringRaw()
	if w.program != nil && w.program.alive() {
		w.program.worker.Promised(d.Address, e.Tokens, m.db, m.max, m.payment)
	}
	if old := w.papers[key]; w.program == nil && (old == nil || old.Tokens < e.Tokens) {
		w.papers[key] = e
	}
}

func (w *worker) moves(r *rand.Rand) {
	p := w.e.anyPage(r)
	if p == nil {
		return
	}
	if w.program != nil {
		if w.program.alive() {
			if said, err := w.program.worker.Payout(p.contracts.Proxy.Address.String()); err == nil {
				w.e.tell("%s is told to cash at %s: %s", w.name, w.e.called(p.contracts.Proxy.Address), said)
			}
		}
		return
	}
	d := w.e.worker(p.contracts, w)
	where := w.e.called(d.Address)
	e := w.papers[d.Address.StringRaw()]
	s, err := w.e.book.workerState(d.Address)
	w.e.must(err)
	switch {
	case p.over && s == nil:
	case s == nil:
		w.e.tell("%s deploys %s", w.name, where)
		w.says(d.Address, 3*coin.TON/10, nil, d.Init)
	case e != nil && e.Tokens > int64(s.Tokens):
		w.e.tell("%s cashes %d tokens at %s", w.name, e.Tokens, where)
		w.says(d.Address, 7*coin.TON/10, e.Repack(w.at), nil)
	case s.Owed > 0:
		w.e.tell("%s collects %d tokens at %s", w.name, s.Owed, where)
		w.says(d.Address, 7*coin.TON/10, &contract.Collect{QueryID: 5, Tokens: s.Owed, Excess: w.at}, nil)
	}
}
