package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// liars makes some of the people what they are: bob as a client, will as a
// worker, pete as a proxy.
func (e *economy) liars() {
	if !e.climate.liars {
		return
	}
	e.clients[1].lies = true
	e.workers[1].lies = true
	if len(e.houses) > 1 {
		e.houses[1].lies = e.r.IntN(2) == 0
	}
	e.mallory = e.person("mallory", 500*coin.TON)
	e.tell("bob and will lie, and pete: %v", len(e.houses) > 1 && e.houses[1].lies)
}

// lie is what somebody who may say anything says to anybody's contract.
func (e *economy) lie() {
	p := e.anyPage(e.r)
	if p == nil {
		return
	}
	who := []*person{&e.mallory, &e.clients[1].person, &e.workers[1].person}[e.r.IntN(3)]
	c, w := e.clients[e.r.IntN(len(e.clients))], e.workers[e.r.IntN(len(e.workers))]
	proxy, client, worker := p.contracts.Proxy.Address, e.client(p.contracts, c).Address, e.worker(p.contracts, w).Address
	to := []*address.Address{proxy, client, worker, p.house.wallet, e.root}[e.r.IntN(5)]
	what, body := e.lies(p, who, c, to, client, worker)
	value := []coin.Nano{coin.TON, coin.TON / 10, coin.TON / 100, 1}[e.r.IntN(4)]
	e.counts["lies"]++
	e.tell("%s says to %s: %s", who.name, e.called(to), what)
	who.says(to, value, body, nil)
}

func (e *economy) lies(p *page, who *person, c *client, to, client, worker *address.Address) (string, contract.Body) {
	r := e.r
	tokens := []int64{1, 1_000_000, 1 << 40, 1<<63 - 1}[r.IntN(4)]
	key := who.key // its own, which is not the proxy's
	sign := func(kind contract.PaymentKind, at *address.Address) contract.Body {
		if kind == contract.CloseRequest || kind == contract.CloseComplete {
			tokens = 0
		}
		s, err := (&contract.Payment{Kind: kind, QueryID: r.Uint64(), Excess: who.at, Tokens: tokens, Contract: at}).Sign(key)
		e.must(err)
		return s
	}
	if r.IntN(4) == 0 { // by mail
		kind, at := contract.Charge, client
		boxes := []*[]*mail{&c.mail}
		if r.IntN(2) == 0 {
			w := e.workers[e.r.IntN(len(e.workers))]
			kind, at, boxes = contract.Payout, e.worker(p.contracts, w).Address, []*[]*mail{&w.mail}
		}
		forged, err := sign(kind, at).(*contract.Envelope).ForPeer()
		e.must(err)
		*boxes[0] = append(*boxes[0], &mail{page: p, payment: forged, forged: true})
	}
	switch r.IntN(16) {
	case 0:
		return "a forged charge", sign(contract.Charge, client)
	case 1:
		return "a forged grant", sign(contract.GrantRefund, client)
	case 2:
		return "a forged payout", sign(contract.Payout, worker)
	case 3:
		return "a forged last payout", sign(contract.LastPayout, worker)
	case 4:
		return "a forged close", sign([]contract.PaymentKind{contract.CloseRequest, contract.CloseComplete}[r.IntN(2)], p.contracts.Proxy.Address)
	case 5:
		return "a note of a proxy", &contract.SaveState{QueryID: 1, Seqno: uint32(r.IntN(20)), Session: [32]byte{byte(r.IntN(256))}}
	case 6:
		return "withdraw", &contract.Withdraw{QueryID: 1, Excess: who.at}
	case 7:
		return "refund me", &contract.RequestRefund{QueryID: 1, Excess: who.at}
	case 8:
		stake := coin.Nano(1) << r.IntN(63)
		return "a stake of " + stake.Text(), &contract.RaiseStake{QueryID: 1, Stake: stake, Excess: who.at}
	case 9:
		return "pay your owner", &contract.PayoutRequest{QueryID: 1, Excess: who.at}
	case 10:
		return "collect", &contract.Collect{QueryID: 1, Tokens: uint64(tokens), Excess: who.at}
	case 11: // somebody else's paper
		for _, o := range e.clients {
			if paper := o.papers[client.StringRaw()]; paper != nil {
				return fmt.Sprintf("a charge of %d tokens that is another's", paper.Tokens), paper.Repack(who.at)
			}
		}
	case 12:
		return "the client's request to the proxy", &contract.ClientRequest{QueryID: 1, Owner: c.at, Shown: contract.Shown{Stake: coin.TON, Balance: 1000 * coin.TON}, Part: &contract.ClientPart{Kind: contract.PartTopUp, Amount: 100 * coin.TON, Excess: who.at}}
	case 13:
		return "a new price", &contract.ChangePrice{QueryID: 1, Price: 1, Fee: 1}
	case 14:
		return "close", &contract.OwnerClose{QueryID: 1, Excess: who.at}
	}
	return "nonsense", nonsense{r}
}

// nonsense is a body that means nothing.
type nonsense struct{ r *rand.Rand }

func (n nonsense) Cell() (*cell.Cell, error) {
	b := cell.BeginCell()
	for range n.r.IntN(6) {
		b.MustStoreUInt(n.r.Uint64(), 64)
	}
	return b.EndCell(), nil
}

// defraud is what a proxy with its own true key may do.
func (e *economy) defraud(h *house) {
	p := e.anyPage(e.r)
	if p == nil || p.house != h || !h.lies {
		return
	}
	c, w := e.clients[max(e.r.IntN(len(e.clients)), e.r.IntN(len(e.clients)))], e.workers[e.r.IntN(len(e.workers))]
	own := e.client(p.contracts, c).Address
	more := p.most()[c.account()] + 1 + e.r.Int64N(50_000_000)
	charge, err := (&contract.Payment{Kind: contract.Charge, QueryID: 1, Excess: e.mallory.at, Tokens: more, Contract: own}).Sign(h.key)
	e.must(err)
	e.counts["frauds"]++
	switch e.r.IntN(4) {
	case 0:
		paper, err := charge.ForPeer()
		e.must(err)
		e.tell("%s hands %s a charge of %d tokens", h.name, c.name, more)
		c.mail = append(c.mail, &mail{page: p, payment: paper})
	case 1:
		e.tell("%s charges %s for %d tokens", h.name, c.name, more)
		e.mallory.says(own, 7*coin.TON/10, charge, nil)
	case 2:
		own := e.worker(p.contracts, w)
		more := p.most()[w.account()] + 1 + e.r.Int64N(50_000_000)
		pay, err := (&contract.Payment{Kind: contract.Payout, QueryID: 1, Excess: e.mallory.at, Tokens: more, Contract: own.Address}).Sign(h.key)
		e.must(err)
		e.tell("%s pays %s for %d tokens", h.name, w.name, more)
		e.mallory.says(own.Address, 7*coin.TON/10, pay, own.Init)
	case 3:
		close, err := (&contract.Payment{Kind: contract.CloseRequest, QueryID: 1, Excess: e.mallory.at, Contract: p.contracts.Proxy.Address}).Sign(h.key)
		e.must(err)
		e.tell("%s begins to close %s", h.name, e.called(p.contracts.Proxy.Address))
		e.mallory.says(p.contracts.Proxy.Address, coin.TON, close, nil)
	}
}

// checkLosses: a proxy that signs too much gets no more money of a client that
// a program looks after, one that signs too little no more work.
func (e *economy) checkLosses() {
	for _, c := range e.clients {
		if c.program == nil || !c.program.alive() {
			continue
		}
		for _, a := range c.program.client.Status().Accounts {
			at := contractOf(a.Contract).StringRaw()
			switch t := e.topped(at); {
			case a.Disputed == "":
				delete(c.most, at)
			case c.most[at] == 0:
				c.most[at] = t + a.Stake + coin.TON // one payment may be under way
			case t > c.most[at]:
				e.broken("%s goes on paying in to a proxy that it does not trust (%s): %s", c.name, a.Disputed, t.Text())
			}
		}
	}
	for _, w := range e.workers {
		if w.program == nil || !w.program.alive() || w.old {
			continue
		}
		for _, a := range w.program.worker.Status().Accounts {
			lost := a.Fee.Times(max(0, a.Worked-a.Worked/20-a.Signed))
			if most := maxUnpaid + a.Fee.Times(maxRunning*biggest); lost > most {
				e.broken("%s has worked for %s that nothing was signed for; %s is the limit, and %d answers of at most %s run at a time", w.name, lost.Text(), maxUnpaid.Text(), maxRunning, a.Fee.Times(biggest).Text())
			}
		}
	}
}

// topped is what came into a client's contract.
func (e *economy) topped(at string) coin.Nano { return e.book.topped[at] }

// biggest is the most that one answer can cost, in tokens.
const biggest = beyond * 60_000_200

// maxRunning is how many requests a worker serves at a time.
const maxRunning = 4
