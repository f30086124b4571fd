package contract_test

import (
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// pick is one of several, by lot.
func pick[T any](h *history, of ...T) T { return of[h.rng.IntN(len(of))] }

// run plays some steps and then the end.
func (h *history) run(steps int) error {
	for h.step = 1; h.step <= steps; h.step++ {
		if err := h.move(); err != nil {
			return err
		}
	}
	return h.end()
}

func (h *history) move() error {
	g := h.gens[len(h.gens)-1-h.rng.IntN(min(2, len(h.gens)))]
	switch n := h.rng.IntN(100); {
	case n < 14:
		return h.deposit(g)
	case n < 26:
		h.use(g)
		return nil
	case n < 32:
		h.signLast(g)
		return nil
	case n < 56:
		return h.submit()
	case n < 68:
		return h.clientAsks(g)
	case n < 74:
		return h.workerAsks(g)
	case n < 83:
		return h.proxyOwner(g)
	case n < 88:
		return h.lie(g)
	case n < 92:
		return h.wait()
	case n < 94:
		return h.newGeneration()
	}
	return h.release()
}

// gas is what a message brings beside what it pays: mostly enough, often about
// what the contracts ask for or keep.
func (h *history) gas() coin.Nano {
	return pick(h, 700*milli, 700*milli, ton(1), 500*milli, 200*milli,
		100*milli+coin.Nano(h.rng.Int64N(int64(30*milli))), 200*milli+coin.Nano(h.rng.Int64N(int64(30*milli))),
		100*milli+1, 100*milli, 100*milli-1, 50*milli, coin.Nano(h.rng.Int64N(int64(10*milli))))
}

// change is where the change shall go: to whom it may, or where it cannot.
func (h *history) change(g *generation) *cell.Builder {
	return pick(h,
		addr(stranger), addr(stranger), addr(users[0]), addr(g.proxy.Address), addr(g.workers[0].Address), addr(g.clients[1].Address), addr(h.root),
		addr(address.NewAddress(0, 255, make([]byte, 32))), badChange["none"], badChange["external"], badChange["in workchain 5"], noChange["of variable length"],
	)
}

func (h *history) amount() coin.Nano {
	return pick(h, 0, 1, ton(5), ton(15), ton(16), ton(40), coin.Nano(h.rng.Int64N(int64(ton(60)))), coin.Nano(h.rng.Int64N(int64(ton(60)))))
}

// person is mostly who may, sometimes somebody else.
func (h *history) person(who *address.Address) *address.Address {
	if h.rng.IntN(5) == 0 {
		return pick(h, stranger, users[0], users[1], hands[0], operators, founders)
	}
	return who
}

func (h *history) deposit(g *generation) error {
	i, v := h.rng.IntN(len(users)), h.amount()
	from, what, body := h.person(users[i]), "top up", join(head(0xf172e6c2), coins(v), h.change(g))
	if h.rng.IntN(4) == 0 {
		what, body = "secret and top up", join(head(0x8473b408), coins(v), field(h.rng.Uint64(), 256), h.change(g))
	}
	return h.deliver(fmt.Sprintf("%s of %s", what, v), from, g.clients[i].Address, v+h.gas(), body.EndCell(), g.clients[i].Init, true)
}

// use is a request answered: the same tokens for the client and the worker.
func (h *history) use(g *generation) {
	c, w := h.rng.IntN(len(users)), h.rng.IntN(len(hands))
	tokens := pick(h, 1, 1000, h.rng.Int64N(1_000_000_000), h.rng.Int64N(3_000_000_000))
	g.used[c], g.earned[w] = g.used[c]+tokens, g.earned[w]+tokens
	h.tell("%s uses %d tokens of %s", humans[users[c].StringRaw()], tokens, humans[hands[w].StringRaw()])
	h.sign(g, contract.Charge, g.clients[c].Address, g.used[c])
	h.sign(g, contract.Payout, g.workers[w].Address, g.earned[w])
}

func (h *history) sign(g *generation, kind contract.PaymentKind, at *address.Address, tokens int64) *contract.Envelope {
	payment := contract.Payment{Kind: kind, QueryID: h.rng.Uint64(), Excess: stranger, Tokens: tokens, Contract: at}
	e, err := payment.Sign(g.key)
	if err != nil {
		panic(err)
	}
	h.papers = append(h.papers, e)
	return e
}

// signLast signs what ends an account or the proxy's contract. In life such
// papers do not leave the proxy; here everybody has them.
func (h *history) signLast(g *generation) {
	c, w := h.rng.IntN(len(users)), h.rng.IntN(len(hands))
	switch h.rng.IntN(4) {
	case 0:
		h.sign(g, contract.GrantRefund, g.clients[c].Address, g.used[c])
	case 1:
		h.sign(g, contract.LastPayout, g.workers[w].Address, g.earned[w])
	case 2:
		h.sign(g, contract.CloseRequest, g.proxy.Address, 0)
		fallthrough
	case 3:
		h.sign(g, contract.CloseComplete, g.proxy.Address, 0)
	}
}

// submit brings a paper that was signed some time, again perhaps: to where it
// belongs, with any value, and the change to whom the bearer likes.
func (h *history) submit() error {
	if len(h.papers) == 0 {
		return nil
	}
	e := h.papers[len(h.papers)-1-h.rng.IntN(min(len(h.papers), pick(h, 3, 8, 1000)))]
	g, to := h.gens[h.rng.IntN(len(h.gens))], e.Contract
	switch h.rng.IntN(20) {
	case 0:
		to = pick(h, g.clients[0].Address, g.workers[0].Address, g.proxy.Address)
	case 1:
		e = forged(e)
	}
	return h.bring(e, to, h.gas(), h.change(g))
}

// forged is the same paper under a stranger's signature, and for more.
func forged(e *contract.Envelope) *contract.Envelope {
	payment := e.Payment
	if payment.Tokens > 0 {
		payment.Tokens += 1_000_000
	}
	again, err := payment.Sign(testKey(66))
	if err != nil {
		panic(err)
	}
	return again
}

func (h *history) bring(e *contract.Envelope, to *address.Address, value coin.Nano, change *cell.Builder) error {
	what := fmt.Sprintf("%s of %d", e.Kind, e.Tokens)
	return h.deliver(what, pick(h, stranger, users[0], hands[0], operators), to, value, redirect(e, change), h.initOf(to), true)
}

// initOf goes along with every message to a contract that may not be there yet.
func (h *history) initOf(at *address.Address) *tlb.StateInit {
	for _, g := range h.gens {
		for _, d := range append(append([]*contract.Deployment{g.proxy}, g.clients...), g.workers...) {
			if sameAddress(d.Address, at) {
				return d.Init
			}
		}
	}
	return nil
}

func (h *history) clientAsks(g *generation) error {
	i := h.rng.IntN(len(users))
	what := pick(h, "withdraw", "withdraw", "request refund", "request refund", "request a part", "raise stake", "register", "secret", "left over")
	body := map[string]*cell.Builder{
		"withdraw": join(head(0xda068e78), h.change(g)), "request refund": join(head(0xfafa6cc1), h.change(g)),
		"request a part": join(head(0xfafa6cc1), h.change(g), coins(h.amount())),
		"raise stake":    join(head(0x6a1f6a60), coins(h.amount()), h.change(g)), "register": join(head(0xc45f9f3b), field(5, 64), h.change(g)),
		"secret": join(head(0xa9357034), field(5, 256), h.change(g)), "left over": head(0x155ee04f),
	}[what]
	return h.deliver(what, h.person(users[i]), g.clients[i].Address, h.gas(), body.EndCell(), g.clients[i].Init, true)
}

func (h *history) workerAsks(g *generation) error {
	i := h.rng.IntN(len(hands))
	owed := uint64(h.book.parties[g.workers[i].Address.StringRaw()].(*workerBook).owed)
	what := pick(h, "register", "left over", "nothing", "collect", "collect", "collect")
	body := map[string]*cell.Builder{
		"register": join(head(0x26ed7f65), h.change(g)), "left over": head(0x155ee04f), "nothing": cell.BeginCell(),
		"collect": join(head(0x5496813c), field(pick(h, owed, owed/2, owed+1, 1), 64), h.change(g)),
	}[what]
	return h.deliver(what, h.person(hands[i]), g.workers[i].Address, h.gas(), body.EndCell(), g.workers[i].Init, true)
}

func (h *history) proxyOwner(g *generation) error {
	v := h.amount()
	what := pick(h, "payout request", "payout request", "comment w", "increase stake", "increase stake", "increase stake", "comment c", "owner close", "owner finish", "save state")
	body := map[string]*cell.Builder{
		"payout request": join(head(0x7610e6eb), h.change(g)), "comment w": field('w', 40), "increase stake": join(head(0x9713f187), coins(v), h.change(g)),
		"comment c": field('c', 40), "owner close": join(head(0xb51d5a01), h.change(g)), "owner finish": head(0x155ee04f),
		"save state": join(head(0x9a1247c0), field(0x53109c0f, 32), field(7, 32), field(9, 256)),
	}[what]
	value := h.gas()
	if what == "increase stake" {
		value += v
	}
	return h.deliver(what, h.person(operators), g.proxy.Address, value, body.EndCell(), g.proxy.Init, true)
}

// lie is a message that only a contract may send, from a person.
func (h *history) lie(g *generation) error {
	part := &contract.ClientPart{Kind: pick(h, contract.PartTopUp, contract.PartRefundGranted, contract.PartRefundForced), Amount: h.amount(), Excess: stranger}
	body := pick(h,
		cellOf(&contract.WorkerRequest{Owner: hands[0], Part: &contract.PayoutPart{Worker: h.amount(), Proxy: h.amount(), Excess: stranger}}),
		cellOf(&contract.ClientRequest{Owner: users[0], Part: part}),
		cell.BeginCell().MustStoreUInt(0xfffffffe, 32).MustStoreRef(cellOf(&contract.ClientRequest{Owner: users[0], Part: part})).EndCell(),
		raw(0xdeadbeef), field(5, 17).EndCell(),
	)
	to := pick(h, g.proxy.Address, g.clients[0].Address, g.workers[0].Address)
	return h.deliver("a lie", pick(h, stranger, users[0], hands[0]), to, h.gas(), body, nil, true)
}

// wait is seconds to months. In all it stays below what freezes an account.
func (h *history) wait() error {
	d := pick(h, time.Second, time.Hour, 12*time.Hour, day, day, 32*day, 200*day)
	if h.year += d; h.year > 500*day {
		return nil
	}
	h.tell("%s later", d)
	if _, err := h.chain.Advance(d); err != nil {
		return err
	}
	return h.book.compare(h.chain)
}

// newGeneration is a change of prices, after which every contract is anew.
func (h *history) newGeneration() error {
	if len(h.gens) == 3 {
		return nil
	}
	price := 1 + h.rng.Int64N(40)
	change := &contract.ChangePrice{Price: coin.Nano(price), Fee: coin.Nano(h.rng.Int64N(price + 1))}
	if err := h.deliver("new prices", founders, h.root, 100*milli, cellOf(change), nil, true); err != nil {
		return err
	}
	return h.generation()
}
