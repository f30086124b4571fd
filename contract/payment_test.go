package contract

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// The signed messages of contracts.md section 26.
func TestPaymentVectors(t *testing.T) {
	const (
		proxy  = "0:57d3776e229d9a85f010b941044d7efe1bddb3a0f4dd7c33f4d1345e30948ce9"
		worker = "0:eb5cd5ec9277bcb46a6c4677fbd8a5897041f8834b290e9ff4b0d5d15c29460e"
		client = "0:dbc541992d2a8548b0aeb4cee201fe1231295ee3e7d7bf6504714eeb47d168d9"
	)
	for _, x := range []struct {
		kind              PaymentKind
		contract          string
		tokens            int64
		payload, envelope string
	}{
		{Charge, client, 1e8, "1bfb4d7fbb864852cd0107b9158ee4eec1b4111375851e5088010b3f9228fefb", "3be377d5f2fda7f1362cffac57995310b7b9700c35a1b4dc8fa2329f12d7e0fb"},
		{GrantRefund, client, 1e8, "5c977123ac1ee6c4ea2a3cae75de3a712c44a38cedfb790803c713afb5325285", "726596173e90bd1461831b06f39ed877d451bff6b1eb20a1fb50d0f01b999412"},
		{Payout, worker, 1e8, "5c32c48c19110b92c954ed6eb4105c110c73acbbfcbaa2f0120265213b97c523", "35e203eb5a90cd684fb98e68c08a1ad12999355a62c8a996dba8b9a4e4339caf"},
		{LastPayout, worker, 1e8, "84a9eb6afa52aa1a0373c5fab419437611655937897cd8deeff6153fff4a1c88", "0782e5ad20b84f1b812f159522a9a95e6cde201d5a329b2feb9b727676549ccc"},
		{CloseRequest, proxy, 0, "71ec0aacad19ff7c31ef9ec60678dedb93ba48be2dc15503fabcc3b829064545", "cabe667069f1b2cdc2e8f25db3f1e503b7b6ede83ec2b0d12bc079375d370402"},
		{CloseComplete, proxy, 0, "5bbf7e530980f7f51910d7381648e1ad28a55125368847b98df5220a4766469c", "5921b048eade16d0119bd3ecc25c73c4de4711c9490ab6e3824137549b6afb1c"},
	} {
		p := Payment{Kind: x.kind, QueryID: 77, Excess: filled(0x55), Tokens: x.tokens, Contract: parse(t, x.contract)}
		e, err := p.Sign(seed(7))
		if err != nil {
			t.Fatal(err)
		}
		c := cellOf(t, e)
		if got := hex.EncodeToString(c.Hash()); got != x.envelope {
			t.Errorf("%s: envelope %s, want %s", x.kind, got, x.envelope)
		}
		if got := hex.EncodeToString(c.MustPeekRef(0).Hash()); got != x.payload {
			t.Errorf("%s: payload %s, want %s", x.kind, got, x.payload)
		}
		// Submitted by somebody else, who gets the change, it is still good.
		again := e.Repack(filled(0x77))
		body, err := ParseBody(cellOf(t, again))
		if err != nil {
			t.Fatal(err)
		}
		read := body.(*Envelope)
		if err := read.Verify(p.Contract, public(seed(7))); err != nil {
			t.Errorf("%s repacked: %v", x.kind, err)
		}
		if p.Excess = filled(0x77); !reflect.DeepEqual(read.Payment, p) {
			t.Errorf("%s repacked reads as %+v, want %+v", x.kind, read.Payment, p)
		}
		if hex.EncodeToString(cellOf(t, again.Repack(filled(0x55))).Hash()) != x.envelope {
			t.Errorf("%s repacked twice is another envelope", x.kind)
		}
	}
}

func cellOf(t *testing.T, b Body) *cell.Cell {
	t.Helper()
	c, err := b.Cell()
	if err != nil {
		t.Fatalf("%T: %v", b, err)
	}
	return c
}

// What would close an account, or the proxy, stays with the proxy.
func TestOnlyChargesAndPayoutsForPeers(t *testing.T) {
	for kind, want := range map[PaymentKind]bool{Charge: true, Payout: true, GrantRefund: false, LastPayout: false, CloseRequest: false, CloseComplete: false} {
		e, err := (&Payment{Kind: kind, Excess: filled(1), Contract: filled(2)}).Sign(seed(7))
		if err != nil {
			t.Fatal(err)
		}
		if data, err := e.ForPeer(); (err == nil) != want || kind.ForPeers() != want {
			t.Errorf("%s for a peer: %x, %v, want it handed out: %v", kind, data, err, want)
		}
	}
}

// A reference proxy's recorded payments verify, and signing the same again gives the same bytes.
func TestRecordedPayments(t *testing.T) {
	text, err := os.ReadFile("testdata/recorded_payments.txt")
	if err != nil {
		t.Fatal(err)
	}
	key, seen := recordedKey(t), 0
	contracts := map[string]*address.Address{
		"charge": parse(t, "UQCACjNFLY4ArI-ZdQsAazEAW41KvHyVIAWsFh9pbqcA1f12"),
		"payout": parse(t, "UQDLYGhRHNqXquKXJazsjMBUUhXtmZ_Nom43-_sztpg80bUO"),
	}
	for line := range strings.Lines(string(text)) {
		kind, data, _ := strings.Cut(strings.TrimSpace(line), " ")
		contract, ok := contracts[kind]
		if !ok {
			continue
		}
		raw, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		p, err := VerifyPayment(raw, map[string]PaymentKind{"charge": Charge, "payout": Payout}[kind], contract, public(key))
		if err != nil {
			t.Fatal(err)
		}
		again, err := p.Sign(key)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := again.ForPeer(); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%s of %d tokens signed again: %x (%v), recorded %s", kind, p.Tokens, again, err, data)
		}
		seen++
	}
	if seen != 4 {
		t.Errorf("%d recorded payments, want 4", seen)
	}
}

func TestPaymentRefusals(t *testing.T) {
	key, self := seed(7), filled(0x66)
	good := Payment{Kind: Charge, QueryID: 1, Excess: filled(0x55), Tokens: 5, Contract: self}
	sign := func(p Payment) []byte {
		e, err := p.Sign(key)
		if err != nil {
			t.Fatal(err)
		}
		data, err := e.ForPeer()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	bag := func(c *cell.Cell) []byte { return c.ToBOC() }
	payload := func(kind PaymentKind, query, tokens uint64) *cell.Builder {
		return cell.BeginCell().MustStoreUInt(uint64(kind), 32).MustStoreUInt(query, 64).MustStoreUInt(tokens, 64).MustStoreAddr(self)
	}
	envelope := func(signed *cell.Cell) *cell.Builder {
		return cell.BeginCell().MustStoreUInt(uint64(Charge), 32).MustStoreUInt(1, 64).MustStoreAddr(filled(0x55)).
			MustStoreSlice(ed25519.Sign(key, signed.Hash()), 512).MustStoreRef(signed)
	}
	fine := payload(Charge, 1, 5).EndCell()
	// The level a bag states enters the hash that is signed; no chain would accept it.
	lie := fine.ToBOCWithOptions(cell.BOCSerializeOptions{})
	lie[bytes.Index(lie, bitsOf(t, fine, 8*32))-2] |= 1 << 5
	lying, err := cell.FromBOC(lie)
	if err != nil || bytes.Equal(lying.Hash(), fine.Hash()) {
		t.Fatalf("the lie about the level: %v", err)
	}
	underneath := bytes.Clone(bag(envelope(lying).EndCell()))
	flipped := sign(good)
	flipped[60] ^= 1
	for _, x := range []struct {
		name, want string
		data       []byte
		kind       PaymentKind
		contract   *address.Address
		signer     byte
	}{
		{"the good one", "", sign(good), Charge, self, 7},
		{"with a checksum", "", bag(envelope(fine).EndCell()), Charge, self, 7},
		{"with index, hashes and checksum", "", envelope(fine).EndCell().ToBOCWithOptions(cell.BOCSerializeOptions{WithCRC32C: true, WithIndex: true, WithCacheBits: true, WithTopHash: true, WithIntHashes: true}), Charge, self, 7},
		{"empty", "not a bag of cells", nil, Charge, self, 7},
		{"garbage", "not a bag of cells", bytes.Repeat([]byte{0xb5}, 300), Charge, self, 7},
		{"huge", "want at most 2048", make([]byte, 1<<20), Charge, self, 7},
		{"cut off", "not a bag of cells", sign(good)[:100], Charge, self, 7},
		{"other kind", "kind is charge, want payout", sign(good), Payout, self, 7},
		{"unknown kind", "unknown operation 00000005", bag(cell.BeginCell().MustStoreUInt(5, 32).MustStoreUInt(1, 64).EndCell()), Charge, self, 7},
		{"another message", "*contract.Excesses, want a signed payment", bag(cellOf(t, &Excesses{1})), Charge, self, 7},
		{"empty cell", "contract.Empty, want a signed payment", bag(emptyCell), Charge, self, 7},
		{"other contract", "for contract", sign(good), Charge, filled(0x67), 7},
		{"no contract", "for contract", sign(good), Charge, nil, 7},
		{"other key", "signature is not", sign(good), Charge, self, 8},
		{"changed bit", "", flipped, Charge, self, 7},
		{"inner kind differs", "envelope says", bag(envelope(payload(Payout, 1, 5).EndCell()).EndCell()), Charge, self, 7},
		{"inner query differs", "envelope says", bag(envelope(payload(Charge, 2, 5).EndCell()).EndCell()), Charge, self, 7},
		{"tokens above 2^63", "want below 2^63", bag(envelope(payload(Charge, 1, 1<<63).EndCell()).EndCell()), Charge, self, 7},
		{"extra bit in payload", "1 bits and 0 references too many", bag(envelope(payload(Charge, 1, 5).MustStoreUInt(0, 1).EndCell()).EndCell()), Charge, self, 7},
		{"extra reference in payload", "0 bits and 1 references too many", bag(envelope(payload(Charge, 1, 5).MustStoreRef(fine).EndCell()).EndCell()), Charge, self, 7},
		{"extra bit in envelope", "too many", bag(envelope(fine).MustStoreUInt(1, 1).EndCell()), Charge, self, 7},
		{"extra reference in envelope", "too many", bag(envelope(fine).MustStoreRef(fine).EndCell()), Charge, self, 7},
		{"no payload", "Envelope", bag(cell.BeginCell().MustStoreUInt(uint64(Charge), 32).MustStoreUInt(1, 64).MustStoreAddr(self).MustStoreSlice(make([]byte, 64), 512).EndCell()), Charge, self, 7},
		{"no excess address", "not a standard address", bag(cell.BeginCell().MustStoreUInt(uint64(Charge), 32).MustStoreUInt(1, 64).MustStoreAddr(nil).MustStoreSlice(make([]byte, 64), 512).MustStoreRef(fine).EndCell()), Charge, self, 7},
		{"two roots", "not a bag of cells", cell.ToBOCWithOptions([]*cell.Cell{fine, envelope(fine).EndCell()}, cell.BOCSerializeOptions{}), Charge, self, 7},
		{"false level", "level 1", underneath, Charge, self, 7},
		{"exotic", "level", bag(sealed(t, "l00kU45gA7Gjk/hwhSW4EyTPiniu6ItFhdUbb2RVUUc=", 3)), Charge, self, 7},
	} {
		p, err := VerifyPayment(x.data, x.kind, x.contract, public(seed(x.signer)))
		good := strings.HasPrefix(x.name, "with") || x.name == "the good one"
		switch {
		case good && (err != nil || p.Tokens != 5):
			t.Errorf("%s: %v", x.name, err)
		case !good && (!errors.Is(err, ErrPayment) || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
	}
}

func TestSignRefusals(t *testing.T) {
	for _, p := range []Payment{
		{Kind: Charge, Excess: filled(1), Contract: filled(2), Tokens: -1},
		{Kind: Charge, Excess: filled(1)},
		{Kind: Charge, Contract: filled(1)},
		{Kind: Charge, Excess: address.NewAddressNone(), Contract: filled(1)},
		{Kind: CloseRequest, Excess: filled(1), Contract: filled(2), Tokens: 1},
		{Kind: 5, Excess: filled(1), Contract: filled(2)},
		{Excess: filled(1), Contract: filled(2)},
	} {
		if e, err := p.Sign(seed(1)); err == nil {
			t.Errorf("%+v was signed: %+v", p, e)
		}
	}
}

func FuzzVerifyPayment(f *testing.F) {
	for kind := range paymentKinds {
		p := Payment{Kind: kind, QueryID: 1, Excess: filled(0x55), Contract: filled(0x66)}
		if paymentKinds[kind].counter {
			p.Tokens = 5
		}
		e, err := p.Sign(seed(7))
		if err != nil {
			f.Fatal(err)
		}
		c, err := e.Cell()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.ToBOC())
		f.Add(c.ToBOC()[:50])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := VerifyPayment(data, Charge, filled(0x66), public(seed(7)))
		if err == nil && (p.Tokens != 5 || p.QueryID != 1) {
			t.Errorf("forged a payment of %d tokens: %x", p.Tokens, data)
		}
	})
}
