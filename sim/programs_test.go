package sim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/wallet"
)

// program is a client's or a worker's node: its wallet, and its side of the settlement.
type program struct {
	*node
	key    wallet.Key
	owner  *address.Address
	wallet *address.Address
	secret string

	registry *contract.OnChain
	driver   *wallet.Driver
	client   *settlement.Client
	worker   *settlement.Worker
	lines    map[*house]*line
}

// line is a connection to a proxy.
type line struct {
	mu    sync.Mutex // guards all below, which the greeting writes
	open  bool
	tried bool

	theirs, ours int    // lives of both processes
	gen          uint32 // of the proxy
}

func (e *economy) newProgram(name string) *program {
	p := &program{node: e.newNode(name), key: wallet.KeyOf(e.chain.net.Key(name)), owner: e.somebody(name+"'s owner", byte(100+len(e.nodes))), secret: "the secret of " + name + ", which is long enough", lines: map[*house]*line{}}
	var err error
	p.wallet, err = contract.OurCodes().WalletAddress(p.owner, p.key.Public())
	e.must(err)
	e.names[p.wallet.StringRaw()] = name
	e.fund(p.wallet, 60*coin.TON)
	return p
}

// run is what package node does for a client or a worker.
func (p *program) run(worker bool) func(context.Context, *port) error {
	return func(ctx context.Context, chain *port) error {
		p.client, p.worker = nil, nil
		registry, err := contract.Follow(ctx, chain, p.e.root, p.log())
		if err != nil {
			return err
		}
		d, err := wallet.Open(wallet.Config{Dir: p.dir, Key: p.key, Owner: p.owner, Chain: chain, Now: p.now, MaxHour: coin.Max / 4, Log: p.log(), Fault: p.fault})
		if err != nil {
			return err
		}
		defer d.Close()
		p.registry, p.driver = registry, d
		runs := []func(context.Context) error{func(ctx context.Context) error { return registry.Run(ctx, 5*time.Second) }, d.Run}
		dir := filepath.Join(p.dir, "settlement")
		if worker {
			p.worker, err = settlement.NewWorker(settlement.WorkerConfig{
				Chain: chain, Wallet: d, Registry: registry, Owner: p.owner, Dir: dir, MaxUnpaid: maxUnpaid, Now: p.now, Log: p.log(),
				PayoutFrom: coin.TON / 10, PayoutIdle: coin.TON / 50, Every: 20 * time.Second,
			})
		} else {
			p.client, err = settlement.NewClient(settlement.ClientConfig{
				Chain: chain, Wallet: d, Registry: registry, Dir: dir, Secret: p.secret, MaxTopUpHour: 40 * coin.TON, MaxTopUpDay: 100 * coin.TON, Now: p.now, Log: p.log(), Every: 20 * time.Second,
			})
		}
		if err != nil {
			return err
		}
		if worker {
			runs = append(runs, p.worker.Run)
		} else {
			runs = append(runs, p.client.Run)
		}
		p.started()
		var all sync.WaitGroup
		for _, run := range runs {
			all.Go(func() { run(ctx) })
		}
		all.Wait()
		return nil
	}
}

// maxUnpaid is what a worker lets a proxy fall behind.
const maxUnpaid = coin.TON / 4

// connected says whether the line is up, as both processes see it.
func (p *program) connected(h *house) bool {
	l := p.lines[h]
	if l == nil || !p.alive() || h.unhealthy() != "" || l.theirs != h.life || l.ours != p.life || l.gen != h.terms.ParamsVersion {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// connect greets a proxy, unless that is under way.
func (c *client) connect(h *house) {
	p := c.program
	if h.unhealthy() != "" || !p.alive() {
		return
	}
	if l := p.lines[h]; l != nil && l.theirs == h.life && l.ours == p.life && l.gen == h.terms.ParamsVersion {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.tried { // under way, or open
			return
		}
	}
	if p.registry.Root().ParamsVersion != h.terms.ParamsVersion {
		return
	}
	l := &line{theirs: h.life, ours: p.life, gen: h.terms.ParamsVersion}
	p.lines[h] = l
	own := c.e.client(h.page().contracts, c).Address
	proxy, root, settle, accounts := h.page().contracts.Proxy.Address, p.registry.Root(), h.settle, p.client
	nonce := c.e.r.Int64()
	c.e.tell("%s greets %s", c.name, c.e.called(proxy))
	go func() {
		err := c.greet(accounts, settle, root, proxy, own, h, nonce)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open, l.tried = err == nil, err != nil
		if err != nil {
			c.e.note("      | %s is not admitted by %s: %v", c.name, h.name, err)
		}
	}()
}

// greet is the handshake's part about money: short where the contract shows the
// secret's hash, else by saying a number on the chain.
func (c *client) greet(accounts *settlement.Client, settle *settlement.Proxy, root *contract.Root, proxy, own *address.Address, h *house, nonce int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := accounts.Open(ctx, root, proxy, h.issuer.Public()); err != nil {
		return err
	}
	if hash, ok, _ := settle.Known(c.at); ok && hash == settlement.SecretHash(c.program.secret) {
		return nil
	}
	said := make(chan error, 1)
	go func() { said <- accounts.Register(ctx, own, proxy, nonce) }()
	err := settle.Await(ctx, c.at, nonce)
	cancel()
	return errors.Join(err, unless(err == nil, <-said))
}

func unless(fine bool, err error) error {
	if fine {
		return nil
	}
	return err
}

// disputes: an honest proxy must never be distrusted.
func (c *client) disputes() error {
	if c.program == nil || !c.program.alive() {
		return nil
	}
	for _, a := range c.program.client.Status().Accounts {
		for _, p := range c.e.book.pages {
			if p.contracts.Proxy.Address.Equals(contractOf(a.Proxy)) && a.Disputed != "" && !p.house.lies && !p.house.diverged && !c.old {
				return fmt.Errorf("%s does not trust %s any more: %s", c.name, c.e.called(p.contracts.Proxy.Address), a.Disputed)
			}
		}
	}
	return nil
}

func contractOf(text string) *address.Address {
	a, err := contract.ParseAddress(text)
	if err != nil {
		return address.NewAddressNone()
	}
	return a
}

// byHand is what an operator may ask of his client.
func (c *client) byHand() {
	p := c.e.anyPage(c.e.r)
	if p == nil || !c.program.alive() {
		return
	}
	what := []string{"charge", "topup", "withdraw", "topup", "charge", "close"}[c.e.r.IntN(6)]
	if what == "close" && c.e.r.IntN(4) > 0 {
		return
	}
	said, err := c.program.client.Do(what, p.contracts.Proxy.Address.String())
	if err == nil {
		c.e.tell("%s is told to %s at %s: %s", c.name, what, c.e.called(p.contracts.Proxy.Address), said)
	}
}
