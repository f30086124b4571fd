package contract_test

import (
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

type workerBook struct {
	b            *book
	g            *generation
	at, owner    *address.Address
	state        contract.State
	tokens, owed int64
	paid         coin.Nano // to the owner
	claim
}

func (b *book) worker(g *generation, i int, owner *address.Address) {
	d := g.workers[i]
	b.add(fmt.Sprintf("worker %s %d", humans[owner.StringRaw()], g.rules.ParamsVersion), d, &workerBook{b: b, g: g, at: d.Address, owner: owner})
}

func (w *workerBook) observe(h *happened) error {
	if h.in.Bounced {
		r, claim := h.body.(*contract.WorkerRequest)
		if !claim || r.Part == nil {
			return nil
		}
		if !h.ok {
			return fmt.Errorf("a claim of %s came back and was not taken", r.Part.Worker)
		}
		if price := w.g.rules.PricePerToken; price > 0 {
			w.owed += int64((r.Part.Worker + r.Part.Proxy) / price)
		}
		return nil
	}
	if !h.ok {
		return nil
	}
	switch m := h.body.(type) {
	case *contract.Envelope:
		again := w.owed > 0 || m.Kind == contract.LastPayout
		switch {
		case m.Verify(w.at, publicOf(w.g.key)) != nil || m.Kind != contract.Payout && m.Kind != contract.LastPayout:
			return errors.New("a payment was accepted that is not the proxy's")
		case m.Tokens < w.tokens || m.Tokens == w.tokens && !again || w.state == contract.Closed && w.owed == 0:
			return fmt.Errorf("counter %d was accepted after %d in state %s", m.Tokens, w.tokens, w.state)
		}
		w.tokens, w.owed = m.Tokens, 0
		if m.Kind == contract.LastPayout {
			w.state = contract.Closed
		}
	case *contract.Collect:
		if h.sender != w.owner.StringRaw() || m.Tokens == 0 || m.Tokens > uint64(w.owed) {
			return fmt.Errorf("%d of %d tokens owed were collected", m.Tokens, w.owed)
		}
		w.owed -= int64(m.Tokens)
	case *contract.WorkerRegister:
		if h.sender != w.owner.StringRaw() {
			return errors.New("not the owner")
		}
	case *contract.OwnerFinish, contract.Empty, *contract.SaveState:
	default:
		return errors.New("must not succeed")
	}
	return nil
}

// compare: whatever the counter rose by is paid, owed, or under way.
func (w *workerBook) compare(a *tlb.AccountState) error {
	s, err := contract.ParseWorkerState(a.StateInit.Data)
	if err != nil {
		return err
	}
	fee := w.g.rules.WorkerFeePerToken
	if due := fee.Times(w.tokens); due != w.paid+w.flying[0]+fee.Times(w.owed) {
		return fmt.Errorf("earned %s; paid %s, owed %s, under way %s", due, w.paid, fee.Times(w.owed), w.flying[0])
	}
	if err := w.claim.compare(); err != nil {
		return err
	}
	return differ("state", s.State, w.state, "counter", s.Tokens, w.tokens, "owed", s.Owed, w.owed)
}
