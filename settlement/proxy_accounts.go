package settlement

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// secret is what a client's contract publishes: the hash of its secret.
type secret struct {
	hash [32]byte
	lt   uint64
}

// readClient tells the ledger what the chain shows of a client's contract. One
// that does not exist, or is none, is no error.
func (p *Proxy) readClient(ctx context.Context, g *generation, wallet *address.Address) error {
	d, err := g.contracts.Client(wallet)
	if err != nil {
		return nil
	}
	account, err := p.cfg.Chain.Account(ctx, d.Address)
	if err != nil {
		return err
	}
	if account.Status != ton.Active {
		return nil
	}
	s, err := contract.ParseClientState(account.Data)
	if err != nil {
		p.skip("client", wallet, err)
		return nil
	}
	seen := ledger.ClientState{State: ledger.State(s.State), Balance: s.Balance, Stake: s.Stake, Debt: s.Debt, Charged: tokens(s.Tokens), LT: account.Last.LT}
	if s.State == contract.Closed && s.Balance > 0 {
		seen.State = ledger.Closing // the refund came back: it can be granted again
	}
	if err := p.seen("client", wallet, p.cfg.Ledger.SeeClient(g.Number, wallet.StringRaw(), seen)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if key := wallet.StringRaw(); account.Last.LT >= g.clients[key].lt {
		g.clients[key] = secret{s.SecretHash, account.Last.LT}
	}
	return nil
}

// readWorker tells the ledger what the chain shows of a worker's contract.
func (p *Proxy) readWorker(ctx context.Context, g *generation, owner *address.Address) error {
	d, err := g.contracts.Worker(owner)
	if err != nil {
		return nil
	}
	account, err := p.cfg.Chain.Account(ctx, d.Address)
	if err != nil {
		return err
	}
	if account.Status != ton.Active {
		return nil
	}
	s, err := contract.ParseWorkerState(account.Data)
	if err != nil {
		p.skip("worker", owner, err)
		return nil
	}
	// What the pool could not pay is owed on: the same counter collects it.
	seen := ledger.WorkerState{State: ledger.State(s.State), Paid: max(0, tokens(s.Tokens)-tokens(s.Owed)), LT: account.Last.LT}
	if s.State == contract.Closed && s.Owed > 0 {
		seen.State = ledger.Open
	}
	return p.seen("worker", owner, p.cfg.Ledger.SeeWorker(g.Number, owner.StringRaw(), seen))
}

// tokens is a contract's counter as the ledger counts; the network's contracts
// may hold more than it can.
func tokens(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// seen keeps apart what must be read again and what is as it is.
func (p *Proxy) seen(side string, who *address.Address, err error) error {
	if rest := known(err); rest != nil || err == nil {
		return rest
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail("reading "+side+" "+who.String(), err)
	return nil
}

func (p *Proxy) skip(side string, who *address.Address, err error) {
	p.log.Warn("settlement: an account is left out: its contract's state cannot be read", "side", side, "owner", who.String(), "error", err)
}

// doubt is an account whose state may change without a word to the proxy, so
// that it is read again some times: the proxy's contract refused its request,
// which is on its way back, or this process has not seen it yet.
type doubt struct {
	client, worker *address.Address
	looks          int
}

// bounceLooks is how often, with a RetryAfter between, an account is read to
// which a message is on its way back.
const bounceLooks = 3

func (d doubt) key() string {
	if d.client != nil {
		return "client " + d.client.StringRaw()
	}
	return "worker " + d.worker.StringRaw()
}

func (p *Proxy) doubt(g *generation, d doubt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.doubted[d.key()] = d
}

// doubtAll has every account that the ledger knows read once. mu is held.
func (p *Proxy) doubtAll(g *generation) {
	clients, workers := p.cfg.Ledger.Accounts(g.Number)
	for _, c := range clients {
		if a, err := contract.ParseAddress(c.Wallet); err == nil {
			d := doubt{client: a, looks: 1}
			g.doubted[d.key()] = d
		}
	}
	for _, w := range workers {
		if a, err := contract.ParseAddress(w.Owner); err == nil {
			d := doubt{worker: a, looks: 1}
			g.doubted[d.key()] = d
		}
	}
}

// lookAgain reads the accounts in doubt, in the background.
func (p *Proxy) lookAgain() {
	p.mu.Lock()
	var list []*generation
	for _, number := range slices.Sorted(maps.Keys(p.generations)) {
		if g := p.generations[number]; len(g.doubted) > 0 {
			list = append(list, g)
		}
	}
	p.mu.Unlock()
	if len(list) == 0 {
		return
	}
	p.start("reading accounts again", true, func(ctx context.Context) error {
		for _, g := range list {
			if err := p.lookAtAll(ctx, g); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *Proxy) lookAtAll(ctx context.Context, g *generation) error {
	p.mu.Lock()
	list := make([]doubt, 0, len(g.doubted))
	for _, key := range slices.Sorted(maps.Keys(g.doubted)) {
		list = append(list, g.doubted[key])
	}
	p.mu.Unlock()
	// A few are read one after another, and those of a large ledger after a start
	// some at a time.
	next, readers := atomic.Int64{}, min(1+len(list)/accountsPerReader, maxReaders)
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(list) && reading.Err() == nil; i = next.Add(1) - 1 {
				if err := p.lookAt(reading, g, list[i]); err != nil {
					stop(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(reading)
}

const (
	accountsPerReader = 64
	maxReaders        = 16
)

func (p *Proxy) lookAt(ctx context.Context, g *generation, d doubt) error {
	var err error
	if d.client != nil {
		err = p.readClient(ctx, g, d.client)
	} else {
		err = p.readWorker(ctx, g, d.worker)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d = g.doubted[d.key()] // it may have come up anew meanwhile
	if d.looks--; d.looks <= 0 {
		delete(g.doubted, d.key())
	} else {
		g.doubted[d.key()] = d
	}
	return nil
}
