package contract_test

import (
	"crypto/ed25519"
	"fmt"
	"math/big"
	"slices"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// account is a contract of the network under test.
type account struct {
	n    *network
	name string
	addr *address.Address
}

// inspected is a contract that is looked at after every message.
type inspected interface{ inspect() error }

// deploy brings a contract into being, as the network's nodes do: its state
// init and no body.
func (n *network) deploy(name string, d *contract.Deployment, err error, value coin.Nano) account {
	n.t.Helper()
	n.must(err)
	a := n.expect(name, d.Address)
	n.founder.send(d.Address, value, cell.BeginCell().EndCell(), d.Init).wants(name + " 0")
	return a
}

// expect names a contract that is not there yet.
func (n *network) expect(name string, at *address.Address) account {
	n.names[at.StringRaw()] = name
	return account{n: n, name: name, addr: at}
}

func (a *account) read() *tlb.AccountState {
	a.n.t.Helper()
	s, err := a.n.chain.Account(a.addr)
	a.n.must(err)
	return s
}

func (a *account) funds() coin.Nano { return nano(a.read().Balance) }

func (a *account) data() *cell.Cell {
	a.n.t.Helper()
	s := a.read()
	if s.StateInit == nil {
		a.n.t.Fatalf("%s is %s", a.name, s.Status)
	}
	return s.StateInit.Data
}

// get runs a get-method and shows its results the way [shown] does.
func (a *account) get(method string, args ...any) ([]string, error) {
	results, err := a.n.chain.RunMethod(a.addr, method, args...)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", method, a.name, err)
	}
	list := make([]string, len(results))
	for i, v := range results {
		if s, ok := v.(*cell.Slice); ok {
			if v, err = s.LoadAddr(); err != nil {
				return nil, err
			}
		}
		list[i] = shown(v)
	}
	return list, nil
}

// agrees compares a get-method with what storage says.
func (a *account) agrees(method string, want ...any) error {
	got, err := a.get(method)
	if err != nil {
		return err
	}
	var stored []string
	for _, v := range want {
		stored = append(stored, shown(v))
	}
	if !slices.Equal(got, stored) {
		return fmt.Errorf("%s of %s = %v, storage says %v", method, a.name, got, stored)
	}
	return nil
}

func shown(v any) string {
	switch v := v.(type) {
	case *address.Address:
		return v.StringRaw()
	case ed25519.PublicKey:
		return new(big.Int).SetBytes(v).String()
	case [32]byte:
		return new(big.Int).SetBytes(v[:]).String()
	case coin.Nano:
		return fmt.Sprint(int64(v))
	case contract.State:
		return fmt.Sprint(uint8(v))
	case bool:
		if v {
			return "1"
		}
		return "0"
	}
	return fmt.Sprint(v)
}

// registry is the root contract.
type registry struct {
	account
	owner *person
}

func (n *network) found(r *contract.Root, owner *person) *registry {
	n.t.Helper()
	r.Owner = owner.addr
	d, err := r.Deploy(contract.OurCodes().Root)
	root := &registry{owner: owner}
	root.account = n.deploy("root", d, err, coin.TON)
	n.watched[root.addr.StringRaw()] = root
	return root
}

func (r *registry) state() *contract.Root {
	r.n.t.Helper()
	s, err := contract.ParseRoot(r.data())
	r.n.must(err)
	return s
}

// order is a message of the owner.
func (r *registry) order(body contract.Body) *outcome {
	return tell(r.owner, r.addr, 100*milli, body)
}

// inspect also writes the registry again: the same cell means that nothing is
// there beside what the strict reader reads, in any other order or form.
func (r *registry) inspect() error {
	s, err := contract.ParseRoot(r.data())
	if err != nil {
		return err
	}
	again, err := s.Cell()
	if err != nil {
		return err
	}
	if len(s.Skipped) == 0 && again.HashKey() != r.data().HashKey() {
		return fmt.Errorf("the registry's data\n%s\nreads as\n%s", r.data().Dump(), again.Dump())
	}
	if err := r.agrees("get_cocoon_data", s.Version, s.LastProxySeqno, s.ParamsVersion, s.UniqueID, s.IsTest,
		s.PricePerToken, s.WorkerFeePerToken, s.MinProxyStake, s.MinClientStake, s.Owner); err != nil {
		return err
	}
	if err := r.agrees("last_proxy_seqno", s.LastProxySeqno); err != nil {
		return err
	}
	return r.agrees("get_cur_params", s.ParamsVersion, s.UniqueID, s.IsTest, s.PricePerToken, s.WorkerFeePerToken,
		s.Multipliers.Cached, s.Multipliers.Reasoning, s.ProxyDelay, s.ClientDelay, s.MinProxyStake, s.MinClientStake,
		hashOf(s.ProxyCode), hashOf(s.WorkerCode), hashOf(s.ClientCode))
}

func hashOf(c *cell.Cell) [32]byte { return c.HashKey() }

func hashNumber(h [32]byte) *big.Int { return new(big.Int).SetBytes(h[:]) }
