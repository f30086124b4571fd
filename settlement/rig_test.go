package settlement

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	library "github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
	"github.com/opencocoon/cocoon/wallet"
)

// world is the local chain and a client that reads it over the network.
type world struct {
	*testing.T
	chain  *localnet.Chain
	server *localnet.Server
	client *ton.Client
	ctx    context.Context
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := localnet.New(localnet.Config{Seed: [32]byte{7}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	w := &world{T: t, chain: c, ctx: ctx}
	w.serve()
	return w
}

// serve opens the liteserver and a client of it.
func (w *world) serve() {
	w.Helper()
	var err error
	w.listen("127.0.0.1:0")
	w.Cleanup(func() { w.server.Close() })
	path := w.TempDir() + "/global.config.json"
	if err := w.server.WriteGlobalConfig(path); err != nil {
		w.Fatal(err)
	}
	w.client, err = ton.Dial(w.ctx, ton.Config{Path: path, InsecureUnsigned: true, Now: w.chain.Now})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { w.client.Close() })
}

func (w *world) listen(address string) {
	w.Helper()
	var err error
	if w.server, err = localnet.Listen(w.chain, address); err != nil {
		w.Fatal(err)
	}
}

func (w *world) fund(to *address.Address, amount coin.Nano) {
	w.Helper()
	if _, err := w.chain.Fund(w.ctx, to, tlb.FromNanoTON(amount.Big())); err != nil {
		w.Fatal(err)
	}
}

func (w *world) account(at *address.Address) *ton.Account {
	w.Helper()
	a, err := w.client.Account(w.ctx, at)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// await waits until it is so, looking again at each block and at each change
// of what is no block.
func (w *world) await(what string, so func() bool) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-w.ctx.Done():
			w.Fatalf("%s: not so", what)
		case <-tick.C:
		}
	}
}

// receive is the next value of a channel, within the test's time.
func receive[T any](w *world, from <-chan T) (value T) {
	w.Helper()
	select {
	case value = <-from:
	case <-w.ctx.Done():
		w.Fatal("nothing came")
	}
	return value
}

// person is somebody with a wallet.
type person struct {
	*world
	key ed25519.PrivateKey
	at  *address.Address
}

func (w *world) person(name string, amount coin.Nano) *person {
	w.Helper()
	p := &person{world: w, key: w.chain.Key(name)}
	at, err := library.AddressFromPubKey(p.key.Public().(ed25519.PublicKey), library.ConfigV5R1Final{NetworkGlobalID: w.chain.GlobalID()}, 0)
	if err != nil {
		w.Fatal(err)
	}
	p.at = at.Bounce(false)
	if amount > 0 {
		w.fund(p.at, amount)
	}
	return p
}

// send sends from the person's wallet, and returns the transactions that follow.
func (p *person) send(to *address.Address, value coin.Nano, body contract.Body, init *tlb.StateInit) []*ton.Transaction {
	p.Helper()
	c := cell.BeginCell().EndCell()
	if body != nil {
		var err error
		if c, err = body.Cell(); err != nil {
			p.Fatal(err)
		}
	}
	return p.raw(&tlb.InternalMessage{IHRDisabled: true, Bounce: init == nil, DstAddr: to, Amount: tlb.FromNanoTON(value.Big()), StateInit: init, Body: c})
}

func (p *person) raw(m *tlb.InternalMessage) (list []*ton.Transaction) {
	p.Helper()
	trace, err := p.chain.Pay(p.ctx, p.key, &library.Message{Mode: library.PayGasSeparately + library.IgnoreErrors, InternalMessage: m})
	if err != nil {
		p.Fatal(err)
	}
	for _, root := range trace {
		tx, err := ton.ParseTransaction(0, root)
		if err != nil {
			p.Fatal(err)
		}
		list = append(list, tx)
	}
	return list
}

// node is a node's wallet and its driver, which may end and begin again.
type node struct {
	*world
	key    wallet.Key
	owner  *address.Address
	dir    string
	driver *wallet.Driver
	stop   func()
}

func (w *world) node(name string, owner *address.Address, amount coin.Nano) *node {
	w.Helper()
	n := &node{world: w, key: wallet.KeyOf(w.chain.Key(name)), owner: owner, dir: w.TempDir()}
	if amount > 0 {
		at, err := contract.OurCodes().WalletAddress(owner, n.key.Public())
		if err != nil {
			w.Fatal(err)
		}
		w.fund(at, amount)
	}
	n.start()
	w.Cleanup(func() { n.stop() })
	w.await("the wallet", func() bool { return n.driver.Status().Known }) // before that it queues what it cannot pay
	return n
}

func (n *node) start() {
	n.Helper()
	d, err := wallet.Open(wallet.Config{Dir: n.dir, Key: n.key, Owner: n.owner, Chain: n.client, Now: n.chain.Now, Resend: 100 * time.Millisecond, Idle: 100 * time.Millisecond})
	if err != nil {
		n.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx) }()
	n.driver, n.stop = d, func() { cancel(); <-ended; d.Close() }
}

func (n *node) restart() { n.Helper(); n.stop(); n.start() }

// registry is the network's registry on the chain.
type registry struct {
	*contract.OnChain
	owner *person
	at    *address.Address
}

const price, fee = 20, 18 // nanoTON per token

func newRegistry(w *world) *registry {
	w.Helper()
	owner := w.person("registry", 50*coin.TON)
	codes := contract.OurCodes()
	root := &contract.Root{
		Owner: owner.at, Version: 1, ParamsVersion: 1, StructVersion: 3, UniqueID: 17, IsTest: true, PricePerToken: price, WorkerFeePerToken: fee,
		Multipliers: ledger.Plain, ProxyDelay: 3600, ClientDelay: 600, MinProxyStake: coin.TON, MinClientStake: 2 * coin.TON,
		ProxyCode: codes.Proxy, WorkerCode: codes.Worker, ClientCode: codes.Client,
	}
	d, err := root.Deploy(codes.Root)
	if err != nil {
		w.Fatal(err)
	}
	owner.send(d.Address, coin.TON, nil, d.Init)
	r := &registry{owner: owner, at: d.Address}
	if r.OnChain, err = contract.Follow(w.ctx, w.client, d.Address, nil); err != nil {
		w.Fatal(err)
	}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(w.ctx)
	go func() { defer close(ended); r.Run(ctx, 0) }()
	w.Cleanup(func() { cancel(); <-ended })
	return r
}
