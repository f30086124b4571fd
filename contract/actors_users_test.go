package contract_test

import (
	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// worker is the contract between a worker's owner and a proxy.
type worker struct {
	account
	proxy *proxy
	owner sender
}

func (p *proxy) deployWorker(name string, owner sender) *worker {
	p.n.t.Helper()
	w := &worker{proxy: p, owner: owner}
	d, err := p.rules.DeployWorker(owner.address(), p.addr, publicOf(p.key))
	w.account = p.n.deploy(name, d, err, 300*milli)
	p.n.watched[w.addr.StringRaw()] = w
	return w
}

func (w *worker) state() *contract.WorkerState {
	w.n.t.Helper()
	s, err := contract.ParseWorkerState(w.data())
	w.n.must(err)
	return s
}

func (w *worker) inspect() error {
	s, err := contract.ParseWorkerState(w.data())
	if err != nil {
		return err
	}
	return w.agrees("get_cocoon_worker_data", s.Owner, s.Proxy, s.Key, s.State, s.Tokens)
}

func (w *worker) register() *outcome {
	w.n.t.Helper()
	return tell(w.owner, w.addr, 200*milli, &contract.WorkerRegister{QueryID: 77, Excess: w.owner.address()})
}

// client is the contract between a client's wallet and a proxy.
type client struct {
	account
	proxy *proxy
	owner sender
}

func (p *proxy) deployClient(name string, owner sender) *client {
	p.n.t.Helper()
	c := &client{proxy: p, owner: owner}
	d, err := p.rules.DeployClient(owner.address(), p.addr, publicOf(p.key))
	c.account = p.n.deploy(name, d, err, 800*milli)
	p.n.watched[c.addr.StringRaw()] = c
	return c
}

func (c *client) state() *contract.ClientState {
	c.n.t.Helper()
	s, err := contract.ParseClientState(c.data())
	c.n.must(err)
	return s
}

func (c *client) inspect() error {
	s, err := contract.ParseClientState(c.data())
	if err != nil {
		return err
	}
	if err := c.agrees("get_cocoon_client_debt", s.Debt); err != nil {
		return err
	}
	return c.agrees("get_cocoon_client_data", s.Owner, s.Proxy, s.Key, s.State, s.Balance, s.Stake, s.Tokens, s.UnlockAt, s.SecretHash)
}

// asks is a message of the owner with the value that nodes attach.
func (c *client) asks(body contract.Body) *outcome {
	c.n.t.Helper()
	return tell(c.owner, c.addr, 700*milli, body)
}

func (c *client) topUp(v coin.Nano) *outcome {
	c.n.t.Helper()
	return tell(c.owner, c.addr, v+700*milli, &contract.TopUp{QueryID: 77, Amount: v, Excess: c.owner.address()})
}

func (c *client) register(nonce uint64) *outcome {
	c.n.t.Helper()
	return c.asks(&contract.ClientRegister{QueryID: 77, Nonce: nonce, Excess: c.owner.address()})
}

func (c *client) changeSecret(hash [32]byte) *outcome {
	c.n.t.Helper()
	return c.asks(&contract.ChangeSecret{QueryID: 77, Hash: hash, Excess: c.owner.address()})
}

func (c *client) raiseStake(to coin.Nano) *outcome {
	c.n.t.Helper()
	return c.asks(&contract.RaiseStake{QueryID: 77, Stake: to, Excess: c.owner.address()})
}

func (c *client) withdraw() *outcome {
	c.n.t.Helper()
	return c.asks(&contract.Withdraw{QueryID: 77, Excess: c.owner.address()})
}

// leave is the first step of leaving, or the second.
func (c *client) leave() *outcome {
	c.n.t.Helper()
	return c.asks(&contract.RequestRefund{QueryID: 77, Excess: c.owner.address()})
}

// left is a client whose contract is closed.
func (c *client) goes() {
	c.n.t.Helper()
	c.leave()
	c.n.wait(day)
	c.leave()
}
