package contract_test

import (
	"crypto/ed25519"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// great is an amount beyond what the package writes.
func great(bits uint, less int64) *cell.Builder {
	v := new(big.Int).Lsh(big.NewInt(1), bits)
	return cell.BeginCell().MustStoreBigCoins(v.Sub(v, big.NewInt(less)))
}

// N5: what is just enough, and just not.
func TestBoundaries(t *testing.T) {
	deposit := func(n *network) { n.alice.topUp(ton(60)) }
	stake := func(v *cell.Builder) func(*network) *outcome {
		return func(n *network) *outcome {
			return n.alice.owner.send(n.alice.addr, ton(1), raw(0x6a1f6a60, v, addr(n.stranger.addr)), nil)
		}
	}
	topUp := func(v *cell.Builder, value coin.Nano) func(*network) *outcome {
		return func(n *network) *outcome {
			return n.stranger.send(n.alice.addr, value, raw(0xf172e6c2, v, addr(n.stranger.addr)), nil)
		}
	}
	worker := func(value coin.Nano) func(*network) *outcome {
		return func(n *network) *outcome {
			return n.brings(n.worker.addr, value, n.proxy.signs(contract.Payout, n.worker.addr, 5))
		}
	}
	counter := func(kind contract.PaymentKind, to func(*network) account, tokens uint64) func(*network) *outcome {
		return func(n *network) *outcome {
			at := to(n)
			payload := join(field(uint64(kind), 32), field(query, 64), field(tokens, 64), addr(at.addr)).EndCell()
			return n.stranger.send(at.addr, ton(1), join(head(uint64(kind)), addr(n.stranger.addr), signature(n.proxy, payload)).MustStoreRef(payload).EndCell(), nil)
		}
	}
	text := func(size int) func(*network) *outcome {
		return func(n *network) *outcome {
			return n.root.raw(0x927c7cb5, field(uint64(size), 8), chars(strings.Repeat("1", size)))
		}
	}
	client := func(n *network) account { return n.alice.account }
	hand := func(n *network) account { return n.worker.account }
	play(t, []scene{
		{name: "0.1 to the proxy", do: func(n *network) *outcome {
			return n.brings(n.proxy.addr, 100*milli, &contract.PayoutRequest{Excess: n.stranger.addr})
		}, want: "proxy 0"},
		{name: "0.1 to the client", do: topUp(coins(0), 100*milli), want: aliceAndProxy},
		{name: "0.1 to the worker", given: deposit, do: worker(100 * milli), want: "worker 1003"},
		{name: "a nano more to the worker", given: deposit, do: worker(100*milli + 1), want: workerAndProxy},
		{name: "a deposit of nothing", do: topUp(coins(0), ton(1)), want: aliceAndProxy},
		{name: "a deposit with just enough", do: topUp(coins(ton(60)), ton(60)+100*milli), want: aliceAndProxy},
		{name: "a deposit of 2^64", do: topUp(great(64, 0), ton(1)), want: "alice's client 1003"},
		{name: "a deposit of 2^120-1", do: topUp(great(120, 1), ton(1)), want: "alice's client 1003"},
		{name: "a stake of nothing", do: stake(coins(0)), want: "alice's client 1003"},
		{name: "the greatest stake", do: stake(great(62, 0)), want: aliceTells, then: func(n *network, _ *outcome) {
			n.money("stake", n.alice.state().Stake, 1<<62)
		}},
		{name: "a nano above the greatest stake", do: stake(great(62, -1)), want: "alice's client 1003"},
		{name: "a stake of 2^64", do: stake(great(64, 0)), want: "alice's client 1003"},
		{name: "a stake of 2^120-1", do: stake(great(120, 1)), want: "alice's client 1003"},
		{name: "charge up to the greatest counter", do: counter(contract.Charge, client, 1<<63-1), want: aliceTells, then: func(n *network, _ *outcome) {
			n.money("debt", n.alice.state().Debt, 1<<62)
		}},
		{name: "charge beyond", do: counter(contract.Charge, client, 1<<63), want: "alice's client 1000"},
		{name: "grant beyond", do: counter(contract.GrantRefund, client, 1<<64-1), want: "alice's client 1000"},
		{name: "payout up to the greatest counter", do: counter(contract.Payout, hand, 1<<63-1), want: "worker 0, proxy 1017, worker 0", then: func(n *network, _ *outcome) {
			n.worker.has(contract.Normal, 1<<63-1, 1<<63-1)
		}},
		{name: "payout beyond", do: counter(contract.Payout, hand, 1<<63), want: "worker 1000"},
		{name: "last payout beyond", do: counter(contract.LastPayout, hand, 1<<64-1), want: "worker 1000"},
		{name: "grant of the same counter", given: func(n *network) { deposit(n); n.proxy.charge(n.alice, 5) }, do: func(n *network) *outcome { return n.proxy.grant(n.alice, 5) }, want: aliceAndProxy},
		{name: "complete at the very second", given: func(n *network) { closing(n); n.wait(day) }, do: func(n *network) *outcome { return n.proxy.complete() }, want: "proxy 0"},
		{name: "complete a second early", given: func(n *network) { closing(n); n.wait(day - time.Second) }, do: func(n *network) *outcome { return n.proxy.complete() }, want: "proxy 1011"},
		{name: "leave at the very second", given: func(n *network) { deposit(n); n.alice.leave(); n.wait(12 * time.Hour) }, do: func(n *network) *outcome { return n.alice.leave() }, want: "alice's client 1011"},
		{name: "leave a second later", given: func(n *network) { deposit(n); n.alice.leave(); n.wait(12*time.Hour + time.Second) }, do: func(n *network) *outcome { return n.alice.leave() }, want: aliceAndProxy},
		{name: "a text of 114 bytes", do: text(114), want: "root 0"},
		{name: "a text of nothing", do: text(0), want: "root 0"},
		{name: "a text that is cut short", do: func(n *network) *outcome { return n.root.raw(0x927c7cb5, field(9, 8), chars("1.2.3.4:")) }, want: "root 9"},
		{name: "a text with more after it", do: func(n *network) *outcome { return n.root.raw(0x927c7cb5, field(9, 8), chars("1.2.3.4:55")) }, want: "root 9"},
		{name: "the greatest price", do: func(n *network) *outcome { return n.root.raw(0xc52ed8d4, great(62, 0), great(62, 0)) }, want: "root 0"},
		{name: "a nano above the greatest price", do: func(n *network) *outcome { return n.root.raw(0xc52ed8d4, great(62, -1), coins(0)) }, want: "root 1016"},
	})
	if _, err := (&contract.RegisterProxy{Text: strings.Repeat("1", 115)}).Cell(); err == nil {
		t.Error("a text of 115 bytes was written")
	}
}

func signature(p *proxy, payload *cell.Cell) *cell.Builder {
	return cell.BeginCell().MustStoreSlice(ed25519.Sign(p.key, payload.Hash()), 512)
}

// N15: an amount that no contract of ours holds, and others may, is read as
// more than there is.
func TestReadersSurviveGreatNumbers(t *testing.T) {
	n := open(t)
	s := n.alice.state()
	parties := join(addr(s.Owner), addr(s.Proxy)).MustStoreSlice(s.Key, 256)
	for _, bits := range []uint{63, 64, 119} {
		data := join(field(0, 2), great(bits, 0), great(bits, 0), field(1<<64-1, 64), field(0, 32), field(0, 256), ref(parties)).MustStoreRef(s.Params).EndCell()
		got, err := contract.ParseClientState(data)
		n.must(err)
		n.money("balance", got.Balance, coin.Max)
		n.money("stake", got.Stake, coin.Max)
		equal(n, "counter", got.Tokens, 1<<64-1)
		body, err := contract.ParseBody(join(head(0x65448ff4), addr(s.Owner), ref(join(field(0, 2), great(bits, 0), great(bits, 0), field(0, 64+256-64), field(0, 64))), field(0, 1)).EndCell())
		n.must(err)
		n.money("shown stake", body.(*contract.ClientRequest).Shown.Stake, coin.Max)
	}
}
