package contract

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/ledger"
)

// sealed stands for a code cell of which only hash and depth are known, the
// production contracts' here: a pruned branch hashes like what it replaces.
func sealed(t *testing.T, hash string, depth byte) *cell.Cell {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(hash)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cell.BeginCell().MustStoreUInt(0x0101, 16).MustStoreSlice(raw, 256).MustStoreUInt(uint64(depth), 16).EndCellSpecial(true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func filled(b byte) *address.Address { return address.NewAddress(0, 0, bytes.Repeat([]byte{b}, 32)) }

func seed(b byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, 32)) }

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// production is the registry of contracts.md section 26.
func production(t *testing.T) *Root {
	return &Root{
		Owner: filled(0x22), Version: 2, ParamsVersion: 5, StructVersion: 3, UniqueID: 17, PricePerToken: 20, WorkerFeePerToken: 18,
		Multipliers: ledger.Multipliers{Prompt: 10000, Cached: 1000, Completion: 80000, Reasoning: 80000},
		ProxyDelay:  86400, ClientDelay: 86400, MinProxyStake: Ton, MinClientStake: 15 * Ton,
		ProxyCode:  sealed(t, "ALLFfUPB28PhLPokBJShaMeP7KkKm5nr55axOe1xOJA=", 9),
		WorkerCode: sealed(t, "GqoFEsSJoDgrFj99cG4rQYLxo4/MRiCL5foi1/rtWqc=", 6),
		ClientCode: sealed(t, "l00kU45gA7Gjk/hwhSW4EyTPiniu6ItFhdUbb2RVUUc=", 10),
	}
}

// The golden vectors of contracts.md section 26.
func TestProductionVectors(t *testing.T) {
	r, key := production(t), public(seed(7))
	params := func(proxy, worker, client bool) string {
		c, err := r.paramsCell(proxy, worker, client)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(c.Hash(0))
	}
	wallet, err := ParseAddress("0:d0104a67f2cbf87e41a9d963154a67cf99e85559a752dac972cac7caf4fd94f5")
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := r.ProxyAddress(filled(0x22), filled(0x11), key)
	if err != nil {
		t.Fatal(err)
	}
	worker, err := r.WorkerAddress(filled(0x33), proxy, key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := r.ClientAddress(wallet, proxy, key)
	if err != nil {
		t.Fatal(err)
	}
	bits, err := r.paramsCell(false, false, false)
	if err != nil {
		t.Fatal(err)
	}
	dp, err := r.DeployProxy(filled(0x22), filled(0x11), key)
	if err != nil {
		t.Fatal(err)
	}
	dw, err := r.DeployWorker(filled(0x33), proxy, key)
	if err != nil {
		t.Fatal(err)
	}
	dc, err := r.DeployClient(wallet, proxy, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][3]string{
		{"params 000 bits", fmt.Sprintf("%X, %d", bits.MustBeginParse().MustLoadSlice(372), bits.BitsSize()), "03000000050000001108A08900001388000001F400009C4000009C400000A8C00000A8C021DCD6500281BF08EB0000, 372"},
		{"proxy data", hex.EncodeToString(dp.Init.Data.Hash(0)), "bb7da80fc43887308e266a69d9545b40d0f19e5d3a15e97fb24fdf80742826e3"},
		{"worker data", hex.EncodeToString(dw.Init.Data.Hash(0)), "0e25fe29b98354369a6911c53f91019210b0124510850a774190a5c1a0614498"},
		{"client data", hex.EncodeToString(dc.Init.Data.Hash(0)), "4b1cf06466badb654df316d1bedaa94b7baca05d1d0e51808f7bef97a9845cb3"},
		{"params 111", params(true, true, true), "d941ddd95e953bb1221952aa565db61750973eb8cf5ffbe184a53c9db67e4fa2"},
		{"params 011", params(false, true, true), "b9353fcff21e9af402f142a119755b31a5eeb24f9b0f22f596dcf9e995990c3f"},
		{"params 000", params(false, false, false), "20fb49178d95e2c866ca2d5b5a035b6862bf1237cd5b536da17a25c6b27f448c"},
		{"proxy", proxy.StringRaw(), "0:57d3776e229d9a85f010b941044d7efe1bddb3a0f4dd7c33f4d1345e30948ce9"},
		{"worker", worker.StringRaw(), "0:eb5cd5ec9277bcb46a6c4677fbd8a5897041f8834b290e9ff4b0d5d15c29460e"},
		{"client", client.StringRaw(), "0:dbc541992d2a8548b0aeb4cee201fe1231295ee3e7d7bf6504714eeb47d168d9"},
	} {
		if x[1] != x[2] {
			t.Errorf("%s = %s, want %s", x[0], x[1], x[2])
		}
	}
}

// What a reference proxy and its peers called each other in a recorded session.
func TestRecordedAddresses(t *testing.T) {
	r := recorded(t)
	key := public(recordedKey(t))
	owner := parse(t, "UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m")
	root := parse(t, "EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ")
	proxy, err := r.ProxyAddress(owner, root, key)
	if err != nil {
		t.Fatal(err)
	}
	worker, err := r.WorkerAddress(owner, proxy, key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := r.ClientAddress(parse(t, "UQCdj43bBDyeJlfe6FVSpWLfsDMp4YHbmz5lca5-tNz-fx20"), proxy, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][2]string{
		{hex.EncodeToString(key), "559087582b7e5ea2b2b986c258e0067b806a59b154e955decf00429610eab095"},
		{proxy.String(), "UQBPkxYfPKgOBMbbi9VQVO2DQz7Wg3w9K5YTsl8x1_KaeZcZ"},
		{client.String(), "UQCACjNFLY4ArI-ZdQsAazEAW41KvHyVIAWsFh9pbqcA1f12"},
		{worker.String(), "UQDLYGhRHNqXquKXJazsjMBUUhXtmZ_Nom43-_sztpg80bUO"},
	} {
		if x[0] != x[1] {
			t.Errorf("got %s, recorded %s", x[0], x[1])
		}
	}
}

// Without code texts the code is the empty cell, and addresses still differ.
func TestEmptyCode(t *testing.T) {
	r := &Root{Owner: filled(1), StructVersion: 1}
	key := public(seed(1))
	a, err := r.ProxyAddress(filled(1), filled(2), key)
	if err != nil {
		t.Fatal(err)
	}
	r.ProxyCode, r.WorkerCode, r.ClientCode = cell.BeginCell().EndCell(), cell.BeginCell().EndCell(), cell.BeginCell().EndCell()
	b, err := r.ProxyAddress(filled(1), filled(2), key)
	if err != nil || a.String() != b.String() {
		t.Errorf("absent code gives %s, empty code %s, %v", a, b, err)
	}
	for _, bad := range []*address.Address{nil, address.NewAddressNone()} {
		if a, err := r.ClientAddress(bad, b, key); err == nil {
			t.Errorf("a client without an address got the contract %s", a)
		}
	}
	if a, err := r.WorkerAddress(filled(1), b, key[:31]); err == nil {
		t.Errorf("a short key got the contract %s", a)
	}
}

// Every shape of the parameter cell differs from the others in length.
func TestParamsShapes(t *testing.T) {
	r := production(t)
	base := 8 + 32 + 32 + 1 + 12 + 12 + 64 + 3
	stakes, multiplier := 4+32+4+40, 32
	for version, want := range []int{base, base + stakes, base + stakes + 2*multiplier, base + stakes + 4*multiplier, base + stakes + 4*multiplier} {
		r.StructVersion = uint8(version)
		c, err := r.paramsCell(false, false, false)
		if err != nil || int(c.BitsSize()) != want {
			t.Errorf("struct version %d: %d bits, want %d (%v)", version, c.BitsSize(), want, err)
		}
	}
}

func parse(t *testing.T, text string) *address.Address {
	t.Helper()
	a, err := ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// recorded is the registry file of the recorded sessions; its keys were made for them.
func recorded(t *testing.T) *Root {
	t.Helper()
	data, err := os.ReadFile("testdata/recorded_registry.json")
	if err != nil {
		t.Fatal(err)
	}
	r, unknown, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(unknown) != 1 || unknown[0] != "model_names" {
		t.Errorf("unknown members %q, want model_names", unknown)
	}
	return r
}

func recordedKey(t *testing.T) ed25519.PrivateKey {
	raw, err := base64.StdEncoding.DecodeString("ml+7xELuOQtfp9q9mSWtHiSWx5aSBV6p3xCfwPmHOwY=")
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(raw)
}

func TestAddressText(t *testing.T) {
	var v struct {
		Cases []struct {
			Workchain           int8
			Account, Text       string
			Bounceable, Testnet bool
		}
		Proxies []struct{ Text, Workers, Clients, Error string } `json:"root_contract_proxy_address_text"`
	}
	data, err := os.ReadFile("testdata/addresses.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil || len(v.Cases) == 0 || len(v.Proxies) == 0 {
		t.Fatal(err, len(v.Cases), len(v.Proxies))
	}
	for _, c := range v.Cases {
		a := parse(t, c.Text)
		if hex.EncodeToString(a.Data()) != c.Account || a.IsBounceable() != c.Bounceable || a.IsTestnetOnly() != c.Testnet || a.String() != c.Text {
			t.Errorf("%s read as %s %v %v", c.Text, a.StringRaw(), a.IsBounceable(), a.IsTestnetOnly())
		}
	}
	for _, p := range v.Proxies {
		w, c, err := ParseProxyAddress(p.Text)
		if (err != nil) != (p.Error != "") {
			t.Errorf("%q: error %v, want %q", p.Text, err, p.Error)
		} else if err == nil && (w.String() != p.Workers || c.String() != p.Clients) {
			t.Errorf("%q = %s and %s, want %s and %s", p.Text, w, c, p.Workers, p.Clients)
		}
	}
	for _, bad := range []string{"", " ", "1.2.3.4:1 ", "1.2.3.4:1  1.2.3.4:2", "[::1]:80", "1.2.3.4:70000", "1.2.3.4:-1", "[1.2.3.4:1"} {
		if w, c, err := ParseProxyAddress(bad); err == nil {
			t.Errorf("%q = %s and %s, want an error", bad, w, c)
		}
	}
	for _, bad := range []string{"", "EQ", "0:12", "300:" + v.Cases[4].Account, v.Cases[0].Text[:47] + "A", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", v.Cases[0].Text + "AAAA"} {
		if a, err := ParseAddress(bad); err == nil {
			t.Errorf("%q = %s, want an error", bad, a)
		}
	}
}
