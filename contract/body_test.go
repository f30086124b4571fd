package contract

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
)

// A body spelled out bit by bit, from the tables of contracts.md.
func spelled(op uint64) *cell.Builder {
	return cell.BeginCell().MustStoreUInt(op, 32).MustStoreUInt(77, 64)
}

func ref(b *cell.Builder) *cell.Cell { return b.EndCell() }

var (
	excess    = filled(0x55)
	someCode  = cell.BeginCell().MustStoreUInt(1, 8).EndCell()
	otherCode = cell.BeginCell().MustStoreUInt(2, 8).EndCell()
	thirdCode = cell.BeginCell().MustStoreUInt(3, 8).EndCell()
	someHash  = all(0xab)
)

type spelling struct {
	body Body
	want *cell.Builder
}

func text(b *cell.Builder, s string) *cell.Builder {
	return b.MustStoreUInt(0, 1).MustStoreUInt(uint64(len(s)), 7).MustStoreSlice([]byte(s), uint(len(s))*8)
}

func spellings() []spelling {
	hash := func(op uint64) *cell.Builder { return spelled(op).MustStoreSlice(someHash[:], 256) }
	limits := func(b *cell.Builder) *cell.Builder {
		return b.MustStoreUInt(600, 32).MustStoreUInt(300, 32).MustStoreCoins(3).MustStoreCoins(4)
	}
	shown := func(state uint64) *cell.Cell {
		return ref(cell.BeginCell().MustStoreUInt(state, 2).MustStoreCoins(11).MustStoreCoins(12).MustStoreUInt(13, 64).MustStoreSlice(someHash[:], 256))
	}
	client := func(part *cell.Cell) *cell.Builder {
		return spelled(0x65448ff4).MustStoreAddr(filled(1)).MustStoreRef(shown(1)).MustStoreMaybeRef(part)
	}
	request := func(part *ClientPart) *ClientRequest {
		return &ClientRequest{77, filled(1), Shown{Closing, 11, 12, 13, someHash}, part}
	}
	money := func(op uint64) *cell.Cell {
		return ref(cell.BeginCell().MustStoreUInt(op, 32).MustStoreCoins(9).MustStoreAddr(excess))
	}
	return []spelling{
		{Empty{}, cell.BeginCell()},
		{Text{'c'}, cell.BeginCell().MustStoreUInt(0, 32).MustStoreUInt(0x63, 8)},
		{&Excesses{77}, spelled(0x2565934c)},
		{&PaidOut{77}, spelled(0xc59a7cd3)},

		{&ChangeHash{WorkerImages, false, 77, someHash}, hash(0xe34b1c60)},
		{&ChangeHash{WorkerImages, true, 77, someHash}, hash(0x8d94a79a)},
		{&ChangeHash{Models, false, 77, someHash}, hash(0xc146134d)},
		{&ChangeHash{Models, true, 77, someHash}, hash(0x92b11c18)},
		{&ChangeHash{ProxyImages, false, 77, someHash}, hash(0x71860e80)},
		{&ChangeHash{ProxyImages, true, 77, someHash}, hash(0x3c41d0b2)},
		{&RegisterProxy{77, "1.2.3.4:5 1.2.3.4:6"}, text(spelled(0x927c7cb5), "1.2.3.4:5 1.2.3.4:6")},
		{&UnregisterProxy{77, 3}, spelled(0x6d49eaf2).MustStoreUInt(3, 32)},
		{&UpdateProxy{77, 3, "1.2.3.4:5"}, text(spelled(0x9c7924ba).MustStoreUInt(3, 32), "1.2.3.4:5")},
		{&ResetLists{77}, spelled(0x563c1d96)},
		{&ChangePrice{77, 20, 18}, spelled(0xc52ed8d4).MustStoreCoins(20).MustStoreCoins(18)},
		{&ChangeParams{77, 20, 18, Limits{600, 300, 3, 4}}, limits(spelled(0x022fa189).MustStoreCoins(20).MustStoreCoins(18))},
		{&ChangeAllParams{77, 20, 18, ledger.Multipliers{Prompt: 1, Cached: 2, Completion: 3, Reasoning: 4}, Limits{600, 300, 3, 4}},
			limits(spelled(0x9f1e69dc).MustStoreCoins(20).MustStoreCoins(18).MustStoreUInt(1, 32).MustStoreUInt(2, 32).MustStoreUInt(3, 32).MustStoreUInt(4, 32))},
		{&UpgradeContracts{77, someCode, otherCode, thirdCode}, spelled(0xa2370f61).MustStoreRef(someCode).MustStoreRef(otherCode).MustStoreRef(thirdCode)},
		{&UpgradeRoot{77, someCode}, spelled(0x11aefd51).MustStoreRef(someCode)},
		{&UpgradeAll{77, otherCode, someCode}, spelled(0x4f7c5789).MustStoreRef(otherCode).MustStoreRef(someCode)},
		{&OfferOwner{77, filled(2)}, spelled(0xc4a1ae54).MustStoreAddr(filled(2))},
		{&AcceptOwner{77}, spelled(0x12f05f62)},
		{&ChangeKeyManager{77, someHash[:], all(4), "1.2.3.4:5"}, text(spelled(0xb01c0fe9).MustStoreSlice(someHash[:], 256).MustStoreSlice(bytes.Repeat([]byte{4}, 32), 256), "1.2.3.4:5")},
		{&ChangeKeyManager{77, someHash[:], all(4), ""}, text(spelled(0xb01c0fe9).MustStoreSlice(someHash[:], 256).MustStoreSlice(bytes.Repeat([]byte{4}, 32), 256), "")},
		{&AddKey{77, PublicKey{someHash[:], 1, 1700000000}}, spelled(0x6e5a646a).MustStoreSlice(someHash[:], 256).MustStoreUInt(1, 8).MustStoreUInt(1700000000, 32)},

		{&PayoutRequest{77, excess}, spelled(0x7610e6eb).MustStoreAddr(excess)},
		{&IncreaseStake{77, 9, excess}, spelled(0x9713f187).MustStoreCoins(9).MustStoreAddr(excess)},
		{&OwnerClose{77, excess}, spelled(0xb51d5a01).MustStoreAddr(excess)},
		{&OwnerFinish{77}, spelled(0x155ee04f)},
		{&SaveState{77, 5, someHash}, spelled(0x9a1247c0).MustStoreUInt(0x53109c0f, 32).MustStoreUInt(5, 32).MustStoreSlice(someHash[:], 256)},
		{&WorkerRequest{77, filled(1), Closed, 13, nil}, spelled(0x4d725d2c).MustStoreAddr(filled(1)).MustStoreUInt(2, 2).MustStoreUInt(13, 64).MustStoreUInt(0, 1)},
		{&WorkerRequest{77, filled(1), Normal, 13, &PayoutPart{8, 9, excess}}, spelled(0x4d725d2c).MustStoreAddr(filled(1)).MustStoreUInt(0, 2).MustStoreUInt(13, 64).
			MustStoreMaybeRef(ref(cell.BeginCell().MustStoreUInt(0x08e7d036, 32).MustStoreCoins(8).MustStoreCoins(9).MustStoreAddr(excess)))},
		{request(nil), client(nil)},
		{request(&ClientPart{Kind: PartRegister, Nonce: 1 << 63}), client(ref(cell.BeginCell().MustStoreUInt(0xa35cb580, 32).MustStoreUInt(1<<63, 64)))},
		{request(&ClientPart{Kind: PartTopUp, Amount: 9, Excess: excess}), client(money(0x5cfc6b87))},
		{request(&ClientPart{Kind: PartRefundGranted, Amount: 9, Excess: excess}), client(money(0xc68ebc7b))},
		{request(&ClientPart{Kind: PartRefundForced, Amount: 9, Excess: excess}), client(money(0xf4c354c9))},

		{&WorkerRegister{77, excess}, spelled(0x26ed7f65).MustStoreAddr(excess)},

		{&TopUp{77, 9, excess}, spelled(0xf172e6c2).MustStoreCoins(9).MustStoreAddr(excess)},
		{&SecretTopUp{77, 9, someHash, excess}, spelled(0x8473b408).MustStoreCoins(9).MustStoreSlice(someHash[:], 256).MustStoreAddr(excess)},
		{&ClientRegister{77, 1 << 63, excess}, spelled(0xc45f9f3b).MustStoreUInt(1<<63, 64).MustStoreAddr(excess)},
		{&ChangeSecret{77, someHash, excess}, hash(0xa9357034).MustStoreAddr(excess)},
		{&RaiseStake{77, 9, excess}, spelled(0x6a1f6a60).MustStoreCoins(9).MustStoreAddr(excess)},
		{&Withdraw{77, excess}, spelled(0xda068e78).MustStoreAddr(excess)},
		{&RequestRefund{77, excess, nil}, spelled(0xfafa6cc1).MustStoreAddr(excess)},
		{&RequestRefund{77, excess, new(coin.Nano(5))}, spelled(0xfafa6cc1).MustStoreAddr(excess).MustStoreBigCoins(big.NewInt(5))},
		{&Collect{77, 9, excess}, spelled(0x5496813c).MustStoreUInt(9, 64).MustStoreAddr(excess)},
	}
}

// Every message is written as the tables say, and read as it was written.
func TestBodies(t *testing.T) {
	seen := map[uint32]bool{}
	for _, x := range spellings() {
		name, want := fmt.Sprintf("%T%+v", x.body, x.body), x.want.EndCell()
		c, err := x.body.Cell()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(c.Hash(), want.Hash()) {
			t.Errorf("%s is\n%s, want\n%s", name, c.Dump(), want.Dump())
		}
		got, err := ParseBody(want)
		if err != nil || !reflect.DeepEqual(got, x.body) {
			t.Errorf("%s reads as %T%+v, %v", name, got, got, err)
		}
		if want.BitsSize() >= 32 {
			seen[uint32(want.MustBeginParse().MustLoadUInt(32))] = true
		}
		// A bit or a reference too many, or a bit missing, and it is not read.
		bits := want.BitsSize()
		if bits == 0 {
			continue
		}
		short := cell.BeginCell().MustStoreSlice(want.MustBeginParse().MustLoadSlice(bits-1), bits-1)
		for i := range int(want.RefsNum()) {
			short.MustStoreRef(want.MustPeekRef(i))
		}
		for what, bad := range map[string]*cell.Cell{
			"a bit more":       then(want).MustStoreUInt(0, 1).EndCell(),
			"a reference more": then(want).MustStoreRef(emptyCell).EndCell(),
			"a bit less":       short.EndCell(),
		} {
			if got, err := ParseBody(bad); err == nil {
				t.Errorf("%s with %s reads as %+v", name, what, got)
			}
		}
	}
	for op := range messages {
		if _, payment := paymentKinds[PaymentKind(op)]; !seen[op] && !payment && op != opSignedKey {
			t.Errorf("message %08x is not spelled out above", op)
		}
	}
}

// Strangers write what they like where the change should go; the message is
// read all the same, and cannot be written so by us.
func TestForeignExcess(t *testing.T) {
	for _, a := range []*address.Address{nil, address.NewAddressExt(0, 9, []byte{1, 0x80}), address.NewAddress(0, 5, make([]byte, 32)), address.NewAddressVar(0, 3, 8, []byte{7})} {
		part := ref(cell.BeginCell().MustStoreUInt(uint64(PartTopUp), 32).MustStoreCoins(9).MustStoreAddr(a))
		body := spelled(0x65448ff4).MustStoreAddr(filled(1)).
			MustStoreRef(ref(cell.BeginCell().MustStoreUInt(1, 2).MustStoreCoins(1).MustStoreCoins(1).MustStoreUInt(1, 64).MustStoreSlice(someHash[:], 256))).MustStoreMaybeRef(part)
		got, err := ParseBody(body.EndCell())
		if err != nil {
			t.Errorf("change to %v: %v", a, err)
		} else if r := got.(*ClientRequest); r.Part == nil || r.Part.Amount != 9 {
			t.Errorf("change to %v: %+v", a, r)
		}
		if _, err := (&TopUp{1, 2, a}).Cell(); (err == nil) != standard(a) {
			t.Errorf("top-up with the change to %v: %v", a, err)
		}
	}
}

func TestBodyRefusals(t *testing.T) {
	exotic := sealed(t, "l00kU45gA7Gjk/hwhSW4EyTPiniu6ItFhdUbb2RVUUc=", 3)
	for _, x := range []struct {
		name, want string
		unknown    bool
		body       *cell.Cell
	}{
		{"nothing", "no cell", false, nil},
		{"exotic", "exotic", false, exotic},
		{"reference only", "unknown", true, cell.BeginCell().MustStoreRef(emptyCell).EndCell()},
		{"31 bits", "unknown", true, cell.BeginCell().MustStoreUInt(0, 31).EndCell()},
		{"comment", "one letter", true, cell.BeginCell().MustStoreUInt(0, 32).MustStoreSlice([]byte("hello"), 40).EndCell()},
		{"comment of nothing", "one letter", true, cell.BeginCell().MustStoreUInt(0, 32).EndCell()},
		{"unknown", "unknown operation 0f8a7ea5", true, spelled(0x0f8a7ea5).EndCell()},
		{"do not process something else", "inside is 00000001", false, spelled(0x9a1247c0).MustStoreUInt(1, 32).MustStoreUInt(0, 32).MustStoreSlice(someHash[:], 256).EndCell()},
		{"no query", "Excesses", false, cell.BeginCell().MustStoreUInt(0x2565934c, 32).EndCell()},
		{"entry of kind 1", "kind 1", false, spelled(0x927c7cb5).MustStoreUInt(0x80, 8).EndCell()},
		{"text cut off", "RegisterProxy", false, spelled(0x927c7cb5).MustStoreUInt(2, 8).MustStoreUInt(1, 8).EndCell()},
		{"owner none", "standard address", false, spelled(0x4d725d2c).MustStoreUInt(0, 2+2+64+1).EndCell()},
		{"state 3", "state is 3", false, spelled(0x4d725d2c).MustStoreAddr(filled(1)).MustStoreUInt(3, 2).MustStoreUInt(0, 65).EndCell()},
		{"part unknown", "unknown operation 00000007", true, spelled(0x65448ff4).MustStoreAddr(filled(1)).
			MustStoreRef(ref(cell.BeginCell().MustStoreUInt(0, 2+4+4+64).MustStoreSlice(someHash[:], 256))).MustStoreMaybeRef(ref(cell.BeginCell().MustStoreUInt(7, 32))).EndCell()},
		{"register without nonce", "part", false, spelled(0x65448ff4).MustStoreAddr(filled(1)).
			MustStoreRef(ref(cell.BeginCell().MustStoreUInt(0, 2+4+4+64).MustStoreSlice(someHash[:], 256))).MustStoreMaybeRef(ref(cell.BeginCell().MustStoreUInt(0xa35cb580, 32))).EndCell()},
		{"shown too long", "state: 1 bits", false, spelled(0x65448ff4).MustStoreAddr(filled(1)).
			MustStoreRef(ref(cell.BeginCell().MustStoreUInt(0, 2+4+4+64).MustStoreSlice(someHash[:], 256).MustStoreUInt(0, 1))).MustStoreUInt(0, 1).EndCell()},
	} {
		got, err := ParseBody(x.body)
		if err == nil || !strings.Contains(err.Error(), x.want) || errors.Is(err, ErrUnknownOp) != x.unknown {
			t.Errorf("%s: %+v, %v, want an error with %q, unknown operation: %v", x.name, got, err, x.want, x.unknown)
		}
	}
	for _, bad := range []Body{
		&ChangeHash{List: 3}, &RegisterProxy{Text: "example.org:1"}, &UpdateProxy{Text: ""}, &RegisterProxy{Text: strings.Repeat("1", 128)},
		&ChangePrice{Price: -1}, &UpgradeContracts{Proxy: someCode, Worker: someCode}, &UpgradeAll{Code: someCode}, &OfferOwner{},
		&ChangeKeyManager{Key: someHash[:], Address: "nowhere"}, &ChangeKeyManager{Key: someHash[:31]}, &AddKey{},
		&TopUp{Amount: -1, Excess: excess}, &TopUp{Amount: 1}, &WorkerRequest{}, &WorkerRequest{Owner: excess, Part: &PayoutPart{}}, &WorkerRequest{Owner: excess, State: 4},
		&ClientRequest{Owner: excess, Part: &ClientPart{Kind: 7}}, &ClientRequest{Owner: excess, Shown: Shown{Balance: -1}},
		&Envelope{}, &SignedKey{},
	} {
		if c, err := bad.Cell(); err == nil {
			t.Errorf("%T%+v was written: %s", bad, bad, c.Dump())
		}
	}
}

// A stake of 2^119 in a report is no reason not to read it.
func TestReportsBeyondMoney(t *testing.T) {
	shown := cell.BeginCell().MustStoreUInt(0, 2).MustStoreCoins(1).MustStoreBigCoins(new(big.Int).Lsh(big.NewInt(1), 119)).MustStoreUInt(1, 64).MustStoreSlice(someHash[:], 256)
	got, err := ParseBody(spelled(0x65448ff4).MustStoreAddr(filled(1)).MustStoreRef(shown.EndCell()).MustStoreUInt(0, 1).EndCell())
	if err != nil || got.(*ClientRequest).Shown.Stake != coin.Max {
		t.Errorf("%+v, %v", got, err)
	}
}

// The key manager's order of root_state.json.
func TestSignedKeyVector(t *testing.T) {
	v := readRootVectors(t).Signed
	raw, err := hex.DecodeString(v.Seed)
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(raw)
	added, err := hex.DecodeString("fb67d0fcd338f20e0d4957d9e82adc101d2e3513a448a3ab46052ee1b88c5818")
	if err != nil {
		t.Fatal(err)
	}
	o := KeyOrder{QueryID: 0x1122334455667788, Excess: filled(0x0b), Key: PublicKey{added, 1, v.ValidUntil}}
	s, err := o.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	c := cellOf(t, s)
	if got := hex.EncodeToString(c.Hash()); got != v.EnvelopeHash {
		t.Errorf("envelope %s, want %s", got, v.EnvelopeHash)
	}
	if got := hex.EncodeToString(c.MustPeekRef(0).Hash()); got != v.PayloadHash {
		t.Errorf("payload %s, want %s", got, v.PayloadHash)
	}
	body, err := ParseBody(bagOf(t, v.EnvelopeBoc))
	if err != nil {
		t.Fatal(err)
	}
	read := body.(*SignedKey)
	if !reflect.DeepEqual(read.KeyOrder, o) || hex.EncodeToString(public(key)) != v.Signer {
		t.Errorf("reads as %+v, want %+v", read.KeyOrder, o)
	}
	if err := read.Verify(public(key)); err != nil {
		t.Error(err)
	}
	if err := read.Verify(public(seed(1))); err == nil {
		t.Error("another key manager's signature is good")
	}
}

// With the registry's address inside, an order is good at that registry alone.
func TestSignedKeyForOneRegistry(t *testing.T) {
	o := KeyOrder{QueryID: 1, Excess: excess, Key: PublicKey{someHash[:], 1, 5}, Root: filled(0x11)}
	s, err := o.Sign(seed(3))
	if err != nil {
		t.Fatal(err)
	}
	body, err := ParseBody(cellOf(t, s.Repack(filled(0x77))))
	if err != nil {
		t.Fatal(err)
	}
	read := body.(*SignedKey)
	if err := read.Verify(public(seed(3))); err != nil {
		t.Error(err)
	}
	if o.Excess = filled(0x77); !reflect.DeepEqual(read.KeyOrder, o) {
		t.Errorf("reads as %+v, want %+v", read.KeyOrder, o)
	}
	payload := cellOf(t, s).MustPeekRef(0)
	if payload.BitsSize() != 32+64+256+8+32+267 {
		t.Errorf("payload has %d bits", payload.BitsSize())
	}
	for name, bad := range map[string]*cell.Cell{
		"other query":  then(payload).EndCell(),
		"a bit more":   then(payload).MustStoreUInt(0, 1).EndCell(),
		"no address":   cell.BeginCell().MustStoreSlice(payload.MustBeginParse().MustLoadSlice(394), 394).EndCell(),
		"nothing":      emptyCell,
		"a ref inside": then(payload).MustStoreRef(emptyCell).EndCell(),
	} {
		query := uint64(1)
		if name == "other query" {
			query = 2
		}
		c := cell.BeginCell().MustStoreUInt(opSignedKey, 32).MustStoreUInt(query, 64).MustStoreAddr(excess).MustStoreSlice(make([]byte, 64), 512).MustStoreRef(bad).EndCell()
		if got, err := ParseBody(c); err == nil {
			t.Errorf("%s: reads as %+v", name, got)
		}
	}
}

func FuzzParseBody(f *testing.F) {
	for _, x := range spellings() {
		f.Add(x.want.EndCell().ToBOC())
	}
	f.Add(bagOf(f, readRootVectors(f).Signed.EnvelopeBoc).ToBOC())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := cell.FromBOC(data)
		if err != nil {
			return
		}
		m, err := ParseBody(c)
		if err != nil {
			return
		}
		again, err := m.Cell()
		if err != nil {
			return // read, and not what we would write
		}
		twice, err := ParseBody(again)
		if err != nil {
			t.Fatalf("%T%+v was written and cannot be read: %v", m, m, err)
		}
		if last := cellOf(t, twice); !bytes.Equal(last.Hash(0), again.Hash(0)) {
			t.Errorf("%T%+v comes back as %+v", m, m, twice)
		}
	})
}
