package contract

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// The golden vectors of contracts.md section 26.
func TestWalletVectors(t *testing.T) {
	code := sealed(t, "ekjwXO70DwbKu6o5wcWmeyTou1nYz4p05JmIpfRM9mo=", 6)
	addr, init, err := NewWallet(code, filled(0x44), public(seed(9)))
	if err != nil {
		t.Fatal(err)
	}
	if want := "0:d0104a67f2cbf87e41a9d963154a67cf99e85559a752dac972cac7caf4fd94f5"; addr.StringRaw() != want {
		t.Errorf("wallet at %s, want %s", addr.StringRaw(), want)
	}
	if got, want := hex.EncodeToString(init.Data.Hash()), "872c0e2d21e95d94537ac41ff2b6e001a23fe9ab1987adaffa66cd38a18ce6c6"; got != want {
		t.Errorf("initial data is %s, want %s", got, want)
	}
	if init.Data.BitsSize() != 619 {
		t.Errorf("initial data has %d bits, want 619", init.Data.BitsSize())
	}
	ours, init, err := NewWallet(OurCodes().Wallet, filled(0x44), public(seed(9)))
	if err != nil || !init.CalcAddress(0).Equals(ours) {
		t.Errorf("state init lives at %s, want %s (%v)", init.CalcAddress(0), ours, err)
	}
	hash, err := (&Order{ValidUntil: 1760003600}).Hash()
	if want := "cf6621c2dccacd72ff10192fc4efb69823606478d95abbc3e381e7b0047c6161"; err != nil || hex.EncodeToString(hash[:]) != want {
		t.Errorf("signed hash is %x, %v; want %s", hash, err, want)
	}
}

func TestWalletState(t *testing.T) {
	want := WalletState{Seqno: 7, Subwallet: 3, Key: public(seed(9)), Status: 0x81, Owner: filled(0x44)}
	c, err := want.Cell()
	if err != nil {
		t.Fatal(err)
	}
	longer := cell.BeginCell().MustStoreBuilder(c.ToBuilder()).MustStoreUInt(5, 9).MustStoreRef(emptyCell).EndCell()
	for name, data := range map[string]*cell.Cell{"as it is": c, "with later fields": longer} {
		got, err := ParseWalletState(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Seqno != 7 || got.Subwallet != 3 || !bytes.Equal(got.Key, want.Key) || got.Status != 0x81 || !got.Owner.Equals(want.Owner) {
			t.Errorf("%s: state = %+v, want %+v", name, got, want)
		}
		if !got.Blocked() {
			t.Errorf("%s: bit 0 is set and the wallet is not blocked", name)
		}
	}
	short := cell.BeginCell().MustStoreSlice(make([]byte, 38), 300).EndCell()
	for name, data := range map[string]*cell.Cell{"none": nil, "short": short, "exotic": sealed(t, "ekjwXO70DwbKu6o5wcWmeyTou1nYz4p05JmIpfRM9mo=", 6)} {
		if got, err := ParseWalletState(data); err == nil {
			t.Errorf("%s: state = %+v", name, got)
		}
	}
	if _, _, err := NewWallet(OurCodes().Wallet, filled(0x44), nil); err == nil {
		t.Error("a wallet without a key has an address")
	}
	if _, _, err := NewWallet(nil, filled(0x44), public(seed(9))); err == nil {
		t.Error("a wallet without code has an address")
	}
}

func letter(n uint64) OrderMessage {
	return OrderMessage{Mode: 3, Cell: cell.BeginCell().MustStoreUInt(n, 64).EndCell()}
}

func TestOrderRoundTrip(t *testing.T) {
	for count := range MaxOrderMessages + 1 {
		want := &Order{Subwallet: 1, ValidUntil: 2, Seqno: 3}
		for i := range count {
			want.Messages = append(want.Messages, letter(uint64(i)))
		}
		body, err := want.Sign(seed(9))
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyOrder(body, public(seed(9)))
		if err != nil {
			t.Fatal(err)
		}
		g, _ := got.Hash()
		w, _ := want.Hash()
		if g != w || len(got.Messages) != count || got.Seqno != 3 {
			t.Errorf("order = %+v, want %+v", got, want)
		}
		again, err := want.Sign(seed(9))
		if err != nil || again.HashKey() != body.HashKey() {
			t.Errorf("signed twice: %x and %x, %v", body.Hash(), again.Hash(), err)
		}
	}
}

func TestRefusedOrders(t *testing.T) {
	good, err := (&Order{Messages: []OrderMessage{letter(1)}}).Sign(seed(9))
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*cell.Builder)) *cell.Cell {
		b := good.ToBuilder()
		f(b)
		return b.EndCell()
	}
	for name, c := range map[string]struct {
		body *cell.Cell
		want string
	}{
		"none":              {nil, "no body"},
		"empty":             {emptyCell, "not an order"},
		"a mode too many":   {change(func(b *cell.Builder) { b.MustStoreUInt(3, 8) }), "8 bits and 0 references too many"},
		"a mode missing":    {change(func(b *cell.Builder) { b.MustStoreRef(emptyCell) }), "not an order"},
		"bits left":         {change(func(b *cell.Builder) { b.MustStoreUInt(1, 1) }), "1 bits and 0 references too many"},
		"changed afterward": {change(func(b *cell.Builder) { b.MustStoreUInt(3, 8).MustStoreRef(emptyCell) }), "not signed by the wallet's key"},
	} {
		if _, err := VerifyOrder(c.body, public(seed(9))); !errors.Is(err, ErrOrder) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := VerifyOrder(good, public(seed(8))); !errors.Is(err, ErrOrder) {
		t.Errorf("somebody else's key: %v", err)
	}
	if _, err := ParseOrder(good); err != nil {
		t.Errorf("unverified: %v", err)
	}
	if _, err := (&Order{Messages: make([]OrderMessage, 5)}).Sign(seed(9)); err == nil {
		t.Error("an order of five messages was signed")
	}
	if _, err := (&Order{Messages: make([]OrderMessage, 1)}).Sign(seed(9)); err == nil {
		t.Error("an order of no message at all was signed")
	}
}

func TestWalletBodies(t *testing.T) {
	send := &WalletSend{QueryID: 5, Mode: 64, Message: emptyCell}
	body, err := send.Cell()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseWalletSend(body); err != nil || got.QueryID != 5 || got.Mode != 64 || got.Message.HashKey() != emptyCell.HashKey() {
		t.Errorf("send = %+v, %v", got, err)
	}
	if got := hex.EncodeToString(bitsOf(t, body, 32)); got != "9c69f376" {
		t.Errorf("operation = %s", got)
	}
	if _, err := (&WalletSend{}).Cell(); err == nil {
		t.Error("a send without a message has a body")
	}
	for command, want := range map[WalletCommand]string{WalletWithdraw: "0000000077", WalletBlock: "0000000062", WalletUnblock: "0000000075"} {
		body, err := command.Cell()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseWalletSend(body); err == nil {
			t.Errorf("command %c is a send", command)
		}
		if got := hex.EncodeToString(bitsOf(t, body, 40)); got != want || body.BitsSize() != 40 {
			t.Errorf("command %c = %s, want %s", command, got, want)
		}
	}
	for code := int32(1030); code <= 1035; code++ {
		if WalletExit(code) == "" {
			t.Errorf("exit code %d has no name", code)
		}
	}
}

func bitsOf(t *testing.T, c *cell.Cell, n uint) []byte {
	t.Helper()
	s, err := c.BeginParse()
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.LoadSlice(n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever bytes are an order, the order is those bytes.
func FuzzOrder(f *testing.F) {
	for count := range MaxOrderMessages + 1 {
		o := &Order{ValidUntil: 1760003600, Seqno: 9}
		for i := range count {
			o.Messages = append(o.Messages, letter(uint64(i)))
		}
		body, err := o.Sign(seed(9))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body.ToBOC())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := parseBOC(data, 1024)
		if err != nil {
			return
		}
		o, signature, err := parseOrder(body)
		if err != nil {
			if !errors.Is(err, ErrOrder) {
				t.Errorf("error %v is of another kind", err)
			}
			return
		}
		content, err := o.signed()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		b := newBuilder("order").bits(signature, 512)
		if err := b.b.StoreBuilder(content.b); err != nil || b.cell().HashKey() != body.HashKey() {
			t.Errorf("written again: %x, %v; want %x", b.cell().Hash(), err, body.Hash())
		}
	})
}
