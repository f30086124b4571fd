package contract

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/ledger"
)

type rootVectors struct {
	States []struct{ Name, BocHex, Hash, Note string }
	Signed struct {
		EnvelopeBoc  string `json:"envelope_boc"`
		EnvelopeHash string `json:"envelope_hash"`
		PayloadHash  string `json:"payload_hash_signed"`
		Signer       string `json:"signer_public_key"`
		Seed         string `json:"signer_seed"`
		ValidUntil   uint32 `json:"valid_until"`
	} `json:"add_public_key_signed"`
}

func readRootVectors(t testing.TB) (v rootVectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/root_state.json")
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil || len(v.States) != 6 {
		t.Fatal(len(v.States), err)
	}
	return v
}

func bagOf(t testing.TB, text string) *cell.Cell {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cell.FromBOC(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func all(b byte) (h [32]byte) {
	for i := range h {
		h[i] = b
	}
	return h
}

func hashes(list ...byte) map[[32]byte]struct{} {
	set := map[[32]byte]struct{}{}
	for _, b := range list {
		set[all(b)] = struct{}{}
	}
	return set
}

// vectorRoot is what the states of root_state.json say, version by version.
func vectorRoot(t testing.TB, version uint8) *Root {
	key, err := hex.DecodeString("fb67d0fcd338f20e0d4957d9e82adc101d2e3513a448a3ab46052ee1b88c5818")
	if err != nil {
		t.Fatal(err)
	}
	r := &Root{
		Owner: filled(0x0a), Version: 9, ParamsVersion: 3, StructVersion: version, UniqueID: 17,
		PricePerToken: 20, WorkerFeePerToken: 10, Multipliers: ledger.Multipliers{Prompt: 10000, Cached: 10000, Completion: 10000, Reasoning: 10000},
		ProxyImages: hashes(0x21), WorkerImages: hashes(0x31), Models: hashes(0x41), LastProxySeqno: 1,
		Proxies: []ProxyEntry{{1, netip.MustParseAddrPort("10.0.0.2:11001"), netip.MustParseAddrPort("10.0.0.2:11002")}},
	}
	if version >= 4 {
		manager := all(0x51)
		r.PublicKeys = []PublicKey{{key, 1, 2000000000}}
		r.KeyManagerKey, r.KeyManagerImage, r.KeyManager = manager[:], all(0x61), "10.0.0.3:13001"
	}
	if version >= 5 {
		r.VerifiedProxies, r.VerifiedWorkers, r.VerifiedKeyManagers = hashes(0x71), hashes(), hashes(0x72)
	}
	return r
}

func TestRootVectors(t *testing.T) {
	for _, x := range readRootVectors(t).States {
		data := bagOf(t, x.BocHex)
		r, err := ParseRoot(data)
		if strings.HasPrefix(x.Name, "BAD") {
			if err == nil {
				t.Errorf("%s was read: %s", x.Name, x.Note)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", x.Name, err)
			continue
		}
		want := vectorRoot(t, x.Name[1]-'0')
		if strings.Contains(x.Name, "empty key manager") {
			want.PublicKeys, want.KeyManagerKey, want.KeyManagerImage, want.KeyManager = nil, nil, [32]byte{}, ""
		}
		// What the vectors leave open is taken from what was read.
		want.PricePerToken, want.WorkerFeePerToken, want.Multipliers = r.PricePerToken, r.WorkerFeePerToken, r.Multipliers
		want.ProxyDelay, want.ClientDelay, want.MinProxyStake, want.MinClientStake = r.ProxyDelay, r.ClientDelay, r.MinProxyStake, r.MinClientStake
		if !reflect.DeepEqual(r, want) {
			t.Errorf("%s reads as\n%+v, want\n%+v", x.Name, r, want)
		}
		again, err := r.Cell()
		if err != nil || hex.EncodeToString(again.Hash()) != x.Hash {
			t.Errorf("%s written again is another cell (%v)", x.Name, err)
		}
	}
}

// The registry of contracts.md section 26.
func TestProductionRootVector(t *testing.T) {
	r := production(t)
	r.LastProxySeqno = 1
	one := [32]byte{31: 1}
	r.WorkerImages = map[[32]byte]struct{}{one: {}}
	r.Proxies = []ProxyEntry{{1, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.1:2")}}
	c, err := r.Cell()
	if err != nil {
		t.Fatal(err)
	}
	code := sealed(t, "WwfGvQw0c1h036NUjNmgHHi+Hg/fINDF6+N3djlsVAA=", 9)
	d, err := r.Deploy(code)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][3]string{
		{"lists", hex.EncodeToString(c.MustPeekRef(0).Hash(0)), "56fbd5689990cd261c39077e3d7ea02ccb1c434fa06d7fddb23ccc28ce9c1161"},
		{"root", hex.EncodeToString(c.Hash(0)), "49526f582943a6addbb07c3f6cb9344c87f75b73ae84fd4460dfc44d80b3d5f3"},
		{"address", d.Address.StringRaw(), "0:adc9fcd5f207c1f95a48446f53018ea73ffaf6c7ff79e253c26a7209c717a187"},
	} {
		if x[1] != x[2] {
			t.Errorf("%s = %s, want %s", x[0], x[1], x[2])
		}
	}
}

// full is a registry with something everywhere.
func full(t testing.TB, version uint8) *Root {
	r := vectorRoot(t, version)
	c := OurCodes()
	r.ProxyCode, r.WorkerCode, r.ClientCode = c.Proxy, c.Worker, c.Client
	r.IsTest, r.ProxyDelay, r.ClientDelay = true, 600, 300
	r.MinProxyStake, r.MinClientStake = Ton, Ton
	r.Multipliers = ledger.Plain
	if version >= 1 {
		r.MinProxyStake, r.MinClientStake = 2*Ton, 15*Ton
	}
	if version >= 2 {
		r.Multipliers.Cached, r.Multipliers.Reasoning = 1000, 80000
	}
	if version >= 3 {
		r.Multipliers.Prompt, r.Multipliers.Completion = 20000, 90000
	}
	r.WorkerImages = hashes(1, 2, 3, 0xff)
	r.Offered = filled(0x99)
	return r
}

func TestRootComesBack(t *testing.T) {
	for version := range uint8(maxStructVersion + 1) {
		want := full(t, version)
		c, err := want.Cell()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRoot(c)
		if err != nil {
			t.Errorf("shape %d: %v", version, err)
			continue
		}
		// Cells are compared by hash: they remember how they were made.
		for _, code := range [][2]*cell.Cell{{got.ProxyCode, want.ProxyCode}, {got.WorkerCode, want.WorkerCode}, {got.ClientCode, want.ClientCode}} {
			if codeHash(code[0]) != codeHash(code[1]) {
				t.Errorf("shape %d: a code cell differs", version)
			}
		}
		got.ProxyCode, got.WorkerCode, got.ClientCode = want.ProxyCode, want.WorkerCode, want.ClientCode
		if !reflect.DeepEqual(got, want) {
			t.Errorf("shape %d reads as\n%+v, want\n%+v", version, got, want)
		}
		if err := got.CheckContracts(); err != nil {
			t.Errorf("shape %d: %v", version, err)
		}
	}
}

// An entry that is not a proxy does not spoil the rest.
func TestSkippedProxies(t *testing.T) {
	lists := func(entries func(add func(key []byte, value *builder))) *cell.Cell {
		r := full(t, 3)
		c, err := r.Cell()
		if err != nil {
			t.Fatal(err)
		}
		b := newBuilder("lists").set(nil).entries(32, entries).uint(7, 32).set(nil).set(nil)
		root := newBuilder("root").addr(r.Owner).uint(1, 32).ref(b.cell()).ref(c.MustPeekRef(1))
		if b.err != nil || root.err != nil {
			t.Fatal(b.err, root.err)
		}
		return root.cell()
	}
	r, err := ParseRoot(lists(func(add func(key []byte, value *builder)) {
		add(be32(1), newBuilder("text").text("1.2.3.4:5"))
		add(be32(2), newBuilder("text").text("example.org:5"))
		add(be32(3), newBuilder("text").text(""))
		add(be32(4), newBuilder("kind 1").uint(1, 1).uint(8, 7).uint(0, 8))
		add(be32(5), newBuilder("short").uint(3, 8))
		add(be32(6), newBuilder("long").text("1.2.3.4:6").uint(1, 1))
		add(be32(7), newBuilder("with reference").text("1.2.3.4:7").ref(emptyCell))
		add(be32(8), newBuilder("nothing"))
		add(be32(9), newBuilder("text").text("[1.2.3.4:8] 1.2.3.4:9"))
		add(be32(offerSeqno), newBuilder("offer").uint(1, 1).addr(filled(0x99)))
	}))
	if err != nil {
		t.Fatal(err)
	}
	var skipped []uint32
	for _, s := range r.Skipped {
		skipped = append(skipped, s.Seqno)
		if s.Err == nil {
			t.Errorf("entry %d is skipped for no reason", s.Seqno)
		}
	}
	if len(r.Proxies) != 2 || r.Proxies[1].String() != "1.2.3.4:8 1.2.3.4:9" || !reflect.DeepEqual(skipped, []uint32{2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("proxies %v, skipped %v", r.Proxies, skipped)
	}
	if !sameAccount(r.Offered, filled(0x99)) {
		t.Errorf("offered to %v, want %v", r.Offered, filled(0x99))
	}
	r, err = ParseRoot(lists(func(add func(key []byte, value *builder)) {
		add(be32(offerSeqno), newBuilder("no offer").uint(1, 1).uint(1, 8))
	}))
	if err != nil || r.Offered != nil || len(r.Skipped) != 1 {
		t.Errorf("a broken offer gives %v, %v, %v", r.Offered, r.Skipped, err)
	}
}

// One thing wrong at a time.
func TestRootRefusals(t *testing.T) {
	shape := func(version uint8) (*Root, []*cell.Cell, *cell.Builder) {
		r := full(t, version)
		c, err := r.Cell()
		if err != nil {
			t.Fatal(err)
		}
		var refs []*cell.Cell
		for i := range int(c.RefsNum()) {
			refs = append(refs, c.MustPeekRef(i))
		}
		return r, refs, cell.BeginCell().MustStoreAddr(r.Owner).MustStoreUInt(9, 32)
	}
	// with replaces one of a good root's references.
	with := func(version uint8, at int, ref *cell.Cell) *cell.Cell {
		_, refs, b := shape(version)
		for i, c := range refs {
			if i == at {
				c = ref
			}
			b.MustStoreRef(c)
		}
		return b.EndCell()
	}
	// more appends a bit or a reference to one of them.
	more := func(version uint8, at int, bit bool) *cell.Cell {
		_, refs, _ := shape(version)
		b := refs[at].MustBeginParse().ToBuilder()
		if bit {
			return with(version, at, b.MustStoreUInt(0, 1).EndCell())
		}
		return with(version, at, b.MustStoreRef(emptyCell).EndCell())
	}
	keys := func(manager *builder) *cell.Cell {
		b := newBuilder("keys").entries(256, func(func([]byte, *builder)) {}).bits(noKey, 256).bits(noKey, 256)
		return with(4, 2, b.b.MustStoreBuilder(manager.b).EndCell())
	}
	oneKey := func(value *builder) *cell.Cell {
		b := newBuilder("keys").entries(256, func(add func([]byte, *builder)) { add(noKey, value) })
		return with(4, 2, b.bits(noKey, 256).bits(noKey, 256).text("").cell())
	}
	lists := func(set *builder) *cell.Cell {
		return with(3, 0, set.uint(0, 1).uint(7, 32).uint(0, 2).cell())
	}
	_, v3, _ := shape(3)
	_, v4, _ := shape(4)
	params := v3[1].MustBeginParse()
	head := params.MustLoadSlice(8 + 32 + 32 + 1)
	long := cell.BeginCell().MustStoreSlice(head, 73).MustStoreUInt(2, 4).MustStoreUInt(20, 16)
	params.MustLoadCoins()
	long.MustStoreBuilder(params.ToBuilder())
	great := cell.BeginCell().MustStoreSlice(head, 73).MustStoreCoins(1 << 63).MustStoreBuilder(params.ToBuilder())
	owner := func(a *address.Address) *cell.Cell {
		return cell.BeginCell().MustStoreAddr(a).MustStoreUInt(9, 32).MustStoreRef(v3[0]).MustStoreRef(v3[1]).EndCell()
	}
	exotic := sealed(t, "l00kU45gA7Gjk/hwhSW4EyTPiniu6ItFhdUbb2RVUUc=", 3)
	for _, x := range []struct {
		name, want string
		data       *cell.Cell
	}{
		{"nothing", "no cell", nil},
		{"empty", "root:", emptyCell},
		{"exotic", "exotic", exotic},
		{"no owner", "standard address", owner(nil)},
		{"extern owner", "standard address", owner(address.NewAddressExt(0, 256, make([]byte, 32)))},
		{"no references", "root:", cell.BeginCell().MustStoreAddr(filled(1)).MustStoreUInt(9, 32).EndCell()},
		{"extra bit", "1 bits", cell.BeginCell().MustStoreAddr(filled(1)).MustStoreUInt(9, 32).MustStoreUInt(0, 1).MustStoreRef(v3[0]).MustStoreRef(v3[1]).EndCell()},
		{"shape 3 with keys", "1 references", cell.BeginCell().MustStoreAddr(filled(1)).MustStoreUInt(9, 32).MustStoreRef(v3[0]).MustStoreRef(v3[1]).MustStoreRef(v4[2]).EndCell()},
		{"shape 4 without keys", "root:", cell.BeginCell().MustStoreAddr(filled(1)).MustStoreUInt(9, 32).MustStoreRef(v4[0]).MustStoreRef(v4[1]).EndCell()},
		{"shape 6", "struct version is 6", with(3, 1, cell.BeginCell().MustStoreUInt(6, 8).EndCell())},
		{"params cut off", "parameters", with(3, 1, cell.BeginCell().MustStoreUInt(3, 8).EndCell())},
		{"params exotic", "parameters: exotic", with(3, 1, exotic)},
		{"params with a bit more", "parameters: 1 bits", more(3, 1, true)},
		{"params with a reference more", "parameters: 0 bits and 1 ref", more(3, 1, false)},
		{"price with a zero in front", "longer than it need be", with(3, 1, long.EndCell())},
		{"price of 2^63", "above 2^63", with(3, 1, great.EndCell())},
		{"lists with a bit more", "lists: 1 bits", more(3, 0, true)},
		{"lists with a reference more", "lists: 0 bits and 1 ref", with(3, 0, newBuilder("").uint(0, 2).uint(7, 32).uint(0, 2).ref(emptyCell).cell())},
		{"lists cut off", "lists", with(3, 0, cell.BeginCell().MustStoreUInt(0, 20).EndCell())},
		{"image with a value", "proxy images: entry", lists(newBuilder("").entries(256, func(add func([]byte, *builder)) { add(noKey, newBuilder("").uint(0, 1)) }))},
		{"dictionary of nothing", "proxy images", lists(newBuilder("").uint(1, 1).ref(emptyCell))},
		{"dictionary exotic", "proxy images", lists(newBuilder("").uint(1, 1).ref(exotic))},
		{"keys with a bit more", "key manager: 1 bits", more(4, 2, true)},
		{"manager of kind 1", "kind 1", keys(newBuilder("").uint(1, 1).uint(0, 7))},
		{"manager unreadable", "want ip:port", keys(newBuilder("").text("example.org:1"))},
		{"manager cut off", "key manager", keys(newBuilder("").uint(9, 8))},
		{"key with a bit more", "public keys: entry", oneKey(newBuilder("").uint(0, 41))},
		{"key with a bit less", "public keys: entry", oneKey(newBuilder("").uint(0, 39))},
		{"verified with a bit more", "verified keys: 1 bits", more(5, 3, true)},
	} {
		if r, err := ParseRoot(x.data); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, %+v, want an error with %q", x.name, err, r, x.want)
		}
	}
}

// A few cells that refer to each other stand for 2^32 entries.
func TestEndlessDictionary(t *testing.T) {
	node := cell.BeginCell().MustStoreUInt(0, 2).EndCell() // empty label, no value
	for range 32 {
		node = cell.BeginCell().MustStoreUInt(0, 2).MustStoreRef(node).MustStoreRef(node).EndCell()
	}
	c, err := full(t, 3).Cell()
	if err != nil {
		t.Fatal(err)
	}
	lists := newBuilder("").uint(0, 1).uint(1, 1).ref(node).uint(7, 32).uint(0, 2).cell()
	root := newBuilder("").addr(filled(1)).uint(1, 32).ref(lists).ref(c.MustPeekRef(1)).cell()
	if _, err := ParseRoot(root); err == nil || !strings.Contains(err.Error(), "more than 100000 entries") {
		t.Errorf("%v, want a refusal", err)
	}
}

func TestCheckRefusesWhatLosesMoney(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*Root)
		want   string
	}{
		"no proxy code":     {func(r *Root) { r.ProxyCode = nil }, "code of proxy"},
		"empty worker code": {func(r *Root) { r.WorkerCode = emptyCell }, "code of worker"},
		"no client code":    {func(r *Root) { r.ClientCode = nil }, "code of client"},
		"fee above price":   {func(r *Root) { r.WorkerFeePerToken = 21 }, "worker fee"},
		"negative price":    {func(r *Root) { r.PricePerToken, r.WorkerFeePerToken = -1, -1 }, "negative"},
		"negative stake":    {func(r *Root) { r.MinClientStake = -1 }, "negative"},
		"no owner":          {func(r *Root) { r.Owner = nil }, "owner"},
		"shape 6":           {func(r *Root) { r.StructVersion = 6 }, "struct version is 6"},
	} {
		r := full(t, 3)
		x.change(r)
		if err := r.CheckContracts(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, x.want)
		}
		if d, err := r.Deploy(OurCodes().Root); err == nil {
			t.Errorf("%s: deployed to %s", name, d.Address)
		}
	}
}

// What could not be read again, or would be lost, is not written.
func TestCellRefusals(t *testing.T) {
	for name, x := range map[string]struct {
		shape  uint8
		change func(*Root)
		want   string
	}{
		"unknown shape":         {5, func(r *Root) { r.StructVersion = 6 }, "struct version is 6"},
		"keys in shape 3":       {3, func(r *Root) { r.KeyManager = "1.2.3.4:5" }, "no place for encryption keys"},
		"verified in shape 4":   {4, func(r *Root) { r.VerifiedWorkers = hashes(1) }, "no place for verified keys"},
		"proxy nowhere":         {3, func(r *Root) { r.Proxies = []ProxyEntry{{Seqno: 1}} }, "proxy address"},
		"proxy under the offer": {3, func(r *Root) { r.Proxies[0].Seqno = offerSeqno }, "which none may have"},
		"manager nowhere":       {4, func(r *Root) { r.KeyManager = "example.org:1" }, "want ip:port"},
		"short key":             {4, func(r *Root) { r.PublicKeys[0].Key = r.PublicKeys[0].Key[:31] }, "31 bytes"},
		"short manager key":     {4, func(r *Root) { r.KeyManagerKey = r.KeyManagerKey[:31] }, "248 bits"},
		"negative price":        {4, func(r *Root) { r.PricePerToken = -1 }, "want 0 or more"},
		"no owner":              {4, func(r *Root) { r.Owner = nil }, "standard address"},
	} {
		r := full(t, x.shape)
		x.change(r)
		if c, err := r.Cell(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, %v, want an error with %q", name, c, err, x.want)
		}
	}
}

func TestParamsOfContracts(t *testing.T) {
	r := full(t, 4)
	d, err := r.DeployClient(filled(1), filled(2), public(seed(7)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseClientState(d.Init.Data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseParams(s.Params)
	if err != nil || p.ParamsVersion != r.ParamsVersion || p.PricePerToken != r.PricePerToken || p.Multipliers != r.Multipliers || p.MinClientStake != r.MinClientStake || p.ClientCode != nil {
		t.Errorf("a client's parameters are %+v, %v, want those of %+v", p, err, r)
	}
	for _, bad := range []*cell.Cell{nil, emptyCell, then(s.Params).MustStoreUInt(0, 1).EndCell()} {
		if p, err := ParseParams(bad); err == nil {
			t.Errorf("%v reads as %+v", bad, p)
		}
	}
}

func FuzzParseRoot(f *testing.F) {
	for _, x := range readRootVectors(f).States {
		raw, err := hex.DecodeString(x.BocHex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for version := range uint8(maxStructVersion + 1) {
		c, err := full(f, version).Cell()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.ToBOC())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := cell.FromBOC(data)
		if err != nil {
			return
		}
		r, err := ParseRoot(c)
		if err != nil {
			return
		}
		again, err := r.Cell()
		if err != nil {
			t.Fatalf("read and cannot be written: %v", err)
		}
		twice, err := ParseRoot(again)
		if err != nil {
			t.Fatalf("written and cannot be read: %v", err)
		}
		if last, err := twice.Cell(); err != nil || string(last.Hash(0)) != string(again.Hash(0)) {
			t.Fatalf("written twice, two cells (%v)", err)
		}
	})
}
