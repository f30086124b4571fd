package contract_test

import (
	"fmt"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
)

// ordered is a scene with an order to the registry: the owner's is carried out
// and raises the version by one, a stranger's is refused.
func ordered(name string, body func(n *network) contract.Body, then func(n *network, s *contract.Root)) []scene {
	return []scene{
		{
			name: name,
			do:   func(n *network) *outcome { return n.root.order(body(n)) },
			want: "root 0",
			then: func(n *network, o *outcome) {
				s := n.root.state()
				equal(n, "version", s.Version, 2)
				if o.change(n.root.owner.addr) == 0 {
					n.t.Error("the owner got no change")
				}
				then(n, s)
			},
		},
		{
			name: name + " by a stranger",
			do:   func(n *network) *outcome { return n.brings(n.root.addr, 100*milli, body(n)) },
			want: "root 1010",
			then: func(n *network, _ *outcome) { equal(n, "version", n.root.state().Version, 1) },
		},
	}
}

// always is the same body in every network.
func always(b contract.Body) func(*network) contract.Body {
	return func(*network) contract.Body { return b }
}

var someHash = [32]byte{1, 2, 3}

func TestRootLists(t *testing.T) {
	valid := map[contract.HashList]string{
		contract.WorkerImages: "worker_hash_is_valid", contract.ProxyImages: "proxy_hash_is_valid", contract.Models: "model_hash_is_valid",
	}
	isValid := func(n *network, list contract.HashList, want string) {
		n.t.Helper()
		got, err := n.root.get(valid[list], hashNumber(someHash))
		n.must(err)
		equal(n, valid[list], got[0], want)
	}
	var scenes []scene
	for _, list := range []contract.HashList{contract.WorkerImages, contract.ProxyImages, contract.Models} {
		add := &contract.ChangeHash{List: list, QueryID: 9, Hash: someHash}
		remove := &contract.ChangeHash{List: list, Remove: true, QueryID: 9, Hash: someHash}
		scenes = append(scenes, ordered(fmt.Sprintf("add to %s", list), always(add), func(n *network, s *contract.Root) {
			isValid(n, list, "-1")
			n.root.order(add).wants("root 0") // twice is harmless
			isValid(n, list, "-1")
			n.root.order(remove).wants("root 0")
			isValid(n, list, "0")
		})...)
		scenes = append(scenes, ordered(fmt.Sprintf("remove from %s what is not there", list), always(remove), func(n *network, s *contract.Root) {
			isValid(n, list, "0")
		})...)
	}
	scenes = append(scenes, ordered("reset", always(&contract.ResetLists{QueryID: 9}), func(n *network, s *contract.Root) {
		equal(n, "lists", len(s.Models)+len(s.ProxyImages)+len(s.WorkerImages)+len(s.Proxies), 0)
		equal(n, "last proxy", s.LastProxySeqno, 1)
	})...)
	play(t, scenes)
}

func TestRootProxies(t *testing.T) {
	play(t, append(ordered("register a proxy", always(&contract.RegisterProxy{QueryID: 9, Text: "1.2.3.4:5"}), func(n *network, s *contract.Root) {
		equal(n, "last proxy", s.LastProxySeqno, 2)
		equal(n, "its address", s.Proxies[1].String(), "1.2.3.4:5")
		n.root.order(&contract.RegisterProxy{Text: "1.2.3.4:6"}).wants("root 0")
		n.root.order(&contract.RegisterProxy{Text: "1.2.3.4:7 1.2.3.4:8"}).wants("root 0")
		equal(n, "last proxy of three", n.root.state().LastProxySeqno, 4)
	}), append(ordered("unregister a proxy", always(&contract.UnregisterProxy{QueryID: 9, Seqno: 1}), func(n *network, s *contract.Root) {
		equal(n, "proxies", len(s.Proxies), 0)
		n.root.order(&contract.UnregisterProxy{Seqno: 1}).wants("root 0")
	}), append(ordered("update a proxy", always(&contract.UpdateProxy{QueryID: 9, Seqno: 1, Text: "4.3.2.1:1"}), func(n *network, s *contract.Root) {
		equal(n, "its address", s.Proxies[0].String(), "4.3.2.1:1")
	}), []scene{
		{
			name: "update a proxy that is not there",
			do: func(n *network) *outcome {
				return n.root.order(&contract.UpdateProxy{QueryID: 9, Seqno: 7, Text: "4.3.2.1:1"})
			},
			want: "root 2000",
		},
		{
			name: "register a proxy of another kind",
			do:   func(n *network) *outcome { return n.root.raw(0x927c7cb5, field(1, 1), field(9, 7), chars("1.2.3.4:5")) },
			want: "root 1004",
		},
		{
			name: "update a proxy that is not there to another kind",
			do: func(n *network) *outcome {
				return n.root.raw(0x9c7924ba, field(7, 32), field(1, 1), field(9, 7), chars("1.2.3.4:5"))
			},
			want: "root 1004",
		},
	}...)...)...))
}

// raw is an order with a body that the package would not write.
func (r *registry) raw(op uint64, fields ...*cell.Builder) *outcome {
	r.n.t.Helper()
	return r.owner.send(r.addr, 100*milli, raw(op, fields...), nil)
}

func raw(op uint64, fields ...*cell.Builder) *cell.Cell {
	b := cell.BeginCell().MustStoreUInt(op, 32).MustStoreUInt(77, 64)
	for _, f := range fields {
		b.MustStoreBuilder(f)
	}
	return b.EndCell()
}

func field(v uint64, bits uint) *cell.Builder { return cell.BeginCell().MustStoreUInt(v, bits) }

func chars(s string) *cell.Builder {
	return cell.BeginCell().MustStoreSlice([]byte(s), uint(len(s))*8)
}

func TestRootParameters(t *testing.T) {
	limits := contract.Limits{ProxyDelay: 7200, ClientDelay: 3600, MinProxyStake: 2 * coin.TON, MinClientStake: 3 * coin.TON}
	generation := func(n *network, s *contract.Root) { n.t.Helper(); equal(n, "generation", s.ParamsVersion, 6) }
	tiny := cell.BeginCell().MustStoreUInt(0xff00, 16).EndCell()
	play(t, append(ordered("change the price", always(&contract.ChangePrice{QueryID: 9, Price: 30, Fee: 10}), func(n *network, s *contract.Root) {
		generation(n, s)
		equal(n, "price and fee", [2]coin.Nano{s.PricePerToken, s.WorkerFeePerToken}, [2]coin.Nano{30, 10})
	}), append(ordered("change parameters", always(&contract.ChangeParams{QueryID: 9, Price: 30, Fee: 10, Limits: limits}), func(n *network, s *contract.Root) {
		generation(n, s)
		equal(n, "limits", contract.Limits{ProxyDelay: s.ProxyDelay, ClientDelay: s.ClientDelay, MinProxyStake: s.MinProxyStake, MinClientStake: s.MinClientStake}, limits)
	}), append(ordered("change all parameters", always(&contract.ChangeAllParams{
		QueryID: 9, Price: 30, Fee: 10, Multipliers: ledger.Multipliers{Prompt: 1, Cached: 2, Completion: 3, Reasoning: 4}, Limits: limits,
	}), func(n *network, s *contract.Root) {
		generation(n, s)
		equal(n, "multipliers", s.Multipliers, ledger.Multipliers{Prompt: 1, Cached: 2, Completion: 3, Reasoning: 4})
	}), append(ordered("upgrade contracts", always(&contract.UpgradeContracts{QueryID: 9, Proxy: tiny, Worker: tiny, Client: tiny}), func(n *network, s *contract.Root) {
		generation(n, s)
		equal(n, "code", s.ProxyCode.HashKey(), tiny.HashKey())
	}), append(ordered("upgrade the registry's code", always(&contract.UpgradeRoot{QueryID: 9, Code: contract.OurCodes().Root}), func(n *network, s *contract.Root) {
		equal(n, "generation", s.ParamsVersion, 5)
	}), []scene{
		{
			name: "a fee above the price",
			do:   func(n *network) *outcome { return n.root.order(&contract.ChangePrice{QueryID: 9, Price: 10, Fee: 11}) },
			want: "root 1016",
		},
		{
			name: "a client's delay as long as the proxy's",
			do: func(n *network) *outcome {
				return n.root.order(&contract.ChangeParams{Price: 2, Fee: 1, Limits: contract.Limits{ProxyDelay: 60, ClientDelay: 60}})
			},
			want: "root 1016",
		},
		{
			name: "full upgrade",
			do: func(n *network) *outcome {
				s := n.root.state()
				s.Version, s.LastProxySeqno, s.UniqueID, s.ParamsVersion = 9, 999, 18, 6
				return n.root.order(&contract.UpgradeAll{QueryID: 9, Data: cellOf(s), Code: contract.OurCodes().Root})
			},
			want: "root 0",
			then: func(n *network, o *outcome) {
				s := n.root.state()
				equal(n, "state", [4]uint32{s.Version, s.LastProxySeqno, s.UniqueID, s.ParamsVersion}, [4]uint32{9, 999, 18, 6})
			},
		},
		{
			name: "full upgrade to an older generation",
			do: func(n *network) *outcome {
				s := n.root.state()
				s.Version, s.ParamsVersion = 9, 4
				return n.root.order(&contract.UpgradeAll{QueryID: 9, Data: cellOf(s), Code: contract.OurCodes().Root})
			},
			want: "root 1016",
		},
	}...)...)...)...)...))
}

func TestRootOwner(t *testing.T) {
	offer := func(n *network) contract.Body {
		return &contract.OfferOwner{QueryID: 9, Owner: n.alice.owner.address()}
	}
	accept := &contract.AcceptOwner{QueryID: 9}
	play(t, append(ordered("offer the registry", offer, func(n *network, s *contract.Root) {
		equal(n, "owner", s.Owner.StringRaw(), n.root.owner.addr.StringRaw())
		equal(n, "offered", s.Offered.StringRaw(), n.alice.owner.address().StringRaw())
		n.brings(n.root.addr, 100*milli, accept).wants("root 1010")
		tell(n.alice.owner, n.root.addr, 100*milli, accept).wants("root 0")
		equal(n, "new owner", n.root.state().Owner.StringRaw(), n.alice.owner.address().StringRaw())
		equal(n, "version", n.root.state().Version, 3)
		n.root.order(&contract.ResetLists{}).wants("root 1010")
	}), []scene{
		{
			name: "accept what nobody offered",
			do:   func(n *network) *outcome { return n.brings(n.root.addr, 100*milli, accept) },
			want: "root 1010",
		},
		{
			name: "an offer to nobody",
			do:   func(n *network) *outcome { return n.root.raw(0xc4a1ae54, field(0, 2)) },
			want: "root 9",
		},
		{
			name: "an offer to where no message can come from",
			do: func(n *network) *outcome {
				return n.root.raw(0xc4a1ae54, cell.BeginCell().MustStoreAddr(address.NewAddress(0, 5, make([]byte, 32))))
			},
			want: "root 1016",
		},
	}...))
}

// What every contract does with messages that are not for it.
func TestIgnoredAndUnknown(t *testing.T) {
	nothing := cell.BeginCell().EndCell()
	ignore := cell.BeginCell().MustStoreUInt(0x9a1247c0, 32).EndCell()
	var scenes []scene
	for name, at := range map[string]func(*network) *address.Address{
		"root": func(n *network) *address.Address { return n.root.addr }, "proxy": func(n *network) *address.Address { return n.proxy.addr },
		"worker": func(n *network) *address.Address { return n.worker.addr }, "alice's client": func(n *network) *address.Address { return n.alice.addr },
	} {
		for what, row := range map[string]struct {
			body *cell.Cell
			want string
		}{
			"nothing": {nothing, "0"}, "do not process": {ignore, "0"},
			"an unknown operation": {raw(0x12345678), map[bool]string{true: "1010", false: "1012"}[name == "root"]},
			"31 bits":              {field(0, 31).EndCell(), "9"}, "95 bits": {cell.BeginCell().MustStoreUInt(0x12345678, 32).MustStoreUInt(0, 63).EndCell(), "9"},
		} {
			scenes = append(scenes, scene{
				name: name + " gets " + what,
				do:   func(n *network) *outcome { return n.stranger.send(at(n), 100*milli, row.body, nil) },
				want: name + " " + row.want,
			})
		}
	}
	scenes = append(scenes, scene{
		name: "the owner's unknown operation",
		do:   func(n *network) *outcome { return n.root.raw(0x29111ceb) },
		want: "root 1012",
	})
	play(t, scenes)
}
