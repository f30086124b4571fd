package contract

import (
	"crypto/ed25519"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Deployment is a contract to be: the address follows from code and initial
// data, so nobody can put anything else there. Like all derived addresses it is
// in workchain 0, non-bounceable and of mainnet form.
type Deployment struct {
	Address *address.Address
	// Init goes along with the first message to the address.
	Init *tlb.StateInit
}

// DeployProxy is the contract of a proxy, given its owner's wallet, the
// registry's own address and the key that signs its payments.
func (r *Root) DeployProxy(owner, root *address.Address, key ed25519.PublicKey) (*Deployment, error) {
	params, err := r.paramsCell(false, true, true)
	if err != nil {
		return nil, err
	}
	s := ProxyState{Owner: owner, Root: root, Key: key, Params: params}
	return deploy("proxy contract", r.ProxyCode, s.fields)
}

// DeployWorker is the contract between a worker's owner and a proxy.
func (r *Root) DeployWorker(owner, proxy *address.Address, key ed25519.PublicKey) (*Deployment, error) {
	params, err := r.paramsCell(false, false, false)
	if err != nil {
		return nil, err
	}
	s := WorkerState{Owner: owner, Proxy: proxy, Key: key, Params: params}
	return deploy("worker contract", r.WorkerCode, s.fields)
}

// DeployClient is the contract between a client's node wallet and a proxy.
func (r *Root) DeployClient(wallet, proxy *address.Address, key ed25519.PublicKey) (*Deployment, error) {
	params, err := r.paramsCell(false, false, false)
	if err != nil {
		return nil, err
	}
	s := ClientState{Stake: r.MinClientStake, Owner: wallet, Proxy: proxy, Key: key, Params: params}
	return deploy("client contract", r.ClientCode, s.fields)
}

// Deploy is the registry itself, with this content from the start. Whoever
// founds the network chooses its code.
func (r *Root) Deploy(code *cell.Cell) (*Deployment, error) {
	if err := r.CheckContracts(); err != nil {
		return nil, err
	}
	data, err := r.Cell()
	if err != nil {
		return nil, err
	}
	return deployment(code, data)
}

// ProxyAddress is where [Root.DeployProxy] goes.
func (r *Root) ProxyAddress(owner, root *address.Address, key ed25519.PublicKey) (*address.Address, error) {
	return addressOf(r.DeployProxy(owner, root, key))
}

// WorkerAddress is where [Root.DeployWorker] goes.
func (r *Root) WorkerAddress(owner, proxy *address.Address, key ed25519.PublicKey) (*address.Address, error) {
	return addressOf(r.DeployWorker(owner, proxy, key))
}

// ClientAddress is where [Root.DeployClient] goes.
func (r *Root) ClientAddress(wallet, proxy *address.Address, key ed25519.PublicKey) (*address.Address, error) {
	return addressOf(r.DeployClient(wallet, proxy, key))
}

func addressOf(d *Deployment, err error) (*address.Address, error) {
	if err != nil {
		return nil, err
	}
	return d.Address, nil
}

func deploy(what string, code *cell.Cell, fields func(codec)) (*Deployment, error) {
	b := newBuilder(what)
	fields(writing{b})
	data, err := b.done()
	if err != nil {
		return nil, err
	}
	return deployment(code, data)
}

// deployment hashes the state init: no depth, no special, code, data, no
// library. Without a code it is the empty cell, as in the mode without a chain.
func deployment(code, data *cell.Cell) (*Deployment, error) {
	if code == nil {
		code = emptyCell
	}
	init, err := newBuilder("state init").uint(0b00110, 5).ref(code).ref(data).done()
	if err != nil {
		return nil, err
	}
	return &Deployment{
		Address: address.NewAddress(0, 0, init.Hash(0)).Bounce(false),
		Init:    &tlb.StateInit{Code: code, Data: data},
	}, nil
}

// deployment of what has been built so far as data.
func (b *builder) deployment(code *cell.Cell) (*Deployment, error) {
	data, err := b.done()
	if err != nil {
		return nil, err
	}
	return deployment(code, data)
}

func (b *builder) address(code *cell.Cell) (*address.Address, error) {
	return addressOf(b.deployment(code))
}
