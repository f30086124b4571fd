package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/node"
	"github.com/opencocoon/cocoon/ton/localnet"
	"github.com/opencocoon/cocoon/wallet"
)

// bank is a local chain with a directory, for verbs that run in this process.
type bank struct {
	*testing.T
	chain *localnet.Chain
	dir   string
	lt    uint64
}

func newBank(t *testing.T, id wallet.Network) *bank {
	t.Helper()
	return newBankOf(t, localnet.Config{GlobalID: int32(id)})
}

func newBankOf(t *testing.T, cfg localnet.Config) *bank {
	t.Helper()
	c, err := localnet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := localnet.Listen(c, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b := &bank{T: t, chain: c, dir: t.TempDir()}
	if err := s.WriteGlobalConfig(filepath.Join(b.dir, globalConfigFile)); err != nil {
		t.Fatal(err)
	}
	faucet := &wallet.KeyFile{Network: wallet.Network(c.GlobalID()), Key: wallet.KeyOf(c.FaucetKey())}
	if err := faucet.Save(filepath.Join(b.dir, node.FaucetFile), ""); err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a command line on the chain, with --data.
func (b *bank) run(in io.Reader, args ...string) (code int, out, errOut string) {
	b.Helper()
	var o, e strings.Builder
	code = run(b.Context(), append(args, "--data", b.dir), in, &o, &e)
	return code, o.String(), e.String()
}

// must runs a command line that has to succeed.
func (b *bank) must(args ...string) string {
	b.Helper()
	code, out, errOut := b.run(strings.NewReader(""), args...)
	if code != exitOK || errOut != "" {
		b.Fatalf("cocoon %s: exit %d, %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// refused runs a command line that has to end so, saying this.
func (b *bank) refused(want int, says string, args ...string) {
	b.Helper()
	code, out, errOut := b.run(strings.NewReader(""), args...)
	if code != want || !strings.Contains(errOut, says) || strings.Count(errOut, "\n") != 1 {
		b.Errorf("cocoon %s: exit %d, %q, %q; want exit %d and one line with %q", strings.Join(args, " "), code, out, errOut, want, says)
	}
}

func (b *bank) key(name string) string { return filepath.Join(b.dir, name) }

// purse makes a wallet with 50 TON and returns its key file and address.
func (b *bank) purse(name string) (string, *address.Address) {
	b.Helper()
	b.must("wallet", "new", "--key", b.key(name))
	b.must("wallet", "fund", "50", "--key", b.key(name))
	file, err := wallet.LoadKeyFile(b.key(name), nil)
	if err != nil {
		b.Fatal(err)
	}
	w, err := file.Wallet()
	if err != nil {
		b.Fatal(err)
	}
	return b.key(name), w.Address()
}

// deliver gives an account a message from any address.
func (b *bank) deliver(from, to *address.Address, value coin.Nano, body *cell.Cell, init *tlb.StateInit) {
	b.Helper()
	b.lt++
	message, err := tlb.ToCell(&tlb.InternalMessage{
		IHRDisabled: true, SrcAddr: from, DstAddr: to, Amount: tlb.FromNanoTONU(uint64(value)), CreatedLT: b.lt, Body: body, StateInit: init,
	})
	if err == nil {
		_, err = b.chain.Deliver(message)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func emptyBody() *cell.Cell { return cell.BeginCell().EndCell() }

// person sits at the terminal in a test.
func person(t *testing.T) {
	before := isTerminal
	isTerminal = func(io.Reader) bool { return true }
	t.Cleanup(func() { isTerminal = before })
}

// meanwhile does something before it answers.
type meanwhile struct {
	do     func()
	answer *strings.Reader
}

func (m *meanwhile) Read(b []byte) (int, error) {
	if m.do != nil {
		m.do()
		m.do = nil
	}
	return m.answer.Read(b)
}

func TestNobodySpendsWithoutAYes(t *testing.T) {
	b := newBank(t, wallet.Testnet)
	person(t)
	key, _ := b.purse("a.key")
	_, to := b.purse("b.key")
	for answer, sent := range map[string]bool{"": false, "\n": false, "n\n": false, "yes please\n": false, "y\n": true, "YES\n": true, "y": true} {
		code, out, errOut := b.run(strings.NewReader(answer), "wallet", "send", to.String(), "1", "--key", key)
		if !strings.Contains(out, "do it? [y/N] ") || (code == exitOK) != sent || strings.Contains(out, "done in transaction") != sent {
			t.Errorf("answer %q: exit %d, %s%s", answer, code, out, errOut)
		}
		if !sent && (code != exitFailure || !strings.Contains(errOut, "not confirmed: nothing was sent")) {
			t.Errorf("answer %q: exit %d, %s", answer, code, errOut)
		}
	}
	if out := b.must("wallet", "balance", to.String()); !strings.Contains(out, "\n53 TON as of") && !strings.Contains(out, "\n52.99999") {
		t.Errorf("after three payments of 1 TON: %s", out)
	}
}

// Between the question and the answer the registry may change: what it refuses
// on the chain is told as its refusal, with what that cost.
func TestRefusedOnTheChain(t *testing.T) {
	b := newBank(t, wallet.Testnet)
	key, _ := b.purse("owner.key")
	b.must("network", "init", "--key", key, "--yes")
	b.must("network", "proxy", "add", "192.0.2.1:1", "--key", key, "--yes")
	person(t)
	in := &meanwhile{func() { b.must("network", "proxy", "remove", "1", "--key", key, "--yes") }, strings.NewReader("y\n")}
	code, out, errOut := b.run(in, "network", "proxy", "update", "1", "192.0.2.1:2", "--key", key, "--json")
	if code != exitRefused || !strings.Contains(errOut, "the registry refused it: exit code 2000, no proxy has this number; the coins came back, less 0.0") {
		t.Errorf("exit %d, %s", code, errOut)
	}
	for _, want := range []string{`"exit_code": 2000`, `"refused": "the registry refused it`, `"lt": "`} {
		if !strings.Contains(out, want) {
			t.Errorf("the receipt lacks %s: %s", want, out)
		}
	}
}

// hearing ends a context when it hears something.
type hearing struct {
	strings.Builder
	word string
	end  context.CancelFunc
}

func (h *hearing) Write(b []byte) (int, error) {
	if strings.Contains(string(b), h.word) {
		h.end()
	}
	return h.Builder.Write(b)
}

// Who is interrupted after sending is not left to believe that nothing was.
func TestInterruptedAfterSending(t *testing.T) {
	b := newBankOf(t, localnet.Config{Interval: time.Hour})
	b.must("wallet", "new", "--key", b.key("a.key"))
	file, err := wallet.LoadKeyFile(b.key("a.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := file.Wallet()
	if err != nil {
		t.Fatal(err)
	}
	b.deliver(address.NewAddress(0, 0, make([]byte, 32)), w.Address(), 5*coin.TON, emptyBody(), nil)
	if _, err := b.chain.Advance(0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out := &hearing{word: "waiting for the transaction… (", end: cancel}
	var errOut strings.Builder
	code := run(ctx, []string{"wallet", "send", w.Address().String(), "1", "--key", b.key("a.key"), "--yes", "--data", b.dir}, strings.NewReader(""), out, &errOut)
	want := "cocoon wallet send: it is not known whether the order was carried out: it can be until "
	if code != exitFailure || !strings.HasPrefix(errOut.String(), want) {
		t.Errorf("exit %d, %s%s; want %s", code, out, &errOut, want)
	}
}

// A node's wallet obeys its owner, and nobody else pays to be refused.
func TestNodeWallet(t *testing.T) {
	b := newBank(t, wallet.Testnet)
	key, owner := b.purse("owner.key")
	stranger, _ := b.purse("stranger.key")
	at, init, err := contract.NewWallet(contract.OurCodes().Wallet, owner, wallet.NewKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	b.deliver(address.NewAddress(0, 0, make([]byte, 32)), at, 5*coin.TON, emptyBody(), init)
	b.refused(exitRefused, "exit code 1040, sender is not the wallet's owner: the owner is 0Q", "wallet", "block", at.String(), "--key", stranger, "--yes")
	if out := b.must("wallet", "block", at.String(), "--key", key, "--yes"); !strings.Contains(out, "node wallet not blocked → blocked") {
		t.Error(out)
	}
	if out := b.must("wallet", "unblock", at.String(), "--key", key, "--yes"); !strings.Contains(out, "node wallet blocked → not blocked") {
		t.Error(out)
	}
	out := b.must("wallet", "withdraw", at.String(), "--key", key, "--yes")
	if !strings.Contains(out, "which holds 5.0") || !strings.Contains(out, "→ 0.01 TON") {
		t.Error(out)
	}
	if out := b.must("wallet", "balance", "--key", key, "--history", "9"); !strings.Contains(out, "\n54.") || !strings.Contains(out, at.Testnet(true).Bounce(false).String()+"  w\n") {
		t.Errorf("after withdrawing: %s", out)
	}
}

// What bounces is told as refused before it is sent.
func TestBounceIsPredicted(t *testing.T) {
	b := newBank(t, wallet.Testnet)
	key, owner := b.purse("owner.key")
	at, init, err := contract.NewWallet(contract.OurCodes().Wallet, owner, wallet.NewKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	b.deliver(address.NewAddress(0, 0, make([]byte, 32)), at, 5*coin.TON, emptyBody(), init)
	b.refused(exitRefused, "the receiver would refuse it, so nothing was sent: exit code 1041", "wallet", "send", at.String(), "1", "--comment", "x", "--key", key, "--yes")
	b.refused(exitFailure, "wallet holds too little", "wallet", "send", at.String(), "49.9999999", "--key", key, "--yes")
}

// On the main network test addresses are refused, and there the registry is no
// test registry.
func TestMainNetwork(t *testing.T) {
	b := newBank(t, wallet.Mainnet)
	key, owner := b.purse("a.key")
	b.refused(exitRefused, "is marked for test networks only", "wallet", "send", owner.Testnet(true).String(), "1", "--key", key, "--yes")
	b.must("network", "init", "--key", key, "--yes")
	if out := b.must("network", "show"); !strings.Contains(out, "not a test network") || !strings.Contains(out, "owner          UQ") {
		t.Error(out)
	}
	testKey := b.key("test.key")
	b.refused(exitUsage, "network: the chain says it", "wallet", "new", "--key", testKey, "--network", "testnet")
}

func shaped(owner *address.Address, shape uint8) *contract.Root {
	codes := contract.OurCodes()
	r := &contract.Root{
		Owner: owner, Version: 9, ParamsVersion: 5, StructVersion: shape, UniqueID: 17, PricePerToken: 20, WorkerFeePerToken: 18, Multipliers: ledger.Plain,
		ProxyDelay: 600, ClientDelay: 300, MinProxyStake: coin.TON, MinClientStake: coin.TON,
		ProxyCode: codes.Proxy, WorkerCode: codes.Client, ClientCode: codes.Client, Offered: owner,
		Models: map[[32]byte]struct{}{{0xab}: {}},
	}
	if shape >= 4 {
		r.KeyManager, r.KeyManagerKey = "192.0.2.9:1", make([]byte, 32)
		r.KeyManagerKey[0] = 0xcd
		r.PublicKeys = []contract.PublicKey{{Key: r.KeyManagerKey, Type: 1, ExpireAt: 2_000_000_000}}
	}
	if shape >= 5 {
		r.VerifiedWorkers = map[[32]byte]struct{}{{0xef}: {}}
	}
	return r
}

// Every shape of registry is shown, whatever its code, with all that is in it.
func TestEveryShapeIsShown(t *testing.T) {
	b := newBank(t, wallet.Testnet)
	key, owner := b.purse("owner.key")
	for shape := range uint8(6) {
		r := shaped(owner, shape)
		d, err := r.Deploy(contract.OurCodes().Wallet)
		if err != nil {
			t.Fatal(err)
		}
		b.deliver(owner, d.Address, coin.TON, emptyBody(), d.Init)
		root := d.Address.String()
		out := b.must("network", "show", "-r", root)
		want := []string{
			fmt.Sprintf("struct version %d; id 17", shape), "price          20 nanoTON per token, 0.02 TON for a million", ", not ours\n", "offered to     0Q", "models         ab00",
		}
		if shape >= 4 {
			want = append(want, "key manager    192.0.2.9:1", "  its key      cd00", "type 1 until 2033-05-18 03:33")
		}
		if shape >= 5 {
			want = append(want, "verified workers  ef00")
		}
		for _, text := range want {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(text), " ")) {
				t.Errorf("shape %d: no %q in %s", shape, text, out)
			}
		}
		asJSON := b.must("network", "show", "-r", root, "--json")
		for _, text := range []string{fmt.Sprintf(`"struct_version": %d`, shape), `"offered_to": "0Q`, `"ours": false`, `"unique_id": 17`} {
			if !strings.Contains(asJSON, text) {
				t.Errorf("shape %d: no %s in %s", shape, text, asJSON)
			}
		}
		b.refused(exitRefused, "may change hands at once", "network", "owner", "offer", owner.String(), "-r", root, "--key", key, "--yes")
		if shape < 3 {
			b.refused(exitRefused, "does not know struct version", "network", "upgrade", "code", "-r", root, "--key", key, "--yes")
			b.refused(exitFailure, "bring it up with `cocoon network upgrade full`", "network", "set-params", "--proxy-delay", "1h", "-r", root, "--key", key, "--yes")
		}
	}
}

// An entry that nodes cannot read is shown, kept from being lost by accident,
// and can be removed.
func TestUnreadableEntry(t *testing.T) {
	b := newBank(t, wallet.Testnet)
	key, owner := b.purse("owner.key")
	r := shaped(owner, 4)
	r.Offered = nil
	d, err := r.Deploy(contract.OurCodes().Root)
	if err != nil {
		t.Fatal(err)
	}
	b.deliver(owner, d.Address, coin.TON, emptyBody(), d.Init)
	const opRegisterProxy = 0x927c7cb5
	b.deliver(owner, d.Address, coin.TON, cell.BeginCell().MustStoreUInt(opRegisterProxy, 32).MustStoreUInt(1, 64).MustStoreUInt(4, 8).MustStoreSlice([]byte("oops"), 32).EndCell(), nil)
	root := d.Address.String()
	if out := b.must("network", "show", "-r", root); !strings.Contains(out, `proxy entry 1: proxy address "oops"`) {
		t.Errorf("the entry is not shown: %s", out)
	}
	b.refused(exitRefused, "1 entries among the proxies cannot be read and would be lost", "network", "upgrade", "full", "--struct-version", "5", "-r", root, "--key", key, "--yes")
	if out := b.must("network", "proxy", "remove", "1", "-r", root, "--key", key, "--yes"); !strings.Contains(out, "unreadable entries among the proxies [1] → []") {
		t.Error(out)
	}
	b.must("network", "upgrade", "contracts", "-r", root, "--key", key, "--yes") // worker code was another
	b.must("network", "upgrade", "full", "--struct-version", "5", "-r", root, "--key", key, "--yes")
}

func TestWordsOfPeople(t *testing.T) {
	var n uint32
	for text, want := range map[string]uint32{"0": 0, "90": 90, "24h": 86400, "1h30m": 5400, "4294967295": 4294967295} {
		if err := parseDelay(text, &n); err != nil || n != want {
			t.Errorf("parseDelay(%q) = %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5", "1500ms", "-2h", "4294967296", "soon", "1200000h"} {
		if err := parseDelay(text, &n); err == nil {
			t.Errorf("parseDelay(%q) = %d, want an error", text, n)
		}
	}
	for text, want := range map[string]wallet.Network{"": -239, "mainnet": -239, "Testnet": -3, "42": 42, "-3": -3} {
		if got, err := parseNetwork(text); err != nil || got != want {
			t.Errorf("parseNetwork(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "moon", "99999999999", "1.5"} {
		if got, err := parseNetwork(text); err == nil {
			t.Errorf("parseNetwork(%q) = %d, want an error", text, got)
		}
	}
	hash := strings.Repeat("0a", 32)
	for text, want := range map[string]bool{
		"a@b:" + hash: true, "Qwen/Qwen3-8B@unpinned:" + hash: true, "qwen3:8b@c:" + hash: true,
		"a@b": false, "a:" + hash: false, "@b:" + hash: false, "a@:" + hash: false, "a@b:" + strings.ToUpper(hash): false, "a@b:" + hash + "0": false, "a b@c:" + hash: false, "a@b@c:" + hash: false,
	} {
		if fullModel.MatchString(text) != want {
			t.Errorf("full model name %q: %v, want %v", text, !want, want)
		}
	}
	if got := printable("tea\x1b[2J\u202e!\xff", 60); got != "tea�[2J�!�" {
		t.Errorf("printable = %q", got)
	}
	if got := printable("abcdef", 3); got != "abc…" {
		t.Errorf("printable = %q", got)
	}
}

func TestPassphraseIsAskedTwice(t *testing.T) {
	person(t)
	dir := t.TempDir()
	for i, c := range []struct {
		answers, says string
		code          int
	}{{"", "passphrase: empty", exitUsage}, {"a\nb\n", "passphrase: the two differ", exitUsage}, {"a\na\n", "", exitOK}} {
		var out, errOut strings.Builder
		key := filepath.Join(dir, fmt.Sprint(i))
		code := run(t.Context(), []string{"wallet", "new", "--lock", "--key", key}, lines(c.answers), &out, &errOut)
		if code != c.code || !strings.Contains(errOut.String(), c.says) {
			t.Errorf("%q: exit %d, %s", c.answers, code, &errOut)
		}
		if _, err := wallet.LoadKeyFile(key, nil); code == exitOK && err == nil {
			t.Errorf("%q: the file is not locked", c.answers)
		}
	}
}

// lines gives one line at a time, as a terminal does.
func lines(text string) io.Reader {
	var all []io.Reader
	for line := range strings.Lines(text) {
		all = append(all, strings.NewReader(line))
	}
	return io.MultiReader(all...)
}
