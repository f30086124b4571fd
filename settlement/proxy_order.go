package settlement

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// What is attached to messages; contracts send back what they do not need.
// Source: roles.md section 4.8.
const (
	deployValue   = 3 * coin.TON / 10
	paymentValue  = 7 * coin.TON / 10
	withdrawValue = 2 * coin.TON / 10
	closingValue  = coin.TON
)

const (
	// jobLimit is how long a message is waited for. One that waits in the wallet
	// must not be followed by another for the same.
	jobLimit = 24 * time.Hour
	// effectLimit is how long the effect of a message may take to be read.
	effectLimit = 10 * time.Minute
	// poorRest is how soon a wallet without money is asked again.
	poorRest = 2 * time.Second
	// jobMemory is how long a failed job that could be done again is remembered.
	jobMemory = time.Hour
	// maxJobs bounds what is under way at a time.
	maxJobs = 16
)

// job is something that is done in the background and, after a failure, again.
type job struct {
	running  bool
	failures int
	until    time.Time // it rests
	err      error
}

// start does the job unless it is under way or rests, and says whether it
// does. One that is steady rests after each success too.
func (p *Proxy) start(key string, steady bool, do func(context.Context) error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[key]
	if p.life == nil || j != nil && (j.running || p.cfg.Now().Before(j.until)) || p.busy >= maxJobs {
		return false
	}
	if j == nil {
		j = &job{}
		p.jobs[key] = j
	}
	j.running = true
	p.busy++
	life := p.life
	p.work.Go(func() {
		ctx, cancel := context.WithTimeout(life, jobLimit)
		defer cancel()
		p.finished(ctx, key, steady, do(ctx))
	})
	return true
}

// finished decides when the job may be done again.
func (p *Proxy) finished(ctx context.Context, key string, steady bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[key]
	j.running, j.err = false, err
	p.busy--
	switch {
	case err == nil && steady:
		delete(p.failed, key)
		j.failures, j.until = 0, p.cfg.Now().Add(p.cfg.RetryAfter)
	case err == nil:
		delete(p.failed, key)
		delete(p.jobs, key)
		p.nudge()
	case errors.Is(ctx.Err(), context.Canceled): // the program ends
	default:
		p.fail(key, err)
		if passing(err) {
			j.failures = 0
		}
		rest := p.cfg.RetryAfter << min(j.failures, 6)
		if errors.Is(err, wallet.ErrPoor) {
			rest = min(rest, poorRest) // asking costs nothing, and somebody may be waiting
		}
		j.until = p.cfg.Now().Add(rest)
		j.failures++
	}
}

// goOn lets what failed because the chain was away be tried soon, now that it is
// back, though not all at the same moment.
func (p *Proxy) goOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	for _, j := range p.jobs {
		if errors.Is(j.err, ton.ErrUnreachable) || errors.Is(j.err, ton.ErrStale) {
			if soon := now.Add(rand.N(p.cfg.RetryAfter/10 + 1)); soon.Before(j.until) {
				j.until = soon
			}
		}
	}
}

// passing says that trying often costs nothing and may help: nothing was sent.
func passing(err error) bool {
	var refused *RefusedError
	var lost *LostError
	var short *ShortError // which time alone does not change
	return !errors.As(err, &refused) && !errors.As(err, &lost) && !errors.As(err, &short)
}

// forget drops failed jobs that nobody has wanted again for long: what they
// were for has happened in another way, or is no longer due.
func (p *Proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.cfg.Now().Add(-jobMemory)
	maps.DeleteFunc(p.jobs, func(_ string, j *job) bool { return !j.running && j.until.Before(old) })
}

// deploy puts the current proxy contract on the chain.
func (p *Proxy) deploy(g *generation) {
	d := g.contracts.Proxy
	p.start(deployingJob(g.Contract), true, func(ctx context.Context) error {
		if p.number() != g.Number {
			return nil // its time is over before it began
		}
		_, err := p.poster.Post(ctx, Message{Purpose: deploying(g.Contract), To: d.Address, Value: deployValue, Init: d.Init})
		return err
	})
}

// deploying is the purpose of the message that deploys a contract.
func deploying(contract string) string { return "deploy " + contract }

func deployingJob(contract string) string { return "deploying " + contract }

// order carries out what is due. That it has been sent is told to the ledger;
// that it is done, the chain tells.
func (p *Proxy) order(o ledger.Order) {
	p.start(jobOf(o), false, func(ctx context.Context) error {
		_, err := p.carryOut(ctx, o)
		result := "done"
		if err != nil {
			result = "failed"
		}
		p.mu.Lock()
		p.counts[Count{o.Kind.String(), result}]++
		p.mu.Unlock()
		return err
	})
}

func jobOf(o ledger.Order) string {
	return fmt.Sprintf("%s %s of generation %d", o.Kind, o.Account, o.Generation.Number)
}

// carryOut is called in the order's job.
func (p *Proxy) carryOut(ctx context.Context, o ledger.Order) (*ton.Transaction, error) {
	p.mu.Lock()
	p.running[jobOf(o)] = o
	p.mu.Unlock()
	defer func() { p.mu.Lock(); delete(p.running, jobOf(o)); p.mu.Unlock() }()
	c, err := p.issuer.Contracts(o.Generation)
	if err != nil {
		return nil, err
	}
	m, err := p.message(ctx, c, o)
	if err != nil {
		return nil, err
	}
	p.cfg.Ledger.Submitted(o, p.now().Add(effectLimit)) // first: its effect may be read before Post returns
	tx, err := p.poster.Post(ctx, *m)
	if err != nil {
		p.cfg.Ledger.Submitted(o, time.Time{}) // it is due as it was
		return nil, err
	}
	p.log.Info("settlement: "+o.Kind.String(), "account", o.Account, "tokens", o.Tokens, "worth", o.Worth.Text(), "contract", m.To.String(), "params_version", o.Generation.Params)
	return tx, nil
}

// message is what an order says to which contract. Its purpose holds the
// contract's last transaction: an order found again after a crash is the same
// if nothing has happened to the contract since, and another if it failed.
func (p *Proxy) message(ctx context.Context, c *contract.Contracts, o ledger.Order) (*Message, error) {
	d, value := c.Proxy, paymentValue
	var err error
	switch o.Kind {
	case ledger.Charge, ledger.Grant:
		d, err = deployment(o.Account, c.Client)
	case ledger.Payout, ledger.LastPayout:
		d, err = deployment(o.Account, c.Worker)
	case ledger.Withdraw:
		value = withdrawValue
	default:
		value = closingValue
	}
	if err != nil {
		return nil, err
	}
	account, err := p.cfg.Chain.Account(ctx, d.Address)
	if err != nil {
		return nil, err
	}
	if err := p.covers(ctx, c, o, account); err != nil {
		return nil, err
	}
	m := &Message{Purpose: fmt.Sprintf("%s %s %d %d", o.Kind, d.Address.StringRaw(), o.Tokens, account.Last.LT), To: d.Address, Value: value}
	if side := o.Kind == ledger.Payout || o.Kind == ledger.LastPayout; side && account.Status != ton.Active {
		m.Init = d.Init // its owner has not deployed it; what was earned is paid all the same
	}
	m.Body, err = p.body(c, o, d.Address)
	return m, err
}

// ShortError means that the proxy's contract holds too little for an order.
// Sending it would cost gas and change nothing.
type ShortError struct {
	Contract *address.Address
	// Pool is what there is for clients and workers, Due what the order takes.
	Pool, Due coin.Nano
}

func (e *ShortError) Error() string {
	return fmt.Sprintf("the proxy's contract %s has %s for clients and workers, and %s are due: raise its stake by what is missing for workers; a client can ask for a part by itself", e.Contract, e.Pool.Text(), e.Due.Text())
}

// ours says whether a proxy's contract is of our code, which counts what is
// whose and pays it when it is closed too.
func ours(c *contract.Contracts) bool {
	return bytes.Equal(c.Params.ProxyCode.Hash(), contract.OurCodes().Proxy.Hash())
}

// covers says whether the proxy's contract can pay what an order takes out of
// it. One that cannot, since a client left by force before it was charged, would
// refuse it after much gas, again and again. The account is the client's or worker's contract.
func (p *Proxy) covers(ctx context.Context, c *contract.Contracts, o ledger.Order, side *ton.Account) error {
	due := o.Worth
	switch o.Kind {
	case ledger.Payout, ledger.LastPayout:
	case ledger.Grant:
		if side.Status != ton.Active {
			return nil
		}
		s, err := contract.ParseClientState(side.Data)
		if err != nil {
			return err
		}
		due = refundOf(c.Params.PricePerToken, o, s)
	default:
		return nil
	}
	account, err := p.cfg.Chain.Account(ctx, c.Proxy.Address)
	if err != nil || account.Status != ton.Active {
		return err
	}
	s, err := contract.ParseProxyState(account.Data)
	if err != nil {
		return err
	}
	pool := account.Balance - s.Balance
	if ours(c) {
		pool = s.Deposits + s.Stake
	}
	if o.Kind == ledger.Grant { // the stake is not for those
		pool -= s.Stake
	}
	if pool < due {
		p.cfg.Ledger.Short(o)
		return &ShortError{c.Proxy.Address, pool, due}
	}
	return nil
}

// refundOf is what a grant brings the client: what its contract holds less what
// is charged and taken away with it.
func refundOf(price coin.Nano, o ledger.Order, s *contract.ClientState) coin.Nano {
	return max(0, s.Balance-s.Debt-price.Times(max(0, o.Tokens+o.Returned-tokens(s.Tokens))))
}

func deployment(account string, derive func(*address.Address) (*contract.Deployment, error)) (*contract.Deployment, error) {
	who, err := contract.ParseAddress(account)
	if err != nil {
		return nil, err
	}
	return derive(who)
}

var paymentKinds = map[ledger.OrderKind]contract.PaymentKind{
	ledger.Charge: contract.Charge, ledger.Grant: contract.GrantRefund, ledger.Payout: contract.Payout, ledger.LastPayout: contract.LastPayout,
	ledger.StartClosing: contract.CloseRequest, ledger.FinishClosing: contract.CloseComplete,
}

func (p *Proxy) body(c *contract.Contracts, o ledger.Order, to *address.Address) (contract.Body, error) {
	home := p.cfg.Wallet.Address()
	switch o.Kind {
	case ledger.Withdraw:
		return &contract.PayoutRequest{QueryID: uint64(p.cfg.Now().UnixNano()), Excess: home}, nil
	case ledger.StartClosing, ledger.FinishClosing:
		e, err := p.issuer.Close(c, paymentKinds[o.Kind])
		if err != nil {
			return nil, err
		}
		return e.Repack(home), nil
	}
	signed, err := p.cfg.Ledger.SignOrder(o)
	if err != nil {
		return nil, err
	}
	e, err := contract.VerifyPayment(signed, paymentKinds[o.Kind], to, p.issuer.Public())
	if err != nil {
		return nil, err
	}
	return e.Repack(home), nil
}
