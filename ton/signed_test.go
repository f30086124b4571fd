package ton_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"hash/crc32"
	"math/big"
	"testing"

	"github.com/xssnick/tonutils-go/adnl/keys"
	"github.com/xssnick/tonutils-go/tl"
	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// council is the validators of a local chain: the chain's key block names
// them, and they sign what a test wants. Blocks of a local chain say that their
// validators' list has the checksum 0, so the list is made to have it.
type council struct {
	keys    []ed25519.PrivateKey
	weights []uint64
	addrs   [][]byte
}

func newCouncil(t *testing.T, weights ...uint64) *council {
	c := &council{weights: weights}
	list := tonapi.ValidatorSetHashable{}
	for i, w := range weights {
		seed := make([]byte, 32)
		seed[0] = byte(i + 1)
		key := ed25519.NewKeyFromSeed(seed)
		c.keys, c.addrs = append(c.keys, key), append(c.addrs, make([]byte, 32))
		list.Validators = append(list.Validators, tonapi.ValidatorItemHashable{Key: key.Public().(ed25519.PublicKey), Weight: w, Addr: c.addrs[i]})
	}
	sum := func() uint32 {
		b, err := tl.Serialize(list, true)
		if err != nil {
			t.Fatal(err)
		}
		return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	}
	solve(c.addrs[0][:4], sum)
	if got := sum(); got != 0 {
		t.Fatalf("checksum of the validators = %08x, want 0", got)
	}
	return c
}

// solve sets four bytes so that the checksum of what holds them is zero: each
// bit flips a fixed set of the checksum's bits, which makes 32 linear equations.
func solve(bits []byte, sum func() uint32) {
	base := sum()
	flip := func(i int) { bits[i/8] ^= 1 << (i % 8) }
	var effect, by [32]uint32 // by their leading bit: what is flipped, by which of the 32
	for i := range 32 {
		flip(i)
		e, b := sum()^base, uint32(1)<<i
		flip(i)
		for j := 31; j >= 0 && e != 0; j-- {
			switch {
			case e>>j&1 == 0:
			case effect[j] == 0:
				effect[j], by[j] = e, b
				e = 0
			default:
				e, b = e^effect[j], b^by[j]
			}
		}
	}
	var chosen uint32
	for j := 31; j >= 0; j-- {
		if base>>j&1 == 1 {
			base, chosen = base^effect[j], chosen^by[j]
		}
	}
	for i := range 32 {
		if chosen>>i&1 == 1 {
			flip(i)
		}
	}
}

// params is a blockchain configuration that names the council.
func (c *council) params(t *testing.T, base *cell.Cell) []byte {
	list, total := cell.NewDict(16), uint64(0)
	for i, key := range c.keys {
		v := cell.BeginCell().MustStoreUInt(0x73, 8).MustStoreUInt(0x8e81278a, 32).MustStoreSlice(key.Public().(ed25519.PublicKey), 256).
			MustStoreUInt(c.weights[i], 64).MustStoreSlice(c.addrs[i], 256).EndCell()
		if err := list.SetIntKey(big.NewInt(int64(i)), v); err != nil {
			t.Fatal(err)
		}
		total += c.weights[i]
	}
	n := uint64(len(c.keys))
	set := cell.BeginCell().MustStoreUInt(0x12, 8).MustStoreUInt(0, 32).MustStoreUInt(1<<31, 32).MustStoreUInt(n, 16).MustStoreUInt(n, 16).
		MustStoreUInt(total, 64).MustStoreDict(list).EndCell()
	catchain := cell.BeginCell().MustStoreUInt(0xc2, 8).MustStoreUInt(0, 8).MustStoreUInt(250, 32).MustStoreUInt(250, 32).MustStoreUInt(1000, 32).MustStoreUInt(7, 32).EndCell()
	dict := base.AsDict(32)
	for number, value := range map[int64]*cell.Cell{28: catchain, 34: set} {
		if err := dict.SetIntKey(big.NewInt(number), cell.BeginCell().MustStoreRef(value).EndCell()); err != nil {
			t.Fatal(err)
		}
	}
	return dict.AsCell().ToBOC()
}

// sign is the signatures of some of the council under a block.
func (c *council) sign(t *testing.T, block *tonapi.BlockIDExt, who ...int) tonapi.SignatureSet {
	text, err := tl.Serialize(tonapi.BlockID{RootHash: block.RootHash, FileHash: block.FileHash}, true)
	if err != nil {
		t.Error(err)
	}
	set := tonapi.SignatureSet{}
	for _, i := range who {
		id, err := tl.Hash(keys.PublicKeyED25519{Key: c.keys[i].Public().(ed25519.PublicKey)})
		if err != nil {
			t.Error(err)
		}
		set.Signatures = append(set.Signatures, tonapi.Signature{NodeIDShort: id, Signature: ed25519.Sign(c.keys[i], text)})
	}
	return set
}

// signedChain is a local chain with validators, whose server can prove its
// blocks by their signatures, made by the ones given.
func signedChain(t *testing.T) (*localnet.Chain, *liar, *council, *ton.Network) {
	_, plain := local(t)
	base, err := plain.Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	council := newCouncil(t, 10, 20, 30, 40)
	c := newChain(t, func(cfg *localnet.Config) { cfg.Params = council.params(t, base) })
	honest := serve(t, c)
	l := newLiar(t, honest)
	n := l.config(t, honest)
	first := l.ask(t.Context(), tonapi.LookupBlock{Mode: 1, ID: &tonapi.BlockInfoShort{Workchain: -1, Shard: -1 << 63, Seqno: 1}})
	n.Init = first.(tonapi.BlockHeader).ID
	return c, l, council, n
}

// prove answers questions for proofs of blocks with the signatures of some.
func (l *liar) prove(t *testing.T, c *council, change func(*tonapi.BlockLinkForward), who ...int) lie {
	ctx := context.Background()
	return func(question, answer tl.Serializable) tl.Serializable {
		q, ok := question.(tonapi.GetBlockProof)
		if !ok {
			return answer
		}
		known, err := cell.FromBOC(l.ask(ctx, tonapi.GetBlockData{ID: q.KnownBlock}).(tonapi.BlockData).Payload)
		if err != nil {
			t.Error(err)
			return answer
		}
		proof, err := cell.CreateMerkleProof(known)
		if err != nil {
			t.Error(err)
			return answer
		}
		link := tonapi.BlockLinkForward{
			From: q.KnownBlock, To: q.TargetBlock, ConfigProof: proof.ToBOC(),
			DestProof:    l.ask(ctx, tonapi.GetBlockHeader{ID: q.TargetBlock}).(tonapi.BlockHeader).HeaderProof,
			SignatureSet: c.sign(t, q.TargetBlock, who...),
		}
		if change != nil {
			change(&link)
		}
		return tonapi.PartialBlockProof{Complete: true, From: q.KnownBlock, To: link.To, Steps: []any{link}}
	}
}

func signed(n *ton.Network) ton.Config { return ton.Config{Network: n} } // as a real network is used

func TestSigned(t *testing.T) {
	c, l, council, n := signedChain(t)
	l.tell(l.prove(t, council, nil, 1, 2, 3))
	client, err := ton.Dial(t.Context(), signed(n))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 3 {
		fund(t, c, stranger(1), "1")
		has, err := client.Account(t.Context(), stranger(1))
		if err != nil || has.Balance != coin.Nano(i+1)*coin.TON || has.At.Seqno < c.Last().SeqNo {
			t.Fatalf("account = %+v, %v; want %d TON", has, err, i+1)
		}
	}
	if tx, err := ton.SendAndConfirm(t.Context(), client, c.FaucetAddress(), transfer(t, c, stranger(2), "1"), inAnHour(c)); err != nil || tx.ExitCode != 0 {
		t.Errorf("transaction = %+v, %v", tx, err)
	}
}

func TestBadSignatures(t *testing.T) {
	c, l, council, n := signedChain(t)
	strangers := newCouncil(t, 10, 20, 30, 41)
	for i := range strangers.keys {
		strangers.keys[i] = ed25519.NewKeyFromSeed(append(make([]byte, 31), byte(50+i)))
	}
	older, err := c.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	all := []int{0, 1, 2, 3}
	for name, test := range map[string]lie{
		"two thirds are not enough": l.prove(t, council, nil, 0, 1, 2), // 60 of 100
		"nobody":                    l.prove(t, council, nil),
		"twice the same":            l.prove(t, council, nil, 3, 3),
		"strangers":                 l.prove(t, strangers, nil, all...),
		"another block signed":      l.prove(t, council, func(f *tonapi.BlockLinkForward) { f.SignatureSet = council.sign(t, older, all...) }, all...),
		"a signature broken": l.prove(t, council, func(f *tonapi.BlockLinkForward) {
			f.SignatureSet.(tonapi.SignatureSet).Signatures[2].Signature[5] ^= 1
		}, all...),
		"another header": l.prove(t, council, func(f *tonapi.BlockLinkForward) {
			f.DestProof = l.ask(context.Background(), tonapi.GetBlockHeader{ID: older}).(tonapi.BlockHeader).HeaderProof
		}, all...),
		"the wrong beginning": l.prove(t, council, func(f *tonapi.BlockLinkForward) { f.From = older }, all...),
		"no such hash": l.prove(t, council, func(f *tonapi.BlockLinkForward) {
			f.To = f.To.Copy()
			f.To.RootHash[0] ^= 1
		}, all...),
		"an older block, truly signed, as the newest": l.prove(t, council, func(f *tonapi.BlockLinkForward) {
			number := f.To.SeqNo
			f.To = older.Copy()
			f.To.SeqNo = number
			f.DestProof = l.ask(context.Background(), tonapi.GetBlockHeader{ID: older}).(tonapi.BlockHeader).HeaderProof
			f.SignatureSet = council.sign(t, older, all...)
		}, all...),
		"no steps": func(question, answer tl.Serializable) tl.Serializable {
			if q, ok := question.(tonapi.GetBlockProof); ok {
				return tonapi.PartialBlockProof{Complete: true, From: q.KnownBlock, To: q.TargetBlock, Steps: []any{}}
			}
			return answer
		},
	} {
		l.tell(test)
		client, err := ton.Dial(t.Context(), signed(n))
		if err == nil {
			client.Close()
		}
		if !errors.Is(err, ton.ErrProof) {
			t.Errorf("%s: %v, want ErrProof", name, err)
		}
	}
	// The test itself: with all of them it works.
	l.tell(l.prove(t, council, nil, all...))
	client, err := ton.Dial(t.Context(), signed(n))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

// A server that cannot prove signatures is of no use, and no liar.
func TestNoSignatures(t *testing.T) {
	c, _, _, n := signedChain(t)
	if _, err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := ton.Dial(t.Context(), signed(n)); !errors.Is(err, ton.ErrUnreachable) || errors.Is(err, ton.ErrProof) {
		t.Errorf("no proofs of blocks: %v, want ErrUnreachable", err)
	}
}
