package contract

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/ledger"
)

// Issuer is a proxy as the one who owns contracts and signs for them. It gives
// the ledger its terms ([Issuer.Terms]), and finds the contracts of any
// generation again, also of one whose registry is long gone ([Issuer.Contracts]).
// Its fields must not change. Safe for concurrent use.
type Issuer struct {
	// Owner is the operator's wallet, Root the registry's own address.
	Owner, Root *address.Address
	// Key signs.
	Key ed25519.PrivateKey

	mu    sync.Mutex
	known map[string]*Contracts // by the proxy contract's raw address
}

// Contracts are those of one generation of a proxy.
type Contracts struct {
	// Params are what the generation lives under; nothing else of the registry is in it.
	Params *Root
	// Proxy is the generation's own contract.
	Proxy *Deployment
	key   ed25519.PublicKey
}

// Public is the key by which contracts and peers know the proxy.
func (i *Issuer) Public() ed25519.PublicKey { return i.Key.Public().(ed25519.PublicKey) }

// Client is the contract of a client's wallet.
func (c *Contracts) Client(wallet *address.Address) (*Deployment, error) {
	return c.Params.DeployClient(wallet, c.Proxy.Address, c.key)
}

// Worker is the contract of a worker's owner.
func (c *Contracts) Worker(owner *address.Address) (*Deployment, error) {
	return c.Params.DeployWorker(owner, c.Proxy.Address, c.key)
}

// Terms are those of a generation under this registry, without a Credit. Their
// memo is the parameter cell with all code, from which every address follows.
func (i *Issuer) Terms(root *Root) (ledger.Terms, error) {
	params, err := root.paramsCell(true, true, true)
	if err != nil {
		return ledger.Terms{}, err
	}
	c, err := i.contracts(params)
	if err != nil {
		return ledger.Terms{}, err
	}
	return ledger.Terms{
		Params: root.ParamsVersion, Contract: c.Proxy.Address.StringRaw(), Price: root.PricePerToken, Fee: root.WorkerFeePerToken,
		Memo: params.ToBOCWithOptions(cell.BOCSerializeOptions{}), Sign: i.Sign,
	}, nil
}

// contracts derives a generation's and remembers it.
func (i *Issuer) contracts(params *cell.Cell) (*Contracts, error) {
	root, err := ParseParams(params)
	if err != nil {
		return nil, err
	}
	c := &Contracts{Params: root, key: i.Public()}
	if c.Proxy, err = root.DeployProxy(i.Owner, i.Root, c.key); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known == nil {
		i.known = map[string]*Contracts{}
	}
	i.known[c.Proxy.Address.StringRaw()] = c
	return c, nil
}

// Contracts are those of a generation that a ledger keeps. An error means that
// the ledger is another proxy's, owner's or registry's.
func (i *Issuer) Contracts(g ledger.Generation) (*Contracts, error) {
	i.mu.Lock()
	c := i.known[g.Contract]
	i.mu.Unlock()
	if c != nil {
		return c, nil
	}
	params, err := cell.FromBOC(g.Memo)
	if err == nil {
		c, err = i.contracts(params)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %d: its memo: %w", g.Number, err)
	}
	if at := c.Proxy.Address.StringRaw(); at != g.Contract {
		return nil, fmt.Errorf("generation %d is of contract %s, and this proxy's is %s: another key, owner or registry", g.Number, g.Contract, at)
	}
	return c, nil
}

// Sign makes a promise good: the signed message as a bag of cells. One that is
// Final must go to its contract and nobody else.
func (i *Issuer) Sign(p ledger.Promise) ([]byte, error) {
	c, err := i.Contracts(p.Generation)
	if err != nil {
		return nil, err
	}
	who, err := ParseAddress(p.Account)
	if err != nil {
		return nil, err
	}
	kind, deployment := map[bool]PaymentKind{false: Charge, true: GrantRefund}[p.Final], c.Client
	if p.Side == ledger.WorkerSide {
		kind, deployment = map[bool]PaymentKind{false: Payout, true: LastPayout}[p.Final], c.Worker
	}
	d, err := deployment(who)
	if err != nil {
		return nil, err
	}
	signed, err := (&Payment{Kind: kind, QueryID: rand.Uint64(), Excess: i.Owner, Tokens: p.Tokens, Contract: d.Address}).Sign(i.Key)
	if err != nil {
		return nil, err
	}
	if p.Final {
		return signed.boc()
	}
	return signed.ForPeer()
}

// Close signs the order to start closing the generation's own contract, or to
// finish it.
func (i *Issuer) Close(c *Contracts, kind PaymentKind) (*Envelope, error) {
	return (&Payment{Kind: kind, QueryID: rand.Uint64(), Excess: i.Owner, Contract: c.Proxy.Address}).Sign(i.Key)
}
