package settlement

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// follow reads a proxy contract's transactions from where the ledger is, in
// order, until ctx ends. The ledger's cursor moves on only when all that
// transactions caused is in the ledger, so a crash repeats some and skips none.
func (p *Proxy) follow(ctx context.Context, g *generation) {
	watcher := ton.Watcher{Chain: p.cfg.Chain, Trouble: func(err error) { p.hear(g, err) }}
	for ctx.Err() == nil {
		lt, hash := p.cfg.Ledger.Followed(g.Number)
		err := watcher.Watch(ctx, g.contracts.Proxy.Address, ton.TxID{LT: lt, Hash: hash}, func(u ton.Update) error { return p.update(ctx, g, u) })
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, ton.ErrGap) {
			err = fmt.Errorf("%w: without them it is not known whether this ledger is the newest: use a liteserver that keeps the history", err)
		}
		p.mu.Lock()
		p.fail("following "+g.Contract, err)
		p.mu.Unlock()
		if pause(ctx, p.cfg.RetryAfter) != nil {
			return
		}
	}
}

// hear notes whether the chain can be read.
func (p *Proxy) hear(g *generation, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.trouble
	p.trouble, g.behind = "", err != nil
	if err != nil {
		p.trouble = err.Error()
	}
	switch {
	case err != nil && was == "":
		p.log.Warn("settlement: the chain cannot be read; what is committed is served on", "error", err)
	case err == nil && was != "":
		p.log.Info("settlement: the chain can be read again")
	}
}

// touched is what transactions say has changed. It is read in the order of
// names, so that a story can be told again.
type touched struct {
	clients, workers map[string]*address.Address
	nonces           []said
}

// said is a client's word on chain.
type said struct {
	wallet string
	nonce  uint64
}

// update takes over what happened to a proxy's contract.
func (p *Proxy) update(ctx context.Context, g *generation, u ton.Update) error {
	t := touched{clients: map[string]*address.Address{}, workers: map[string]*address.Address{}}
	for _, tx := range u.Transactions {
		if err := p.transaction(g, tx, &t); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.clients)) {
		if err := p.readClient(ctx, g, t.clients[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.workers)) {
		if err := p.readWorker(ctx, g, t.workers[name]); err != nil {
			return err
		}
	}
	p.registered(g, t.nonces)
	return p.seeProxy(g, u)
}

// transaction looks at one message that the contract got. What is malformed,
// or comes from whoever it does not claim to be, is nothing to us.
func (p *Proxy) transaction(g *generation, tx *ton.Transaction, t *touched) error {
	in := tx.In
	if in == nil || in.From == nil || in.From.Type() != address.StdAddress || in.Bounced {
		return nil
	}
	body, err := contract.ParseBody(in.Body)
	if err != nil {
		return nil
	}
	switch m := body.(type) {
	case *contract.SaveState:
		if in.From.Equals(p.cfg.Wallet.Address()) && m.Seqno <= math.MaxInt32 {
			return p.noteSeen(int32(m.Seqno), m.Session)
		}
	case *contract.ClientRequest:
		d, err := g.contracts.Client(m.Owner)
		if err != nil || !d.Address.Equals(in.From) {
			return nil
		}
		t.clients[m.Owner.StringRaw()] = m.Owner
		if err := p.returned(g, tx, m); err != nil {
			return err
		}
		if m.Part != nil && m.Part.Kind == contract.PartRegister {
			t.nonces = append(t.nonces, said{m.Owner.StringRaw(), m.Part.Nonce})
		} else if tx.Aborted {
			p.doubt(g, doubt{client: m.Owner, looks: bounceLooks})
		}
	case *contract.WorkerRequest:
		d, err := g.contracts.Worker(m.Owner)
		if err != nil || !d.Address.Equals(in.From) {
			return nil
		}
		t.workers[m.Owner.StringRaw()] = m.Owner
		if tx.Aborted {
			p.doubt(g, doubt{worker: m.Owner, looks: bounceLooks})
		}
	}
	return nil
}

// returned tells the ledger of a deposit that the contract has given back
// although the client's contract has counted it. Ours do not.
func (p *Proxy) returned(g *generation, tx *ton.Transaction, m *contract.ClientRequest) error {
	if m.Part == nil || m.Part.Kind != contract.PartTopUp || tx.Aborted || !paysOut(tx, m.Owner) {
		return nil
	}
	p.log.Error("settlement: a deposit at a closing contract was given back, and the client could take it a second time: its refund will be lower by it",
		"client", m.Owner.String(), "amount", m.Part.Amount.Text(), "contract", g.Contract, "transaction", tx.LT)
	return known(p.cfg.Ledger.SeeReturned(g.Number, m.Owner.StringRaw(), m.Part.Amount, tx.LT))
}

func paysOut(tx *ton.Transaction, to *address.Address) bool {
	for _, out := range tx.Out {
		if out.To == nil || !out.To.Equals(to) {
			continue
		}
		if body, err := contract.ParseBody(out.Body); err == nil {
			if _, ok := body.(*contract.PaidOut); ok {
				return true
			}
		}
	}
	return false
}

// noteSeen hands a note of our wallet on. That the ledger is a copy is kept by
// the ledger itself, which then takes no work; following goes on.
func (p *Proxy) noteSeen(number int32, session [32]byte) error {
	err := p.cfg.Ledger.NoteSeen(number, session)
	var rollback *ledger.RollbackError
	if errors.As(err, &rollback) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fail("reading a note", err)
		return nil
	}
	if err == nil {
		p.nudge()
	}
	return err
}

// seeProxy tells the ledger about the contract itself and how far it was followed.
func (p *Proxy) seeProxy(g *generation, u ton.Update) error {
	var state *contract.ProxyState
	if u.Account.Status == ton.Active {
		var err error
		if state, err = contract.ParseProxyState(u.Account.Data); err != nil {
			return err // our own contract, of the registry's code: nobody else can write there
		}
	}
	if err := p.tell(g, u, state); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.account == nil {
		p.log.Info("settlement: following the proxy's contract", "contract", g.contracts.Proxy.Address.String(), "params_version", g.Params)
	}
	g.account, g.state, g.told = u.Account, state, !u.More
	if u.Account.At.Time.After(p.head) {
		p.head = u.Account.At.Time
	}
	p.nudge()
	return nil
}

func (p *Proxy) tell(g *generation, u ton.Update, state *contract.ProxyState) error {
	if state == nil {
		return nil
	}
	s := ledger.ProxyState{State: ledger.State(state.State), Balance: state.Balance, Stake: state.Stake, Unlock: int64(state.UnlockAt), LT: u.Next.LT, Hash: u.Next.Hash}
	if u.More {
		s.State = min(s.State, ledger.Closing) // the ledger forgets what is closed, and more is to come
	}
	return known(p.cfg.Ledger.SeeProxy(g.Number, s))
}

// endUndeployed forgets generations whose parameters passed before their
// contract was deployed: there is nothing to close. That messages have been to
// its address makes no difference; that the one which deploys it has been sent, or is about to be, does.
func (p *Proxy) endUndeployed() {
	p.mu.Lock()
	var list []*generation
	for _, number := range slices.Sorted(maps.Keys(p.generations)) {
		g := p.generations[number]
		there := g.account == nil || g.account.Status == ton.Active || g.account.Status == ton.Frozen
		j := p.jobs[deployingJob(g.Contract)]
		if number != p.current && !there && g.told && (j == nil || !j.running) && !p.poster.Left(deploying(g.Contract)) {
			list = append(list, g)
		}
	}
	p.mu.Unlock()
	for _, g := range list {
		if err := known(p.cfg.Ledger.SeeProxy(g.Number, ledger.ProxyState{State: ledger.Closed, LT: math.MaxInt64})); err != nil {
			p.mu.Lock()
			p.fail("forgetting "+g.Contract, err)
			p.mu.Unlock()
		}
	}
}

// known leaves out the errors after which an observation need not be repeated.
func known(err error) error {
	var rollback *ledger.RollbackError
	if errors.As(err, &rollback) || errors.Is(err, ledger.ErrAccount) || errors.Is(err, ledger.ErrAmount) {
		return nil
	}
	return err
}
