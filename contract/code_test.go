package contract

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

func readBuild(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("tolk/build/" + name)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestCodesAreTheCompiledOnes(t *testing.T) {
	var built struct{ Contracts map[string]string }
	readBuild(t, "hashes.json", &built)
	c := OurCodes()
	got := map[string]*cell.Cell{"root": c.Root, "proxy": c.Proxy, "worker": c.Worker, "client": c.Client, "wallet": c.Wallet}
	if len(built.Contracts) != len(got) {
		t.Errorf("the compiler wrote %d contracts, %d are embedded", len(built.Contracts), len(got))
	}
	for name, code := range got {
		if h := hex.EncodeToString(code.Hash()); h != built.Contracts[name] {
			t.Errorf("%s has hash %s, the compiler wrote %s: run npm run build in contract/tolk", name, h, built.Contracts[name])
		}
	}
}

// The same addresses, derived from the same inputs by @ton/core.
func TestAddressesOfOurContracts(t *testing.T) {
	var want map[string]string
	readBuild(t, "addresses.json", &want)
	c, key := OurCodes(), public(seed(7))
	r := production(t)
	r.ProxyCode, r.WorkerCode, r.ClientCode = c.Proxy, c.Worker, c.Client
	wallet, err := c.WalletAddress(filled(0x44), public(seed(9)))
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
	got := map[string]string{
		"wallet": wallet.StringRaw(), "proxy": proxy.StringRaw(), "worker": worker.StringRaw(), "client": client.StringRaw(),
	}
	for name, address := range got {
		if !strings.EqualFold(address, want[name]) {
			t.Errorf("%s at %s, @ton/core says %s", name, address, want[name])
		}
	}
}
