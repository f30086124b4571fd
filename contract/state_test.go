package contract

import (
	"bytes"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

var someParams = cell.BeginCell().MustStoreUInt(3, 8).EndCell()

func someProxy() *ProxyState {
	return &ProxyState{Owner: filled(1), Key: public(seed(7)), Root: filled(2), State: Closing, Balance: 5 * Ton, Stake: 7, UnlockAt: 1700000000, Params: someParams}
}

func someWorker() *WorkerState {
	return &WorkerState{Owner: filled(1), Proxy: filled(2), Key: public(seed(7)), State: Closed, Tokens: 1<<64 - 1, Params: someParams}
}

func someClient() *ClientState {
	return &ClientState{
		State: Closing, Balance: 5, Stake: 15 * Ton, Tokens: 1 << 63, UnlockAt: 1700000000, SecretHash: all(9),
		Owner: filled(1), Proxy: filled(2), Key: public(seed(7)), Params: someParams,
	}
}

func laidOut(t testing.TB, fields func(codec)) *cell.Cell {
	t.Helper()
	b := newBuilder("state")
	fields(writing{b})
	c, err := b.done()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func then(c *cell.Cell) *cell.Builder { return c.MustBeginParse().ToBuilder() }

func TestStatesComeBack(t *testing.T) {
	amount := cell.BeginCell().MustStoreCoins(uint64(9 * Ton)).EndCell()
	endless := cell.BeginCell().MustStoreBigCoins(new(big.Int).Lsh(big.NewInt(1), 119)).EndCell()
	exotic := sealed(t, "l00kU45gA7Gjk/hwhSW4EyTPiniu6ItFhdUbb2RVUUc=", 3)
	p, w, c := laidOut(t, someProxy().fields), laidOut(t, someWorker().fields), laidOut(t, someClient().fields)

	proxy := func(deposits coin.Nano) *ProxyState { s := someProxy(); s.Deposits = deposits; return s }
	worker := func(owed uint64) *WorkerState { s := someWorker(); s.Owed = owed; return s }
	client := func(debt coin.Nano) *ClientState { s := someClient(); s.Debt = debt; return s }
	read := map[string]func(*cell.Cell) (any, error){
		"proxy":  func(c *cell.Cell) (any, error) { return ParseProxyState(c) },
		"worker": func(c *cell.Cell) (any, error) { return ParseWorkerState(c) },
		"client": func(c *cell.Cell) (any, error) { return ParseClientState(c) },
	}
	for _, x := range []struct {
		name string
		data *cell.Cell
		want any
	}{
		{"proxy", p, proxy(0)},
		{"proxy with deposits", then(p).MustStoreRef(amount).EndCell(), proxy(9 * Ton)},
		{"proxy with more than there is", then(p).MustStoreRef(endless).EndCell(), proxy(coin.Max)},
		{"proxy with fields after deposits", then(p).MustStoreRef(then(amount).MustStoreUInt(1, 9).EndCell()).MustStoreUInt(5, 9).MustStoreRef(amount).EndCell(), proxy(9 * Ton)},
		{"proxy with something else", then(p).MustStoreRef(emptyCell).EndCell(), proxy(0)},
		{"proxy with something exotic", then(p).MustStoreRef(exotic).EndCell(), proxy(0)},
		{"worker", w, worker(0)},
		{"worker with tokens owed", then(w).MustStoreUInt(1<<64-1, 64).EndCell(), worker(1<<64 - 1)},
		{"worker with more", then(w).MustStoreUInt(3, 64).MustStoreUInt(3, 64).MustStoreRef(amount).EndCell(), worker(3)},
		{"worker with something short", then(w).MustStoreUInt(1, 63).EndCell(), worker(0)},
		{"client", c, client(0)},
		{"client with debt", then(c).MustStoreRef(amount).EndCell(), client(9 * Ton)},
		{"client with more", then(c).MustStoreUInt(1, 5).MustStoreRef(amount).MustStoreRef(exotic).EndCell(), client(9 * Ton)},
	} {
		kind, _, _ := strings.Cut(x.name, " ")
		got, err := read[kind](x.data)
		if err != nil || !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s reads as\n%+v, %v, want\n%+v", x.name, got, err, x.want)
		}
	}
}

// A client may say that its stake is 2^119: that stops nobody from reading on.
func TestAmountsBeyondMoney(t *testing.T) {
	s := someClient()
	data := cell.BeginCell().MustStoreUInt(0, 2).MustStoreBigCoins(new(big.Int).Lsh(big.NewInt(1), 119)).MustStoreCoins(1<<63).
		MustStoreUInt(5, 64).MustStoreUInt(0, 32).MustStoreSlice(make([]byte, 32), 256).
		MustStoreRef(cell.BeginCell().MustStoreAddr(s.Owner).MustStoreAddr(s.Proxy).MustStoreSlice(s.Key, 256).EndCell()).MustStoreRef(someParams).EndCell()
	got, err := ParseClientState(data)
	if err != nil || got.Balance != coin.Max || got.Stake != coin.Max || got.Tokens != 5 {
		t.Errorf("%+v, %v, want all there is", got, err)
	}
}

// One thing wrong at a time.
func TestStateRefusals(t *testing.T) {
	for _, x := range []struct {
		name, want string
		change     func(*ProxyState)
	}{
		{"no owner", "standard address", func(s *ProxyState) { s.Owner = nil }},
		{"extern root", "standard address", func(s *ProxyState) { s.Root = address.NewAddressExt(0, 8, []byte{1}) }},
		{"short key", "248 bits", func(s *ProxyState) { s.Key = s.Key[:31] }},
		{"negative balance", "want 0 or more", func(s *ProxyState) { s.Balance = -1 }},
		{"no params", "a cell is missing", func(s *ProxyState) { s.Params = nil }},
	} {
		s := someProxy()
		x.change(s)
		if d, err := deploy("proxy contract", nil, s.fields); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, %v, want an error with %q", x.name, d, err, x.want)
		}
	}
	exotic := sealed(t, "l00kU45gA7Gjk/hwhSW4EyTPiniu6ItFhdUbb2RVUUc=", 3)
	p, w, c := someProxy(), someWorker(), someClient()
	p.State, w.State, c.State = 3, 3, 3
	noRoot := cell.BeginCell().MustStoreAddr(filled(1)).MustStoreSlice(p.Key, 256).MustStoreUInt(0, 2)
	full := laidOut(t, someClient().fields)
	parties := full.MustPeekRef(0)
	client := func(refs ...*cell.Cell) *cell.Cell {
		b := cell.BeginCell().MustStoreSlice(full.MustBeginParse().MustLoadSlice(full.BitsSize()), full.BitsSize())
		for _, r := range refs {
			b.MustStoreRef(r)
		}
		return b.EndCell()
	}
	for _, x := range []struct {
		name, want string
		parse      func() error
	}{
		{"proxy in state 3", "proxy contract: state is 3", func() error { _, err := ParseProxyState(laidOut(t, p.fields)); return err }},
		{"worker in state 3", "worker contract: state is 3", func() error { _, err := ParseWorkerState(laidOut(t, w.fields)); return err }},
		{"client in state 3", "client contract: state is 3", func() error { _, err := ParseClientState(laidOut(t, c.fields)); return err }},
		{"no data", "no cell", func() error { _, err := ParseProxyState(nil); return err }},
		{"empty", "worker contract", func() error { _, err := ParseWorkerState(emptyCell); return err }},
		{"exotic", "exotic", func() error { _, err := ParseClientState(exotic); return err }},
		{"proxy without root", "standard address", func() error { _, err := ParseProxyState(noRoot.EndCell()); return err }},
		{"client without parties", "client contract", func() error { _, err := ParseClientState(client()); return err }},
		{"client without params", "client contract", func() error { _, err := ParseClientState(client(parties)); return err }},
		{"client with more parties", "parties: 1 bits", func() error {
			_, err := ParseClientState(client(then(parties).MustStoreUInt(1, 1).EndCell(), someParams))
			return err
		}},
	} {
		if err := x.parse(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want an error with %q", x.name, err, x.want)
		}
	}
}

// What is sent along with the first message is what the address is made of.
func TestDeployments(t *testing.T) {
	r, key := full(t, 3), public(seed(7))
	root, err := r.Deploy(OurCodes().Root)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := r.DeployProxy(filled(0x22), root.Address, key)
	if err != nil {
		t.Fatal(err)
	}
	worker, err := r.DeployWorker(filled(0x33), proxy.Address, key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := r.DeployClient(filled(0x44), proxy.Address, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*Deployment{"root": root, "proxy": proxy, "worker": worker, "client": client} {
		c, err := tlb.ToCell(d.Init)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.Hash(), d.Address.Data()) || d.Address.Workchain() != 0 || d.Address.IsBounceable() {
			t.Errorf("%s: init hashes to %x, address is %s", name, c.Hash(), d.Address)
		}
	}
	if s, err := ParseProxyState(proxy.Init.Data); err != nil || s.State != Normal || s.Balance != 0 || !sameAccount(s.Root, root.Address) {
		t.Errorf("a new proxy is %+v, %v", s, err)
	}
	if s, err := ParseWorkerState(worker.Init.Data); err != nil || s.State != Normal || s.Tokens != 0 || !sameAccount(s.Proxy, proxy.Address) {
		t.Errorf("a new worker is %+v, %v", s, err)
	}
	if s, err := ParseClientState(client.Init.Data); err != nil || s.State != Normal || s.Balance != 0 || s.Stake != r.MinClientStake || !sameAccount(s.Owner, filled(0x44)) {
		t.Errorf("a new client is %+v, %v", s, err)
	}
	if s, err := ParseRoot(root.Init.Data); err != nil || s.Version != r.Version {
		t.Errorf("a new root is %+v, %v", s, err)
	}
}

func FuzzStates(f *testing.F) {
	for _, c := range []*cell.Cell{laidOut(f, someProxy().fields), laidOut(f, someWorker().fields), laidOut(f, someClient().fields)} {
		f.Add(c.ToBOC())
		f.Add(then(c).MustStoreUInt(7, 64).MustStoreRef(cell.BeginCell().MustStoreCoins(5).EndCell()).EndCell().ToBOC())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := cell.FromBOC(data)
		if err != nil {
			return
		}
		if s, err := ParseProxyState(c); err == nil {
			again, err := ParseProxyState(laidOut(t, s.fields))
			if s.Deposits = 0; err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("%+v comes back as %+v, %v", s, again, err)
			}
		}
		if s, err := ParseWorkerState(c); err == nil {
			again, err := ParseWorkerState(laidOut(t, s.fields))
			if s.Owed = 0; err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("%+v comes back as %+v, %v", s, again, err)
			}
		}
		if s, err := ParseClientState(c); err == nil {
			again, err := ParseClientState(laidOut(t, s.fields))
			if s.Debt = 0; err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("%+v comes back as %+v, %v", s, again, err)
			}
		}
	})
}
