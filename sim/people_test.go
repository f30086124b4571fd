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
	"github.com/opencocoon/cocoon/ton"
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
	p.e.must(p.e.chain.external(external))
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
	lies  bool
	tally *ledger.Tally
	mail  []*mail
	// own is the model's count of what each account used and may have used.
	own map[string]*count
	// papers are signed charges it was handed, by account.
	papers map[string]*contract.Envelope
}

type count struct{ used, unsure int64 }

func (e *economy) newClient(name string) *client {
	c := &client{person: e.person(name, 400*coin.TON), own: map[string]*count{}, papers: map[string]*contract.Envelope{}}
	c.tally = ledger.NewTally(ledger.TallyConfig{}, ledger.TallyState{})
	return c
}

// mail is a signed payment on its way to a peer.
type mail struct {
	page    *page
	payment []byte
	max     int64
	at      time.Time
}

// lineLife is how old what a connection brings can be: one that stands still is
// closed. What is signed may come later, by other ways.
const lineLife = time.Minute

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
	if m.payment == nil {
		return
	}
	key := d.Address.StringRaw()
	if time.Since(m.at) < lineLife {
		c.tally.Said(key, m.max)
	}
	e, err := contract.VerifyPayment(m.payment, contract.Charge, d.Address, m.page.house.issuer.Public())
	if err != nil {
		c.e.broken("%s was handed a payment that is none: %v", c.name, err)
		return
	}
	err = c.tally.Accept(key, e.Tokens)
	if own := c.count(key); !m.page.house.lies && (err != nil || e.Tokens > own.used+own.unsure) {
		c.e.broken("%s was handed a charge of %d tokens; it counted %d, and %d more are in doubt (%v)", c.name, e.Tokens, own.used, own.unsure, err)
	}
	if old := c.papers[key]; err == nil && (old == nil || old.Tokens < e.Tokens) {
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
	case n < 5 && s.Balance < 3*coin.TON && s.State == contract.Normal:
		amount := coin.Nano(r.Int64N(int64(5 * coin.TON)))
		c.e.tell("%s tops %s up by %s", c.name, where, amount.Text())
		c.says(d.Address, amount+coin.TON, &contract.TopUp{QueryID: 1, Amount: amount, Excess: c.at}, nil)
	case n < 7:
		if e := c.papers[d.Address.StringRaw()]; e != nil {
			c.e.tell("%s charges itself for %d tokens at %s", c.name, e.Tokens, where)
			c.says(d.Address, 7*coin.TON/10, e.Repack(c.at), nil)
		}
	case n < 8:
		c.e.tell("%s withdraws from %s", c.name, where)
		c.says(d.Address, 7*coin.TON/10, &contract.Withdraw{QueryID: 2, Excess: c.at}, nil)
	case n < 9 && (p.gen < c.e.registryNow().ParamsVersion || r.IntN(6) == 0):
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
	lies   bool
	mail   []*mail
	papers map[string]*contract.Envelope
	// served is what its answers were worth and, as far as it heard, booked.
	served map[string]int64
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
	if err != nil {
		w.e.broken("%s was handed a payment that is none: %v", w.name, err)
		return
	}
	key := d.Address.StringRaw()
	if old := w.papers[key]; old == nil || old.Tokens < e.Tokens {
		w.papers[key] = e
	}
}

func (w *worker) moves(r *rand.Rand) {
	p := w.e.anyPage(r)
	if p == nil {
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

var _ = ton.Active
