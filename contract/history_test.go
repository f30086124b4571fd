package contract_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// history is what happened under one seed: people and nodes do whatever they
// may and much that they may not, on a chain that may lose, repeat and delay
// messages, and a book is kept of what should be there after each step.
type history struct {
	seed  uint64
	rng   *rand.Rand
	chain *localnet.Chain
	book  *book
	story strings.Builder
	step  int

	root   *address.Address
	gens   []*generation
	papers []*contract.Envelope // signed so far, in whoever's hands

	faults float64      // how likely a message between contracts goes astray
	held   []*cell.Cell // messages delayed
	year   time.Duration
}

// generation is the contracts made from one set of parameters.
type generation struct {
	rules   *contract.Root
	proxy   *contract.Deployment
	key     ed25519.PrivateKey
	clients []*contract.Deployment
	workers []*contract.Deployment
	// used is what clients have used, earned what workers have: the proxy's
	// own count, which it signs.
	used, earned []int64
}

// Who takes part: addresses without code, which take what they are sent.
// Everybody's wallet is where money comes from and goes to.
var (
	founders  = human("founder")
	operators = human("operator")
	users     = []*address.Address{human("alice"), human("bob"), human("carol")}
	hands     = []*address.Address{human("wendy"), human("will")}
	stranger  = human("stranger")
)

var humans = map[string]string{}

func human(name string) *address.Address {
	hash := cell.BeginCell().MustStoreSlice([]byte(name), uint(len(name))*8).EndCell().Hash()
	a := address.NewAddress(0, 0, hash)
	humans[a.StringRaw()] = name
	return a
}

// prepare deploys the registry and the first generation. All histories begin
// from there.
func (h *history) prepare() error {
	r := founding()
	r.Owner = founders
	d, err := r.Deploy(contract.OurCodes().Root)
	if err != nil {
		return err
	}
	h.root = d.Address
	h.book.names[d.Address.StringRaw()] = "root"
	if err := h.deliver("the registry is founded", founders, d.Address, coin.TON, nil, d.Init, false); err != nil {
		return err
	}
	return h.generation()
}

// generation reads the registry and deploys what its parameters ask for. The
// last client and the last worker come into being with their first message,
// and so does the proxy now and then: it has clients before it is there.
func (h *history) generation() error {
	s, err := h.chain.Account(h.root)
	if err != nil {
		return err
	}
	rules, err := contract.ParseRoot(s.StateInit.Data)
	if err != nil {
		return err
	}
	g := &generation{rules: rules, key: testKey(byte(100 + len(h.gens)))}
	if g.proxy, err = rules.DeployProxy(operators, h.root, publicOf(g.key)); err != nil {
		return err
	}
	h.book.proxy(g, len(h.gens))
	for i, u := range users {
		d, err := rules.DeployClient(u, g.proxy.Address, publicOf(g.key))
		if err != nil {
			return err
		}
		g.clients, g.used = append(g.clients, d), append(g.used, 0)
		h.book.client(g, i, u)
	}
	for i, w := range hands {
		d, err := rules.DeployWorker(w, g.proxy.Address, publicOf(g.key))
		if err != nil {
			return err
		}
		g.workers, g.earned = append(g.workers, d), append(g.earned, 0)
		h.book.worker(g, i, w)
	}
	h.gens = append(h.gens, g)
	for i, d := range []*contract.Deployment{g.proxy, g.clients[0], g.clients[1], g.workers[0]} {
		if i == 0 && h.rng.IntN(4) == 0 {
			continue
		}
		if err := h.deliver("deployed", founders, d.Address, 300*milli, nil, d.Init, false); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) tell(format string, args ...any) {
	fmt.Fprintf(&h.story, "%3d. %s\n", h.step, fmt.Sprintf(format, args...))
}

// deliver has a message sent out of a wallet, and books what it led to.
func (h *history) deliver(what string, from, to *address.Address, value coin.Nano, body *cell.Cell, init *tlb.StateInit, bounce bool) error {
	m, err := tlb.ToCell(&tlb.InternalMessage{
		IHRDisabled: true, Bounce: bounce, SrcAddr: from, DstAddr: to, Amount: amount(value), Body: plain(body), StateInit: init,
	})
	if err != nil {
		return err
	}
	h.book.minted.Add(h.book.minted, big.NewInt(int64(value)))
	return h.pass(fmt.Sprintf("%s: %s to %s with %s", what, humans[from.StringRaw()], h.book.called(to), value), m)
}

// pass puts a message on the chain.
func (h *history) pass(what string, m *cell.Cell) error {
	trace, err := h.chain.Deliver(m)
	if err != nil {
		return err
	}
	txs, err := trace.Transactions()
	if err != nil {
		return err
	}
	var codes []string
	var wrong error
	for _, tx := range txs {
		code, err := h.book.observe(tx)
		codes, wrong = append(codes, code), errors.Join(wrong, err)
	}
	h.tell("%s → %s", what, strings.Join(codes, ", "))
	return errors.Join(wrong, h.book.compare(h.chain))
}

// route is the chain's way with a message between contracts.
func (h *history) route(c *cell.Cell) []*cell.Cell {
	if h.faults == 0 || h.rng.Float64() >= h.faults {
		return []*cell.Cell{c}
	}
	var m tlb.InternalMessage
	if err := tlb.Parse(&m, c); err != nil {
		panic(err)
	}
	switch h.rng.IntN(4) {
	case 0:
		h.tell("  a message is lost")
		h.book.strays(&m, +1)
		return nil
	case 1:
		h.tell("  a message arrives twice")
		h.book.strays(&m, -1)
		return []*cell.Cell{c, c}
	case 2:
		h.tell("  a message arrives, and will again")
		h.held = append(h.held, c)
		return []*cell.Cell{c}
	}
	h.tell("  a message is delayed")
	h.book.strays(&m, +1)
	h.held = append(h.held, c)
	return nil
}

// release delivers one of the delayed messages, on time or once too often.
func (h *history) release() error {
	if len(h.held) == 0 {
		return nil
	}
	i := h.rng.IntN(len(h.held))
	c := h.held[i]
	h.held = append(h.held[:i:i], h.held[i+1:]...)
	var m tlb.InternalMessage
	if err := tlb.Parse(&m, c); err != nil {
		return err
	}
	h.book.strays(&m, -1)
	return h.pass("a delayed message arrives", c)
}
