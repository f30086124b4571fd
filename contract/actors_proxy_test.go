package contract_test

import (
	"crypto/ed25519"
	"fmt"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// proxy is a proxy's contract, and the node whose key signs for it.
type proxy struct {
	account
	root  *registry
	owner sender
	key   ed25519.PrivateKey
	rules *contract.Root // the registry when this generation was deployed
}

func (r *registry) deployProxy(name string, owner sender, key ed25519.PrivateKey) *proxy {
	r.n.t.Helper()
	p := &proxy{root: r, owner: owner, key: key, rules: r.state()}
	d, err := p.rules.DeployProxy(owner.address(), r.addr, publicOf(key))
	p.account = r.n.deploy(name, d, err, 300*milli)
	r.n.watched[p.addr.StringRaw()] = p
	return p
}

func (p *proxy) state() *contract.ProxyState {
	p.n.t.Helper()
	s, err := contract.ParseProxyState(p.data())
	p.n.must(err)
	return s
}

// inspect also checks the promise: the contract has what it owes. Rent is the
// chain's and may be missing until the next payment brings it.
func (p *proxy) inspect() error {
	s, err := contract.ParseProxyState(p.data())
	if err != nil {
		return err
	}
	have, owed := p.funds(), s.Deposits+s.Balance+s.Stake
	if have >= owed {
		p.n.rents[p.addr.StringRaw()] = 0
	} else if have+p.n.rents[p.addr.StringRaw()] < owed {
		return fmt.Errorf("%s has %s and owes %s", p.name, have, owed)
	}
	if err := p.agrees("get_cocoon_proxy_deposits", s.Deposits); err != nil {
		return err
	}
	r := p.rules
	return p.agrees("get_cocoon_proxy_data", s.Owner, s.Key, s.Root, s.State, s.Balance, s.Stake, s.UnlockAt,
		r.PricePerToken, r.WorkerFeePerToken, r.MinProxyStake, r.MinClientStake, r.ParamsVersion)
}

// signs makes a payment; the change goes to the stranger who will bring it.
func (p *proxy) signs(kind contract.PaymentKind, at *address.Address, tokens int64) *contract.Envelope {
	p.n.t.Helper()
	payment := contract.Payment{Kind: kind, QueryID: 77, Excess: p.n.stranger.addr, Tokens: tokens, Contract: at}
	e, err := payment.Sign(p.key)
	p.n.must(err)
	return e
}

// brings has the stranger submit something.
func (n *network) brings(to *address.Address, value coin.Nano, body contract.Body) *outcome {
	n.t.Helper()
	return tell(n.stranger, to, value, body)
}

func (p *proxy) charge(c *client, tokens int64) *outcome {
	p.n.t.Helper()
	return p.n.brings(c.addr, 700*milli, p.signs(contract.Charge, c.addr, tokens))
}

func (p *proxy) grant(c *client, tokens int64) *outcome {
	p.n.t.Helper()
	return p.n.brings(c.addr, ton(1), p.signs(contract.GrantRefund, c.addr, tokens))
}

func (p *proxy) payout(w *worker, tokens int64) *outcome {
	p.n.t.Helper()
	return p.n.brings(w.addr, 500*milli, p.signs(contract.Payout, w.addr, tokens))
}

func (p *proxy) lastPayout(w *worker, tokens int64) *outcome {
	p.n.t.Helper()
	return p.n.brings(w.addr, ton(1), p.signs(contract.LastPayout, w.addr, tokens))
}

func (p *proxy) close() *outcome {
	p.n.t.Helper()
	return p.n.brings(p.addr, ton(1), p.signs(contract.CloseRequest, p.addr, 0))
}

func (p *proxy) complete() *outcome {
	p.n.t.Helper()
	return p.n.brings(p.addr, ton(1), p.signs(contract.CloseComplete, p.addr, 0))
}

// finished is a proxy whose contract is closed.
func (p *proxy) finish() {
	p.n.t.Helper()
	p.close().wants(p.name + " 0")
	p.n.wait(day)
	p.complete().wants(p.name + " 0")
}

func (p *proxy) stakes(v coin.Nano) *outcome {
	p.n.t.Helper()
	return tell(p.owner, p.addr, v+100*milli, &contract.IncreaseStake{QueryID: 77, Amount: v, Excess: p.owner.address()})
}

// payOwner has the stranger ask for the owner's cut.
func (p *proxy) payOwner() *outcome {
	p.n.t.Helper()
	return p.n.brings(p.addr, 200*milli, &contract.PayoutRequest{QueryID: 77, Excess: p.n.stranger.addr})
}

// says is a comment of one letter from the owner.
func (p *proxy) says(letter byte) *outcome {
	p.n.t.Helper()
	return tell(p.owner, p.addr, 200*milli, contract.Text{Letter: letter})
}
