package wallet

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"
	"rsc.io/qr"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

const testWords = "damp coast warfare relax lock measure virus jar dutch off vault balcony " +
	"inherit cloth grape draft skirt space ridge dune basket pattern belt argue"

func testMnemonic(t testing.TB) Mnemonic {
	t.Helper()
	m, err := ParseMnemonic(testWords)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The key that @ton/crypto makes of the same words.
func TestMnemonicVector(t *testing.T) {
	key, err := testMnemonic(t).Key()
	if err != nil {
		t.Fatal(err)
	}
	const want = "cdad488c8045a0304537adf902ba4a858194e3ada11a5241bc9823807fab15e0"
	if got := hex.EncodeToString(key.Public()); got != want {
		t.Errorf("public key is %s, want %s", got, want)
	}
	again, err := ParseMnemonic(NewMnemonic().Reveal())
	if err != nil || again.IsZero() {
		t.Errorf("a new mnemonic does not parse: %v", err)
	}
}

func TestRefusedMnemonics(t *testing.T) {
	words := strings.Fields(testWords)
	change := func(i int, word string) string {
		w := append([]string(nil), words...)
		w[i] = word
		return strings.Join(w, " ")
	}
	for text, want := range map[string]string{
		"":                                "0 words, want 24",
		strings.Join(words[:23], " "):     "23 words",
		change(4, "lokc"):                 "word 5 is not in the list",
		change(0, "zoo"):                  "do not belong together",
		strings.ToUpper(testWords) + "\n": "",
	} {
		_, err := ParseMnemonic(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d words: %v, want %q", len(strings.Fields(text)), err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "lokc") || strings.Contains(err.Error(), "zoo")) {
			t.Errorf("the error repeats a word: %v", err)
		}
	}
}

// No verb, encoder or logger shows a secret, whatever it is wrapped in.
func TestSecretsAreRedacted(t *testing.T) {
	m := testMnemonic(t)
	key, err := m.Key()
	if err != nil {
		t.Fatal(err)
	}
	type hidden struct {
		k Key
		m Mnemonic
	}
	type shown struct {
		K Key
		M Mnemonic
	}
	f := KeyFile{Mnemonic: m, Key: key, Network: Mainnet}
	w, err := f.Wallet()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
		for _, v := range []any{m, key, &m, &key, hidden{key, m}, &hidden{key, m}, shown{key, m}, []Key{key}, map[string]Mnemonic{"a": m}, f, &f, *w, w} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, v := range []any{m, key, shown{key, m}, f, map[string]Key{"a": key}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "key", key, "words", m, "file", f, "wallet", w)
	}
	text := strings.ToLower(out.String())
	seed := key.Private().Seed()
	for name, secret := range map[string]string{
		"a word": "warfare", "the seed": key.Seed(), "bytes": fmt.Sprint(seed[:4])[1:12], "hexadecimal bytes": fmt.Sprintf("%#v", seed[:4])[7:27],
		"words in hexadecimal": hex.EncodeToString([]byte("warfare")),
	} {
		if strings.Contains(text, strings.ToLower(secret)) {
			t.Errorf("%s is in the output", name)
		}
	}
	if !strings.Contains(text, redacted) {
		t.Error("nothing was redacted: the test looks at the wrong thing")
	}
}

func TestKeyFile(t *testing.T) {
	m := testMnemonic(t)
	fromWords, err := m.Key()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ask := func() (string, error) { return "correct horse", nil }
	for name, f := range map[string]*KeyFile{
		"words": {Network: Mainnet, Mnemonic: m, Key: fromWords},
		"seed":  {Network: Testnet, Version: V4R2, Key: testKey(1)},
	} {
		for _, passphrase := range []string{"", "correct horse"} {
			path := filepath.Join(dir, name+passphrase)
			if err := f.Save(path, passphrase); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode is %v, %v; want 0600", info.Mode(), err)
			}
			got, err := LoadKeyFile(path, ask)
			if err != nil {
				t.Fatal(err)
			}
			if got.Key.Seed() != f.Key.Seed() || got.Mnemonic.Reveal() != f.Mnemonic.Reveal() || got.Version != f.Version || got.Network != f.Network {
				t.Errorf("%s: read back something else", name)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if sealed := !strings.Contains(string(text), "warfare") && !strings.Contains(string(text), f.Key.Seed()); sealed != (passphrase != "") {
				t.Errorf("%s, passphrase %q: sealed is %v", name, passphrase, sealed)
			}
			if err := f.Save(path, passphrase); !errors.Is(err, fs.ErrExist) {
				t.Errorf("saved over a key file: %v", err)
			}
		}
	}
}

func TestRefusedKeyFiles(t *testing.T) {
	dir := t.TempDir()
	f := &KeyFile{Network: Mainnet, Key: testKey(1)}
	plain, locked := filepath.Join(dir, "plain"), filepath.Join(dir, "locked")
	if err := errors.Join(f.Save(plain, ""), f.Save(locked, "open")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(locked, nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("locked, nobody to ask: %v", err)
	}
	if _, err := LoadKeyFile(locked, func() (string, error) { return "wrong", nil }); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	text, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile(locked)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(text []byte, old, new string) string {
		if !strings.Contains(string(text), old) {
			t.Fatalf("nothing to change: %q", old)
		}
		return strings.Replace(string(text), old, new, 1)
	}
	other := &KeyFile{Network: Mainnet, Key: testKey(2)}
	for name, c := range map[string]struct{ text, want string }{
		"not JSON":          {"words", "not a wallet's key file"},
		"another kind":      {edit(text, keyFileKind, "x"), "kind is"},
		"unknown field":     {edit(text, `"kind"`, `"colour": 1, "kind"`), "unknown field"},
		"another version":   {edit(text, "v5r1", "v9"), "version"},
		"another address":   {edit(text, `"address": "UQ`, `"address": "XX`), "one of them was changed"},
		"another network":   {edit(text, "-239", "-3"), "one of them was changed"},
		"another secret":    {edit(text, f.Key.Seed(), other.Key.Seed()), "one of them was changed"},
		"half a secret":     {edit(text, f.Key.Seed(), "00"), "64 hexadecimal digits"},
		"no secret":         {edit(text, `"seed"`, `"words"`), "mnemonic: 1 words"},
		"too many rounds":   {edit(sealed, "600000", "6000000000"), "rounds"},
		"box of others":     {edit(sealed, `"address": "UQ`, `"address": "XX`), ErrPassphrase.Error()},
		"huge":              {strings.Repeat(" ", maxKeyFile+1), "more than"},
		"secret seen twice": {edit(sealed, `"sealed"`, `"seed": "00", "sealed"`), "both sealed and in the clear"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKeyFile(path, func() (string, error) { return "open", nil })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), f.Key.Seed()) {
			t.Errorf("%s: the error holds the secret", name)
		}
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604} {
		if err := os.Chmod(plain, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyFile(plain, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestNodeKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wallet.key")
	first, err := NodeKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := NodeKey(path)
	if err != nil || again.Seed() != first.Seed() {
		t.Errorf("opened again: another key, %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := NodeKey(path); err == nil {
		t.Error("a key that everybody may read was taken")
	}
	if _, err := NodeKey(filepath.Join(path, "no", "such")); err == nil {
		t.Error("a key in no directory")
	}
}

// Every version pays, deploys itself with its first message, and empties itself.
func TestTransfersOnTheChain(t *testing.T) {
	chain, client := served(t)
	ctx := testContext(t)
	for v := V5R1; v <= V3R2; v++ {
		w, err := New(testKey(byte(v)), v, Network(chain.GlobalID()))
		if err != nil {
			t.Fatal(err)
		}
		fund(t, chain, w.Address(), 10*coin.TON)
		first, second := stranger(10+byte(v)), stranger(20+byte(v))
		body := cell.BeginCell().MustStoreUInt(7, 32).EndCell()
		for round := range 2 {
			a, err := w.Account(ctx, client)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := w.Seqno(a); err != nil || int(got) != round {
				t.Fatalf("%s: seqno = %d, %v; want %d", w, got, err, round)
			}
			m, err := w.Build(a, Transfer{To: first, Amount: coin.TON, Comment: "for tea, " + strings.Repeat("and more tea ", 20)},
				Transfer{To: second, Amount: 2 * coin.TON, Body: body})
			if err != nil {
				t.Fatal(err)
			}
			p, err := ton.Emulate(ctx, client, m)
			if err != nil {
				t.Fatal(err)
			}
			tx, err := ton.SendAndConfirm(ctx, client, w.Address(), m, a.At.Time.Add(TTL))
			rent := coin.Nano(1000) // for the time between the two, less than a nanoTON a second
			if err != nil || len(tx.Out) != 2 || max(tx.Fees-p.Of(w.Address()).Fees, p.Of(w.Address()).Fees-tx.Fees) > rent {
				t.Fatalf("%s: transaction %+v, %v; want two messages and fees of %s as predicted", w, tx, err, p.Of(w.Address()).Fees.Text())
			}
			if err := client.Send(ctx, m); !errors.Is(err, ton.ErrRefused) {
				t.Errorf("%s: the same message again: %v", w, err)
			}
		}
		for to, want := range map[string]coin.Nano{first.StringRaw(): 2 * coin.TON, second.StringRaw(): 4 * coin.TON} {
			addr, _ := contract.ParseAddress(to)
			if a, err := client.Account(ctx, addr); err != nil || a.Balance != want {
				t.Errorf("%s: receiver has %s, %v; want %s", w, a.Balance, err, want)
			}
		}
		a, err := w.Account(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		m, err := w.Build(a, Transfer{To: stranger(30), All: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
		if left, err := w.Balance(ctx, client); err != nil || left != 0 {
			t.Errorf("%s: %s left, %v", w, left.Text(), err)
		}
	}
}

func TestRefusedTransfers(t *testing.T) {
	chain, client := served(t)
	ctx := testContext(t)
	w, err := New(testKey(1), V4R2, Network(chain.GlobalID()))
	if err != nil {
		t.Fatal(err)
	}
	fund(t, chain, w.Address(), coin.TON)
	a, err := w.Account(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	pay := Transfer{To: stranger(1), Amount: coin.TON / 10}
	change := func(f func(*Transfer)) []Transfer {
		p := pay
		f(&p)
		return []Transfer{p}
	}
	for name, c := range map[string]struct {
		list []Transfer
		want string
	}{
		"none":        {nil, "0 transfers"},
		"five":        {[]Transfer{pay, pay, pay, pay, pay}, "5 transfers, want 1 to 4"},
		"too much":    {[]Transfer{pay, {To: stranger(1), Amount: coin.TON}}, "send 0.1 TON to"},
		"negative":    {change(func(p *Transfer) { p.Amount = -1 }), "want 0 or more"},
		"nobody":      {change(func(p *Transfer) { p.To = nil }), "no address"},
		"two bodies":  {change(func(p *Transfer) { p.Comment, p.Body = "x", cell.BeginCell().EndCell() }), "want one of them"},
		"all and one": {[]Transfer{{To: stranger(1), All: true}, pay}, "must be alone"},
		"all of some": {change(func(p *Transfer) { p.All = true }), "want one of them"},
		"a novel":     {change(func(p *Transfer) { p.Comment = strings.Repeat("x", maxComment+1) }), "at most"},
	} {
		if _, err := w.Build(a, c.list...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := w.Build(&ton.Account{Address: stranger(1)}, pay); err == nil {
		t.Error("built on somebody else's account")
	}
	for _, bad := range []struct {
		key     Key
		version Version
		network Network
	}{{Key{}, V5R1, Mainnet}, {testKey(1), V5R1, 0}, {testKey(1), 9, Mainnet}} {
		if w, err := New(bad.key, bad.version, bad.network); err == nil {
			t.Errorf("wallet %s of %v", w, bad)
		}
	}
}

func TestLinks(t *testing.T) {
	body := cell.BeginCell().MustStoreUInt(1, 32).EndCell()
	init := &tlb.StateInit{Code: body, Data: cell.BeginCell().EndCell()}
	for name, want := range map[string]Transfer{
		"plain":   {To: stranger(1).Bounce(false)},
		"amount":  {To: stranger(1), Amount: 1_500_000_000, Bounce: true},
		"comment": {To: stranger(1), Comment: "tea & biscuits + 50%", Amount: 1},
		"deploy":  {To: init.CalcAddress(0), Amount: 1, Init: init, Body: body},
	} {
		link, err := Link(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseLink(link)
		if err != nil {
			t.Fatalf("%s: %s: %v", name, link, err)
		}
		if !got.To.Equals(want.To.Bounce(want.Bounce)) || got.Amount != want.Amount || got.Comment != want.Comment || got.Bounce != want.Bounce {
			t.Errorf("%s: %s says %+v, want %+v", name, link, got, want)
		}
		if want.Body != nil && (got.Body.HashKey() != want.Body.HashKey() || !got.Init.CalcAddress(0).Equals(want.To)) {
			t.Errorf("%s: %s lost a cell", name, link)
		}
	}
	link, _ := Link(Transfer{To: stranger(1).Bounce(false), Amount: 5, Comment: "a b"})
	if want := "ton://transfer/" + stranger(1).Bounce(false).String() + "?amount=5&text=a%20b"; link != want {
		t.Errorf("link is %s, want %s", link, want)
	}
	addr := stranger(1).String()
	for _, bad := range []string{
		"", "https://x", "ton://transfer/", "ton://transfer/" + addr[1:], "ton://transfer/" + addr + "?amount=-1", "ton://transfer/" + addr + "?amount=1.5",
		"ton://transfer/" + addr + "?exp=1", "ton://transfer/" + addr + "?amount=1&amount=2", "ton://transfer/" + addr + "?bin=!", "ton://transfer/" + addr + "?text=a&bin=te6ccgEBAQEAAgAAAA==",
	} {
		if got, err := ParseLink(bad); err == nil {
			t.Errorf("%s says %+v", bad, got)
		}
	}
	if _, err := Link(Transfer{To: stranger(1), All: true}); err == nil {
		t.Error("a link that asks for everything")
	}
}

func TestForms(t *testing.T) {
	f := FormsOf(stranger(1))
	for text, want := range map[string]string{f.Bounceable: "EQ", f.NonBounceable: "UQ", f.TestBounceable: "kQ", f.TestNonBounceable: "0Q", f.Raw: "0:"} {
		a, err := contract.ParseAddress(text)
		if err != nil || !strings.HasPrefix(text, want) || a.StringRaw() != f.Raw {
			t.Errorf("form %s: %v, %v; want one that begins with %s", text, a, err, want)
		}
	}
}

// The drawing, read back, is the code.
func TestQR(t *testing.T) {
	link, err := Link(Transfer{To: stranger(1), Amount: 5})
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(link, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	for _, inverted := range []bool{false, true} {
		text, err := QR(link, inverted)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		black := func(x, y int) bool {
			r := []rune(lines[(y+quiet)/2])[x+quiet]
			lit := r == '█' || (y+quiet)%2 == 0 && r == '▀' || (y+quiet)%2 == 1 && r == '▄'
			return lit == inverted
		}
		for y := -quiet; y < code.Size+quiet; y++ {
			for x := -quiet; x < code.Size+quiet; x++ {
				if black(x, y) != code.Black(x, y) {
					t.Fatalf("inverted %v: module %d,%d is wrong", inverted, x, y)
				}
			}
		}
	}
	if _, err := QR(strings.Repeat("x", 5000), false); err == nil {
		t.Error("5000 bytes became a QR code")
	}
}
