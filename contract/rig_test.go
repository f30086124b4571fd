package contract_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// The rig: the embedded chain with our contracts on it and people around them.
//
//	n := open(t)
//	n.alice.topUp(60 * coin.TON).wants("alice's client 0, proxy 0")
//
// After every message the rig looks at each contract that it reached:
// get-methods say what storage says, and a proxy's contract has what it owes.

// network is a registry, one proxy, a worker, two clients, and a chain.
type network struct {
	t     testing.TB
	chain *localnet.Chain
	names map[string]string    // by raw address
	rents map[string]coin.Nano // what a contract paid since it last had enough

	met     map[string]bool      // every account that had a transaction
	fees    *big.Int             // collected from all transactions so far
	watched map[string]inspected // by raw address
	founder *person
	root    *registry
	proxy   *proxy
	worker  *worker
	alice   *client
	bob     *client
	// stranger has no part in anything and brings other people's messages.
	stranger *person
}

// start is the chain's clock before any wait.
var start = time.Unix(1_900_000_000, 0)

const day = 24 * time.Hour

// founding is the registry that every network here begins with.
func founding() *contract.Root {
	c := contract.OurCodes()
	return &contract.Root{
		Version: 1, ParamsVersion: 5, StructVersion: 3, UniqueID: 17, PricePerToken: 20, WorkerFeePerToken: 18,
		Multipliers: ledger.Multipliers{Prompt: 10000, Cached: 1000, Completion: 80000, Reasoning: 80000},
		ProxyDelay:  86400, ClientDelay: 43200, MinProxyStake: coin.TON, MinClientStake: 15 * coin.TON,
		Proxies:        []contract.ProxyEntry{{Seqno: 1, Workers: door("10.0.0.1:1"), Clients: door("10.0.0.1:2")}},
		LastProxySeqno: 1,
		ProxyCode:      c.Proxy, WorkerCode: c.Worker, ClientCode: c.Client,
	}
}

func door(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

// open founds a network. Change alters the registry before it is deployed.
func open(t testing.TB, change ...func(*contract.Root)) *network {
	t.Helper()
	n := bare(t, localnet.Config{})
	r := founding()
	for _, f := range change {
		f(r)
	}
	n.root = n.found(r, n.founder)
	n.proxy = n.root.deployProxy("proxy", n.person("operator"), testKey(7))
	n.worker = n.proxy.deployWorker("worker", n.person("wendy"))
	n.alice = n.proxy.deployClient("alice's client", n.person("alice"))
	n.bob = n.proxy.deployClient("bob's client", n.person("bob"))
	n.stranger = n.person("stranger")
	return n
}

// bare is a chain with nobody on it but the faucet.
func bare(t testing.TB, cfg localnet.Config) *network {
	t.Helper()
	cfg.Seed, cfg.Now = [32]byte{1, 2, 3}, func() time.Time { return start }
	chain, err := localnet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chain.Close() })
	n := &network{t: t, chain: chain, names: map[string]string{}, rents: map[string]coin.Nano{}, fees: new(big.Int), met: map[string]bool{}, watched: map[string]inspected{}}
	n.founder = n.person("founder")
	return n
}

func testKey(b byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, 32)) }

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) wait(d time.Duration) {
	n.t.Helper()
	_, err := n.chain.Advance(d)
	n.must(err)
}

func (n *network) now() uint32 { return uint32(n.chain.Now().Unix()) }

// called is a role's name in what happened, its address where it has none.
func (n *network) called(a *address.Address) string {
	if name, ok := n.names[a.StringRaw()]; ok {
		return name
	}
	return a.StringRaw()
}

// sender is who can have an internal message sent: a person's wallet, or a node's.
type sender interface {
	address() *address.Address
	send(to *address.Address, value coin.Nano, body *cell.Cell, init *tlb.StateInit) *outcome
}

// person has an ordinary wallet with a thousand coins in it.
type person struct {
	n    *network
	key  ed25519.PrivateKey
	addr *address.Address
}

func (n *network) person(name string) *person {
	n.t.Helper()
	seed := sha256.Sum256([]byte("person " + name))
	p := &person{n: n, key: ed25519.NewKeyFromSeed(seed[:])}
	var err error
	p.addr, err = wallet.AddressFromPubKey(publicOf(p.key), wallet.ConfigV5R1Final{NetworkGlobalID: n.chain.GlobalID()}, 0)
	n.must(err)
	trace, err := n.chain.Fund(context.Background(), p.addr, amount(1000*coin.TON))
	n.must(err)
	n.outcome(trace, p.addr)
	return p
}

func (p *person) address() *address.Address { return p.addr }

// send is bounceable unless it deploys something.
func (p *person) send(to *address.Address, value coin.Nano, body *cell.Cell, init *tlb.StateInit) *outcome {
	p.n.t.Helper()
	trace, err := p.n.chain.Pay(context.Background(), p.key, &wallet.Message{
		Mode: wallet.PayGasSeparately | wallet.IgnoreErrors,
		InternalMessage: &tlb.InternalMessage{
			IHRDisabled: true, Bounce: init == nil, DstAddr: to, Amount: amount(value), Body: body, StateInit: init,
		},
	})
	p.n.must(err)
	return p.n.outcome(trace, to)
}

// tell sends a body with a value.
func tell(from sender, to *address.Address, value coin.Nano, body contract.Body) *outcome {
	return from.send(to, value, cellOf(body), nil)
}

// cellOf panics on a body that a test should not have written.
func cellOf(body contract.Body) *cell.Cell {
	c, err := body.Cell()
	if err != nil {
		panic(fmt.Sprintf("%T: %v", body, err))
	}
	return c
}

func amount(v coin.Nano) tlb.Coins { return tlb.FromNanoTONU(uint64(v)) }

func nano(v tlb.Coins) coin.Nano { return coin.FromBig(v.Nano()) }

func ton(v coin.Nano) coin.Nano { return v * coin.TON }

// milli is a thousandth of a coin.
const milli = coin.TON / 1000
