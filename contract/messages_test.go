package contract_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// Bodies are written here bit by bit, from contracts.md sections 7 to 10 and
// without the package under test.

func join(parts ...*cell.Builder) *cell.Builder {
	b := cell.BeginCell()
	for _, p := range parts {
		b.MustStoreBuilder(p)
	}
	return b
}

func addr(a *address.Address) *cell.Builder { return cell.BeginCell().MustStoreAddr(a) }

func ref(b *cell.Builder) *cell.Builder { return cell.BeginCell().MustStoreRef(b.EndCell()) }

// maybe is a bit that is set and a reference.
func maybe(b *cell.Builder) *cell.Builder { return join(field(1, 1), ref(b)) }

const query = uint64(0x1122334455667788)

func head(op uint64) *cell.Builder { return join(field(op, 32), field(query, 64)) }

func hash256(h [32]byte) *cell.Builder { return cell.BeginCell().MustStoreSlice(h[:], 256) }

// shownBy is the state that a client's contract shows after the change.
func shownBy(state uint64, balance, stake coin.Nano, tokens uint64, secret [32]byte) *cell.Builder {
	return ref(join(field(state, 2), coins(balance), coins(stake), field(tokens, 64), hash256(secret)))
}

// N2: what contracts send on and send back, cell by cell.
func TestOutgoingBodies(t *testing.T) {
	const nonce = 0xfedcba9876543210
	payment := func(n *network, kind contract.PaymentKind, at *address.Address, tokens int64) contract.Body {
		e, err := (&contract.Payment{Kind: kind, QueryID: query, Excess: n.stranger.addr, Tokens: tokens, Contract: at}).Sign(n.proxy.key)
		n.must(err)
		return e
	}
	n := open(t)
	bob, alice, wendy, stranger, operator := n.bob.owner.address(), n.alice.owner.address(), n.worker.owner.address(), n.stranger.addr, n.proxy.owner.address()
	n.bob.topUp(ton(100))
	client := func(part *cell.Builder, shown *cell.Builder) *cell.Builder {
		return join(head(0x65448ff4), addr(alice), shown, part)
	}
	part := func(op uint64, v coin.Nano) *cell.Builder {
		return maybe(join(field(op, 32), coins(v), addr(stranger)))
	}
	none := field(0, 1)
	excess, payout := head(0x2565934c), head(0xc59a7cd3)
	ask := func(b contract.Body, value coin.Nano) func() *outcome {
		return func() *outcome { return tell(n.alice.owner, n.alice.addr, value, b) }
	}
	for _, x := range []struct {
		name     string
		do       func() *outcome
		from, to *address.Address
		want     *cell.Builder
		bounce   bool
	}{
		{"secret", ask(&contract.ChangeSecret{QueryID: query, Hash: someHash, Excess: stranger}, ton(1)), n.alice.addr, n.proxy.addr, client(none, shownBy(0, 0, ton(15), 0, someHash)), true},
		{"register", ask(&contract.ClientRegister{QueryID: query, Nonce: nonce, Excess: stranger}, ton(1)), n.alice.addr, n.proxy.addr,
			client(maybe(join(field(0xa35cb580, 32), field(nonce, 64))), shownBy(0, 0, ton(15), 0, someHash)), true},
		{"the change after it", ask(&contract.ClientRegister{QueryID: query, Nonce: nonce, Excess: stranger}, ton(1)), n.alice.addr, stranger, excess, false},
		{"stake", ask(&contract.RaiseStake{QueryID: query, Stake: ton(16), Excess: stranger}, ton(1)), n.alice.addr, n.proxy.addr, client(none, shownBy(0, 0, ton(16), 0, someHash)), true},
		{"top up", ask(&contract.TopUp{QueryID: query, Amount: ton(60), Excess: stranger}, ton(61)), n.alice.addr, n.proxy.addr, client(part(0x5cfc6b87, ton(60)), shownBy(0, ton(60), ton(16), 0, someHash)), true},
		{"secret and top up", ask(&contract.SecretTopUp{QueryID: query, Amount: ton(40), Hash: [32]byte{9}, Excess: stranger}, ton(41)), n.alice.addr, n.proxy.addr,
			client(part(0x5cfc6b87, ton(40)), shownBy(0, ton(100), ton(16), 0, [32]byte{9})), true},
		{"the change of a deposit", ask(&contract.TopUp{QueryID: query, Amount: ton(1), Excess: stranger}, ton(2)), n.proxy.addr, stranger, excess, false},
		{"charge", func() *outcome {
			return n.brings(n.alice.addr, ton(1), payment(n, contract.Charge, n.alice.addr, 1000))
		}, n.alice.addr, n.proxy.addr,
			client(none, shownBy(0, ton(101)-20000, ton(16), 1000, [32]byte{9})), true},
		{"withdraw", ask(&contract.Withdraw{QueryID: query, Excess: stranger}, ton(1)), n.alice.addr, n.proxy.addr,
			client(part(0xc68ebc7b, ton(85)-20000), shownBy(0, ton(16), ton(16), 1000, [32]byte{9})), true},
		{"request refund, nothing to refund", ask(&contract.RequestRefund{QueryID: query, Excess: stranger}, ton(1)), n.alice.addr, n.proxy.addr,
			client(none, shownBy(1, ton(16), ton(16), 1000, [32]byte{9})), true},
		{"request refund after the wait", func() *outcome {
			n.wait(day)
			return ask(&contract.RequestRefund{QueryID: query, Excess: stranger}, ton(1))()
		}, n.alice.addr, n.proxy.addr, client(part(0xf4c354c9, ton(16)), shownBy(2, 0, ton(16), 1000, [32]byte{9})), true},
		{"bob leaves with a surplus", func() *outcome {
			return tell(n.bob.owner, n.bob.addr, ton(1), &contract.RequestRefund{QueryID: query, Excess: stranger})
		}, n.bob.addr, n.proxy.addr, join(head(0x65448ff4), addr(bob), shownBy(1, ton(15), ton(15), 0, [32]byte{}), part(0xc68ebc7b, ton(85))), true},
		{"grant", func() *outcome {
			return n.brings(n.bob.addr, ton(1), payment(n, contract.GrantRefund, n.bob.addr, 500))
		}, n.bob.addr, n.proxy.addr,
			join(head(0x65448ff4), addr(bob), shownBy(2, 0, ton(15), 500, [32]byte{}), part(0xc68ebc7b, ton(15)-10000)), true},
		{"worker's register", func() *outcome {
			return tell(n.worker.owner, n.worker.addr, ton(1), &contract.WorkerRegister{QueryID: query, Excess: stranger})
		}, n.worker.addr, n.proxy.addr, join(head(0x4d725d2c), addr(wendy), field(0, 2+64), none), true},
		{"payout", func() *outcome {
			return n.brings(n.worker.addr, ton(1), payment(n, contract.Payout, n.worker.addr, 700))
		}, n.worker.addr, n.proxy.addr,
			join(head(0x4d725d2c), addr(wendy), field(0, 2), field(700, 64), maybe(join(field(0x08e7d036, 32), coins(700*18), coins(700*2), addr(stranger)))), true},
		{"paid to the worker", func() *outcome {
			return n.brings(n.worker.addr, ton(1), payment(n, contract.Payout, n.worker.addr, 800))
		}, n.proxy.addr, wendy, payout, false},
		{"last payout", func() *outcome {
			return n.brings(n.worker.addr, ton(1), payment(n, contract.LastPayout, n.worker.addr, 900))
		}, n.worker.addr, n.proxy.addr,
			join(head(0x4d725d2c), addr(wendy), field(2, 2), field(900, 64), maybe(join(field(0x08e7d036, 32), coins(100*18), coins(100*2), addr(stranger)))), true},
		{"the cut", func() *outcome {
			return n.brings(n.proxy.addr, ton(1), &contract.PayoutRequest{QueryID: query, Excess: stranger})
		}, n.proxy.addr, operator, payout, false},
		{"stake of the proxy", func() *outcome {
			return n.brings(n.proxy.addr, ton(3), &contract.IncreaseStake{QueryID: query, Amount: ton(2), Excess: stranger})
		}, n.proxy.addr, stranger, excess, false},
		{"the owner's comment w", func() *outcome { return n.proxy.says('w') }, n.proxy.addr, operator, join(field(0xc59a7cd3, 32), field(0, 64)), false},
		{"the owner's comment c", func() *outcome { return n.proxy.says('c') }, n.proxy.addr, operator, join(field(0x2565934c, 32), field(0, 64)), false},
		{"complete", func() *outcome {
			n.wait(day)
			return n.brings(n.proxy.addr, ton(1), payment(n, contract.CloseComplete, n.proxy.addr, 0))
		}, n.proxy.addr, operator, payout, false},
		{"the registry's answer", func() *outcome { return n.root.order(&contract.ResetLists{QueryID: query}) }, n.root.addr, n.root.owner.addr, excess, false},
	} {
		sent := x.do().sent(x.from, x.to)
		if len(sent) != 1 {
			t.Errorf("%s: %d messages, want 1", x.name, len(sent))
			continue
		}
		if want := x.want.EndCell(); plain(sent[0].Body).HashKey() != want.HashKey() {
			t.Errorf("%s: got\n%s\nwant\n%s", x.name, sent[0].Body.Dump(), want.Dump())
		}
		equal(n, x.name+": bounce", sent[0].Bounce, x.bounce)
	}
}

// N1: the proxy's contract computes the addresses of its workers and clients
// as this program does, for every shape of the parameters.
func TestProxyKnowsItsOwn(t *testing.T) {
	for name, change := range map[string]func(r *contract.Root){
		"shape 3": func(*contract.Root) {},
		"shape 4": func(r *contract.Root) { r.StructVersion = 4 },
		"shape 5": func(r *contract.Root) { r.StructVersion = 5 },
		"a test":  func(r *contract.Root) { r.IsTest = true },
		"great numbers": func(r *contract.Root) {
			r.UniqueID, r.ParamsVersion, r.MinProxyStake, r.MinClientStake = 1<<32-1, 1<<31, 1<<62, 1<<62
		},
		"zeros": func(r *contract.Root) { r.MinProxyStake, r.MinClientStake, r.UniqueID, r.ParamsVersion = 0, 0, 0, 0 },
		"free of charge": func(r *contract.Root) {
			r.PricePerToken, r.WorkerFeePerToken = 0, 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := open(t, change)
			n.alice.topUp(ton(60)).wants(aliceAndProxy)
			n.proxy.payout(n.worker, 1000).wants(workerAndProxy)
			n.proxy.grant(n.alice, 1000).wants(aliceAndProxy)
		})
	}
}

// recordedProxyKey was made for the recorded sessions, and signed them.
var recordedProxyKey = func() ed25519.PrivateKey {
	seed, err := base64.StdEncoding.DecodeString("ml+7xELuOQtfp9q9mSWtHiSWx5aSBV6p3xCfwPmHOwY=")
	if err != nil {
		panic(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}()

// N13: what the reference's proxy signed passes the check of the signature;
// these payments are for contracts with other code, and that is what refuses
// them. The same bytes with one bit turned are not genuine.
func TestReferenceSignaturesAreGenuine(t *testing.T) {
	file, err := os.Open("testdata/recorded_payments.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := open(t)
	n.proxy = n.root.deployProxy("recorded", n.bob.owner, recordedProxyKey)
	c, w := n.proxy.deployClient("client", n.alice.owner), n.proxy.deployWorker("recorded worker", n.alice.owner)
	seen := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		kind, text, _ := strings.Cut(lines.Text(), " ")
		to, code := c.account, "1000" // of no tokens at all
		switch kind {
		case "charge":
		case "payout":
			to = w.account
		default:
			continue
		}
		bag, err := hex.DecodeString(text)
		n.must(err)
		body, err := cell.FromBOC(bag)
		n.must(err)
		parsed, err := contract.ParseBody(body)
		n.must(err)
		if e := parsed.(*contract.Envelope); kind == "payout" || e.Tokens > 0 {
			code = "1015"
		}
		n.stranger.send(to.addr, ton(1), body, nil).wants(to.name + " " + code)
		payload := body.MustBeginParse().MustLoadRef().MustToCell()
		turned := bytes.Clone(payload.MustBeginParse().MustLoadSlice(payload.BitsSize()))
		turned[19] ^= 1 // the counter
		s := body.MustBeginParse()
		forged := cell.BeginCell().MustStoreSlice(s.MustLoadSlice(body.BitsSize()), body.BitsSize()).
			MustStoreRef(cell.BeginCell().MustStoreSlice(turned, payload.BitsSize()).EndCell()).EndCell()
		n.stranger.send(to.addr, ton(1), forged, nil).wants(to.name + " 1007")
		seen++
	}
	if seen != 4 {
		t.Errorf("%d recorded payments, want 4", seen)
	}
}
