package contract

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// stage is a local chain with our contracts on it. Messages come from any
// address we like.
type stage struct {
	*testing.T
	chain *localnet.Chain
	lt    uint64
	// strange means that bodies need not be ours.
	strange bool
}

func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageAt(t, func() time.Time { return time.Unix(1_900_000_000, 0) })
}

func newStageAt(t *testing.T, now func() time.Time) *stage {
	t.Helper()
	c, err := localnet.New(localnet.Config{Seed: [32]byte{7}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &stage{T: t, chain: c}
}

// send delivers a message and returns the exit codes of all that ran, in
// order. Every body on the way must be one that we can read.
func (s *stage) send(from, to *address.Address, value coin.Nano, body *cell.Cell, init *tlb.StateInit) []int {
	s.Helper()
	s.lt++
	message, err := tlb.ToCell(&tlb.InternalMessage{
		IHRDisabled: true, Bounce: init == nil, SrcAddr: from, DstAddr: to, Amount: tlb.FromNanoTONU(uint64(value)),
		CreatedLT: s.lt, CreatedAt: 1_900_000_000, Body: body, StateInit: init,
	})
	if err != nil {
		s.Fatal(err)
	}
	trace, err := s.chain.Deliver(message)
	if err != nil {
		s.Fatal(err)
	}
	txs, err := trace.Transactions()
	if err != nil {
		s.Fatal(err)
	}
	var codes []int
	for _, tx := range txs {
		if d, ok := tx.Description.(tlb.TransactionDescriptionOrdinary); ok {
			if vm, ok := d.ComputePhase.Phase.(tlb.ComputePhaseVM); ok {
				codes = append(codes, int(vm.Details.ExitCode))
			}
		}
		in, ok := tx.IO.In.Msg.(*tlb.InternalMessage)
		if !ok || in.Bounced || s.strange {
			continue
		}
		if _, err := ParseBody(in.Body); err != nil {
			s.Errorf("a contract sent what we cannot read: %v\n%s", err, in.Body.Dump())
		}
	}
	return codes
}

// say sends a body and wants all that runs to succeed.
func (s *stage) say(from, to *address.Address, value coin.Nano, body Body) {
	s.Helper()
	if codes := s.send(from, to, value, cellOf(s.T, body), nil); len(codes) == 0 || slices.ContainsFunc(codes, func(c int) bool { return c != 0 }) {
		s.Fatalf("%T%+v ends with %v", body, body, codes)
	}
}

// refused sends a body and wants the first contract to end with this code.
func (s *stage) refused(code int, from, to *address.Address, value coin.Nano, body Body) {
	s.Helper()
	if codes := s.send(from, to, value, cellOf(s.T, body), nil); len(codes) == 0 || codes[0] != code {
		s.Errorf("%T%+v ends with %v, want %d", body, body, codes, code)
	}
}

func (s *stage) deploy(d *Deployment, value coin.Nano) {
	s.Helper()
	s.send(filled(0xdd), d.Address, value, emptyCell, d.Init)
	if !bytes.Equal(s.data(d.Address).Hash(), d.Init.Data.Hash()) {
		s.Fatalf("%s does not hold its initial data", d.Address)
	}
}

func (s *stage) data(addr *address.Address) *cell.Cell {
	s.Helper()
	a, err := s.chain.Account(addr)
	if err != nil {
		s.Fatal(err)
	}
	if a.Status != tlb.AccountStatusActive {
		s.Fatalf("%s is %s", addr, a.Status)
	}
	return a.StateInit.Data
}

func onStage[T any](s *stage, addr *address.Address, parse func(*cell.Cell) (T, error)) T {
	s.Helper()
	v, err := parse(s.data(addr))
	if err != nil {
		s.Fatal(err)
	}
	return v
}

func founded(t *testing.T, shape uint8) *Root {
	r := full(t, shape)
	r.Owner, r.Offered, r.LastProxySeqno, r.Proxies = filled(0x22), nil, 0, nil
	return r
}

// The root contract does what each message says, and we read what it wrote.
func TestRootTakesMessages(t *testing.T) {
	s := newStage(t)
	want := founded(t, 3)
	d, err := want.Deploy(OurCodes().Root)
	if err != nil {
		t.Fatal(err)
	}
	s.deploy(d, Ton)
	owner, heir := want.Owner, filled(0x23)
	change := func(from *address.Address, m Body, apply func(r *Root)) {
		t.Helper()
		s.say(from, d.Address, Ton, m)
		want.Version++
		apply(want)
		got, err := ParseRoot(s.data(d.Address))
		if err != nil {
			t.Fatal(err)
		}
		wantCell, err := want.Cell()
		if err != nil {
			t.Fatal(err)
		}
		gotCell, err := got.Cell()
		if err != nil || !bytes.Equal(gotCell.Hash(), wantCell.Hash()) {
			t.Fatalf("after %T%+v the registry is\n%+v, want\n%+v", m, m, got, want)
		}
		if !bytes.Equal(s.data(d.Address).Hash(), wantCell.Hash()) {
			t.Fatalf("after %T we would have written another cell", m)
		}
	}
	here := map[HashList]map[[32]byte]struct{}{WorkerImages: want.WorkerImages, ProxyImages: want.ProxyImages, Models: want.Models}
	for list, set := range here {
		change(owner, &ChangeHash{list, false, 1, all(0x99)}, func(*Root) { set[all(0x99)] = struct{}{} })
		change(owner, &ChangeHash{list, true, 1, all(0x99)}, func(*Root) { delete(set, all(0x99)) })
	}
	entry := func(seqno uint32, text string) ProxyEntry {
		workers, clients, err := ParseProxyAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		return ProxyEntry{seqno, workers, clients}
	}
	change(owner, &RegisterProxy{2, "1.2.3.4:5"}, func(r *Root) { r.LastProxySeqno, r.Proxies = 1, []ProxyEntry{entry(1, "1.2.3.4:5")} })
	change(owner, &RegisterProxy{2, "1.2.3.4:6"}, func(r *Root) { r.LastProxySeqno, r.Proxies = 2, append(r.Proxies, entry(2, "1.2.3.4:6")) })
	change(owner, &UpdateProxy{2, 1, "1.2.3.4:5 1.2.3.4:7"}, func(r *Root) { r.Proxies[0] = entry(1, "1.2.3.4:5 1.2.3.4:7") })
	change(owner, &UnregisterProxy{2, 2}, func(r *Root) { r.Proxies = r.Proxies[:1] })
	change(owner, &ChangePrice{3, 30, 25}, func(r *Root) { r.ParamsVersion++; r.PricePerToken, r.WorkerFeePerToken = 30, 25 })
	limits := Limits{ProxyDelay: 900, ClientDelay: 400, MinProxyStake: 5 * Ton, MinClientStake: 6 * Ton}
	change(owner, &ChangeParams{3, 40, 35, limits}, func(r *Root) {
		r.ParamsVersion++
		r.PricePerToken, r.WorkerFeePerToken, r.ProxyDelay, r.ClientDelay, r.MinProxyStake, r.MinClientStake = 40, 35, 900, 400, 5*Ton, 6*Ton
	})
	m := ledger.Multipliers{Prompt: 10000, Cached: 0, Completion: 30000, Reasoning: 40000}
	change(owner, &ChangeAllParams{3, 40, 35, m, limits}, func(r *Root) { r.ParamsVersion++; r.Multipliers = m })
	change(owner, &UpgradeContracts{4, someCode, otherCode, thirdCode}, func(r *Root) {
		r.ParamsVersion++
		r.ProxyCode, r.WorkerCode, r.ClientCode = someCode, otherCode, thirdCode
	})
	change(owner, &UpgradeRoot{4, OurCodes().Root}, func(*Root) {})
	change(owner, &OfferOwner{5, heir}, func(r *Root) { r.Offered = heir })
	change(owner, &UnregisterProxy{5, offerSeqno}, func(r *Root) { r.Offered = nil })
	change(owner, &OfferOwner{5, heir}, func(r *Root) { r.Offered = heir })
	s.refused(1010, owner, d.Address, Ton, &AcceptOwner{5})
	change(heir, &AcceptOwner{5}, func(r *Root) { r.Offered, r.Owner = nil, heir })
	s.refused(1010, owner, d.Address, Ton, &ResetLists{6})
	change(heir, &ResetLists{6}, func(r *Root) { r.ProxyImages, r.WorkerImages, r.Models, r.Proxies = nil, nil, nil, nil })
	s.refused(1016, heir, d.Address, Ton, &ChangePrice{7, 1, 2})

	next := *want
	next.StructVersion, next.Version = 4, want.Version+5
	next.KeyManagerKey, next.KeyManager = public(seed(3)), "1.2.3.4:5"
	data, err := next.Cell()
	if err != nil {
		t.Fatal(err)
	}
	change(heir, &UpgradeAll{8, data, OurCodes().Root}, func(r *Root) { *r = next })
}

// parties are one of each contract, deployed.
type parties struct {
	*stage
	root                  *Root
	rootAt                *address.Address
	proxy, worker, client *Deployment
	owner                 *address.Address // of the proxy
	earner, spender       *address.Address
	key                   ed25519.PrivateKey
}

func newParties(t *testing.T, shape uint8) *parties {
	p := &parties{stage: newStage(t), root: founded(t, shape), owner: filled(0x32), earner: filled(0x33), spender: filled(0x44), key: seed(7)}
	make := func(d *Deployment, err error) *Deployment {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		p.deploy(d, Ton)
		return d
	}
	p.rootAt = make(p.root.Deploy(OurCodes().Root)).Address
	p.proxy = make(p.root.DeployProxy(p.owner, p.rootAt, public(p.key)))
	p.worker = make(p.root.DeployWorker(p.earner, p.proxy.Address, public(p.key)))
	p.client = make(p.root.DeployClient(p.spender, p.proxy.Address, public(p.key)))
	return p
}

func (p *parties) sign(kind PaymentKind, tokens int64, contract *address.Address) *Envelope {
	p.Helper()
	e, err := (&Payment{Kind: kind, QueryID: 9, Excess: excess, Tokens: tokens, Contract: contract}).Sign(p.key)
	if err != nil {
		p.Fatal(err)
	}
	return e
}

// A client's and a worker's whole life under each shape of parameters: our
// contracts take what we build, and what they store and send is what we read.
func TestContractsTakeMessages(t *testing.T) {
	for shape := uint8(3); shape <= maxStructVersion; shape++ {
		t.Run(fmt.Sprint(shape), func(t *testing.T) { life(newParties(t, shape)) })
	}
}

func life(p *parties) {
	proxy, worker, client := p.proxy.Address, p.worker.Address, p.client.Address
	stranger := filled(0x66)
	wantClient := func(want ClientState) {
		p.Helper()
		got := onStage(p.stage, client, ParseClientState)
		if got.State != want.State || got.Balance != want.Balance || got.Stake != want.Stake || got.Tokens != want.Tokens || got.SecretHash != want.SecretHash || got.Debt != want.Debt {
			p.Fatalf("client is %+v, want %+v", got, want)
		}
	}
	wantProxy := func(state State, balance, stake, deposits coin.Nano) {
		p.Helper()
		got := onStage(p.stage, proxy, ParseProxyState)
		if got.State != state || got.Balance != balance || got.Stake != stake || got.Deposits != deposits {
			p.Fatalf("proxy is %+v, want %s, balance %s, stake %s, deposits %s", got, state, balance, stake, deposits)
		}
	}
	// Prices: 20 and 10 nanoTON; multiplied by 10^8 tokens, 2 TON and 1 TON.
	const bulk = 100_000_000
	p.say(stranger, client, 31*Ton, &TopUp{1, 30 * Ton, excess})
	wantClient(ClientState{Balance: 30 * Ton, Stake: 15 * Ton})
	wantProxy(Normal, 0, 0, 30*Ton)
	p.say(p.spender, client, 2*Ton, &SecretTopUp{1, Ton, all(1), excess})
	p.say(p.spender, client, Ton, &ChangeSecret{1, all(2), excess})
	p.say(p.spender, client, Ton, &ClientRegister{1, 1 << 63, excess})
	p.say(p.spender, client, Ton, &RaiseStake{1, 16 * Ton, excess})
	p.say(p.spender, client, Ton, &Withdraw{1, excess})
	wantClient(ClientState{Balance: 16 * Ton, Stake: 16 * Ton, SecretHash: all(2)})
	wantProxy(Normal, 0, 0, 16*Ton)

	p.say(stranger, client, Ton, p.sign(Charge, bulk, client))
	wantClient(ClientState{Balance: 14 * Ton, Stake: 16 * Ton, Tokens: bulk, SecretHash: all(2)})
	p.refused(1000, stranger, client, Ton, p.sign(Charge, bulk, client))
	p.say(p.earner, worker, Ton, &WorkerRegister{1, excess})
	p.say(stranger, worker, Ton, p.sign(Payout, bulk, worker).Repack(p.earner))
	if w := onStage(p.stage, worker, ParseWorkerState); w.State != Normal || w.Tokens != bulk || w.Owed != 0 || !sameAccount(w.Owner, p.earner) {
		p.Fatalf("worker is %+v", w)
	}
	wantProxy(Normal, Ton, 0, 14*Ton)

	p.say(stranger, proxy, Ton, &PayoutRequest{1, excess})
	p.say(stranger, proxy, 6*Ton, &IncreaseStake{1, 5 * Ton, excess})
	wantProxy(Normal, 0, 5*Ton, 14*Ton)
	p.say(p.owner, proxy, Ton, &SaveState{1, 5, all(4)})
	p.say(p.owner, proxy, Ton, Text{'w'})
	p.say(p.spender, client, Ton, &RequestRefund{1, excess, nil})
	if c := onStage(p.stage, client, ParseClientState); c.State != Closing || c.UnlockAt == 0 {
		p.Fatalf("client is %+v, want it closing", c)
	}

	// Owing more than there is, the client is in debt, and a deposit settles it.
	p.say(stranger, client, Ton, p.sign(Charge, 10*bulk, client))
	wantClient(ClientState{State: Closing, Stake: 16 * Ton, Tokens: 10 * bulk, SecretHash: all(2), Debt: 4 * Ton})
	p.say(stranger, client, 6*Ton, &TopUp{1, 5 * Ton, excess})
	wantClient(ClientState{State: Closing, Balance: Ton, Stake: 16 * Ton, Tokens: 10 * bulk, SecretHash: all(2)})
	p.say(stranger, client, Ton, p.sign(GrantRefund, 10*bulk, client))
	if c := onStage(p.stage, client, ParseClientState); c.State != Closed || c.Balance != 0 {
		p.Fatalf("client is %+v, want it closed and empty", c)
	}
	wantProxy(Normal, 0, 5*Ton, 18*Ton)

	// More than the pool has: the worker is owed it.
	if codes := p.send(stranger, worker, Ton, cellOf(p.T, p.sign(Payout, 100*bulk, worker)), nil); len(codes) < 2 || codes[1] != 1017 {
		p.Fatalf("a payout beyond the pool ends with %v, want 1017 at the proxy", codes)
	}
	if w := onStage(p.stage, worker, ParseWorkerState); w.Owed != 99*bulk || w.Tokens != 100*bulk {
		p.Fatalf("worker is %+v, want it to be owed %d tokens", w, 99*bulk)
	}

	p.say(p.owner, proxy, Ton, &OwnerClose{1, excess})
	p.refused(1006, stranger, proxy, Ton, p.sign(CloseRequest, 0, proxy))
	p.refused(1011, stranger, proxy, Ton, p.sign(CloseComplete, 0, proxy))
	p.refused(1011, p.owner, proxy, Ton, &OwnerFinish{1})
	if _, err := p.chain.Advance(time.Duration(p.root.ProxyDelay+1) * time.Second); err != nil {
		p.Fatal(err)
	}
	p.say(stranger, proxy, Ton, p.sign(CloseComplete, 0, proxy))
	wantProxy(Closed, 0, 0, 18*Ton)
}

// The network's own checks refuse what was signed for another contract, by
// another key, or for another purpose.
func TestContractsRefuseForgeries(t *testing.T) {
	p := newParties(t, 3)
	proxy, worker, client := p.proxy.Address, p.worker.Address, p.client.Address
	stranger := filled(0x66)
	p.refused(1015, stranger, client, Ton, p.sign(Charge, 5, filled(9)))
	p.refused(1015, stranger, worker, Ton, p.sign(LastPayout, 5, client))
	p.refused(1015, stranger, proxy, Ton, p.sign(CloseRequest, 0, client))
	p.refused(1012, stranger, worker, Ton, p.sign(Charge, 5, worker))
	p.key = seed(8)
	p.refused(1007, stranger, client, Ton, p.sign(GrantRefund, 5, client))
	p.refused(1007, stranger, worker, Ton, p.sign(Payout, 5, worker))
	p.refused(1010, stranger, client, Ton, &ClientRegister{1, 1, excess})
	p.refused(1009, stranger, client, Ton, &Withdraw{1, excess})
	p.refused(1010, stranger, proxy, Ton, &OwnerClose{1, excess})
	p.refused(1014, stranger, proxy, Ton, &WorkerRequest{1, stranger, Normal, 5, &PayoutPart{1, 1, excess}})
	p.refused(1014, stranger, proxy, Ton, &ClientRequest{1, stranger, Shown{}, &ClientPart{Kind: PartTopUp, Amount: 1, Excess: excess}})
}
