package ton_test

import (
	"context"
	"errors"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/tlb"
	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/ton"
)

// bookish is a chain on which the faucet's code is a public library.
type bookish struct {
	ton.Chain
	t       *testing.T
	faucet  *address.Address
	library *cell.Cell
}

func (b *bookish) Account(ctx context.Context, addr *address.Address) (*ton.Account, error) {
	a, err := b.Chain.Account(ctx, addr)
	if err != nil || !addr.Equals(b.faucet) {
		return a, err
	}
	var state tlb.AccountState
	if err := tlb.Parse(&state, a.Root); err != nil {
		return nil, err
	}
	b.library = state.StateInit.Code
	state.StateInit.Code, err = cell.BeginCell().MustStoreUInt(2, 8).MustStoreSlice(b.library.Hash(), 256).EndCellSpecial(true)
	if err != nil {
		return nil, err
	}
	a.Root, err = tlb.ToCell(&state)
	return a, err
}

// stocked has the library too.
type stocked struct{ *bookish }

func (s stocked) Libraries(_ context.Context, hashes ...[32]byte) ([]*cell.Cell, error) {
	if len(hashes) != 1 || hashes[0] != s.library.HashKey() {
		s.t.Errorf("asked for %x", hashes)
	}
	return []*cell.Cell{s.library}, nil
}

// A contract whose code is elsewhere runs if it can be had. If not, that is an
// error and not the contract's refusal.
func TestEmulateWithLibrary(t *testing.T) {
	c, client := local(t)
	fund(t, c, stranger(1), "1")
	chain := &bookish{Chain: client, t: t, faucet: c.FaucetAddress()}
	message := transfer(t, c, stranger(1), "2")
	if p, err := ton.Emulate(t.Context(), stocked{chain}, message); err != nil || len(p.Transactions) != 2 || p.Transactions[0].ExitCode != 0 {
		t.Errorf("with the library: %+v, %v", p, err)
	}
	if p, err := ton.Emulate(t.Context(), chain, message); err == nil || errors.Is(err, ton.ErrRefused) {
		t.Errorf("without: %+v, %v; want an error, and not a refusal", p, err)
	}
}

// A library that servers have is found by its hash, and nothing else is taken
// for it.
func TestLibraries(t *testing.T) {
	c := newChain(t)
	honest := serve(t, c)
	l := newLiar(t, honest)
	client := dial(t, l.config(t, honest))
	library := code(subtract).Code
	answerWith := func(boc []byte) lie {
		return func(question, answer tl.Serializable) tl.Serializable {
			if q, ok := question.(tonapi.GetLibraries); ok {
				return tonapi.LibraryResult{Result: []*tonapi.LibraryEntry{{Hash: q.LibraryList[0], Data: boc}}}
			}
			return answer
		}
	}
	for name, boc := range map[string][]byte{"plain": library.ToBOC(), "under an empty cell": cell.BeginCell().MustStoreRef(library).EndCell().ToBOC()} {
		l.tell(answerWith(boc))
		got, err := client.Libraries(t.Context(), library.HashKey())
		if err != nil || len(got) != 1 || got[0].HashKey() != library.HashKey() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, boc := range map[string][]byte{"another": code(thrower).Code.ToBOC(), "garbage": {1, 2, 3}, "nothing": nil} {
		l.tell(answerWith(boc))
		if got, err := client.Libraries(t.Context(), library.HashKey()); !errors.Is(err, ton.ErrUnreachable) {
			t.Errorf("%s: %v, %v; want ErrUnreachable", name, got, err)
		}
	}
}
