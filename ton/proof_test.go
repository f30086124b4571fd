package ton_test

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tl"
	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

type lie = func(question, answer tl.Serializable) tl.Serializable

// lies are answers that do not follow from the block they name, each with the
// call that must see through it.
func lies(t *testing.T, c *localnet.Chain, l *liar, other *liar) map[string]struct {
	call func(*ton.Client) error
	lie  lie
} {
	ctx := t.Context()
	one, two := stranger(1), stranger(2)
	account := func(client *ton.Client) error { _, err := client.Account(ctx, one); return err }
	list := func(client *ton.Client) error {
		has, err := client.Account(ctx, one)
		if err == nil {
			_, err = client.Transactions(ctx, one, has.Last, ton.TxID{}, 100)
		}
		return err
	}
	onAccount := func(change func(q tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState) lie {
		return func(question, answer tl.Serializable) tl.Serializable {
			if q, ok := question.(tonapi.GetAccountState); ok {
				return change(q, answer.(tonapi.AccountState))
			}
			return answer
		}
	}
	onList := func(change func(roots []*cell.Cell) []*cell.Cell) lie {
		return func(question, answer tl.Serializable) tl.Serializable {
			if a, ok := answer.(tonapi.TransactionList); ok {
				roots, err := cell.FromBOCMultiRoot(a.Transactions)
				if err != nil {
					t.Error(err)
				}
				a.Transactions = cell.ToBOCWithOptions(change(roots), cell.BOCSerializeOptions{})
				return a
			}
			return answer
		}
	}
	onHead := func(change func(*tonapi.MasterchainInfo)) lie {
		return func(question, answer tl.Serializable) tl.Serializable {
			if a, ok := answer.(tonapi.MasterchainInfo); ok {
				change(&a)
				return a
			}
			return answer
		}
	}
	head := func(client *ton.Client) error {
		if _, err := c.Seal(); err != nil {
			return err
		}
		_, err := client.Head(ctx)
		return err
	}
	old := l.ask(ctx, tonapi.GetMasterchainInf{}).(tonapi.MasterchainInfo).Last
	if _, err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	return map[string]struct {
		call func(*ton.Client) error
		lie  lie
	}{
		"an account is hidden": {account, onAccount(func(q tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			// The proof of another account's place leaves this one's out.
			q.Account.ID = two.Data()
			a = l.ask(ctx, q).(tonapi.AccountState)
			a.State = nil
			return a
		})},
		"a state left out": {account, onAccount(func(_ tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			a.State = nil
			return a
		})},
		"another account": {account, onAccount(func(q tonapi.GetAccountState, _ tonapi.AccountState) tonapi.AccountState {
			q.Account.ID = two.Data()
			return l.ask(ctx, q).(tonapi.AccountState)
		})},
		"another account's state": {account, onAccount(func(q tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			q.Account.ID = two.Data()
			a.State = l.ask(ctx, q).(tonapi.AccountState).State
			return a
		})},
		"an older state": {account, onAccount(func(q tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			now := q.ID
			q.ID = old
			a = l.ask(ctx, q).(tonapi.AccountState)
			a.ID = now
			return a
		})},
		"an older block": {account, onAccount(func(q tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			q.ID = old
			return l.ask(ctx, q).(tonapi.AccountState)
		})},
		"no proof": {account, onAccount(func(_ tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			a.Proof, a.ShardProof = nil, nil
			return a
		})},
		"no shard": {account, onAccount(func(_ tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			a.Shard = &tonapi.BlockIDExt{RootHash: make([]byte, 32), FileHash: make([]byte, 32)}
			return a
		})},
		"another chain's account": {account, onAccount(func(q tonapi.GetAccountState, a tonapi.AccountState) tonapi.AccountState {
			now := q.ID
			q.ID = other.ask(ctx, tonapi.GetMasterchainInf{}).(tonapi.MasterchainInfo).Last
			a = other.ask(ctx, q).(tonapi.AccountState)
			a.ID = now
			return a
		})},
		"a transaction left out": {list, onList(func(roots []*cell.Cell) []*cell.Cell { return append(roots[:1], roots[2:]...) })},
		"the newest left out":    {list, onList(func(roots []*cell.Cell) []*cell.Cell { return roots[1:] })},
		"transactions swapped": {list, onList(func(roots []*cell.Cell) []*cell.Cell {
			roots[1], roots[2] = roots[2], roots[1]
			return roots
		})},
		"no transactions at all": {list, onList(func(roots []*cell.Cell) []*cell.Cell { return []*cell.Cell{cell.BeginCell().EndCell()} })},
		"another chain's configuration": {func(client *ton.Client) error { _, err := client.Params(ctx); return err },
			func(question, answer tl.Serializable) tl.Serializable {
				q, ok := question.(tonapi.GetConfigAll)
				if !ok {
					return answer
				}
				q.BlockID = other.ask(ctx, tonapi.GetMasterchainInf{}).(tonapi.MasterchainInfo).Last
				return other.ask(ctx, q)
			}},
		"a header of another block": {head, func(question, answer tl.Serializable) tl.Serializable {
			if _, ok := question.(tonapi.GetBlockHeader); ok {
				return l.ask(ctx, tonapi.GetBlockHeader{ID: old})
			}
			return answer
		}},
		"a newer number for a block": {head, func(question, answer tl.Serializable) tl.Serializable {
			if a, ok := answer.(tonapi.MasterchainInfo); ok {
				id := a.Last.Copy()
				id.SeqNo += 100
				a.Last = id
				return a
			}
			if q, ok := question.(tonapi.GetBlockHeader); ok {
				q.ID.SeqNo -= 100
				return l.ask(ctx, q)
			}
			return answer
		}},
		"another network": {head, onHead(func(a *tonapi.MasterchainInfo) {
			a.Init = other.ask(ctx, tonapi.GetMasterchainInf{}).(tonapi.MasterchainInfo).Init
		})},
		"no block": {head, onHead(func(a *tonapi.MasterchainInfo) {
			a.Last = &tonapi.BlockIDExt{RootHash: make([]byte, 32), FileHash: make([]byte, 32)}
		})},
	}
}

func TestLies(t *testing.T) {
	c := newChain(t)
	pay(t, c, 1, 5)
	fund(t, c, stranger(2), "1000")
	honest := serve(t, c)
	l, other := newLiar(t, honest), newLiar(t, serve(t, otherChain(t)))
	for name, test := range lies(t, c, l, other) {
		t.Run(name, func(t *testing.T) {
			var told atomic.Bool
			l.tell(nil)
			// Alone, the liar is found out; with an honest server beside it, nobody notices.
			alone := dial(t, l.config(t, honest))
			both := l.config(t, honest)
			both.Servers = append(both.Servers, network(t, honest).Servers...)
			beside := dial(t, both)
			connected(t, beside, 2)
			l.tell(func(q, a tl.Serializable) tl.Serializable { told.Store(true); return test.lie(q, a) })
			if err := test.call(alone); !errors.Is(err, ton.ErrProof) || !errors.Is(err, ton.ErrUnreachable) {
				t.Errorf("alone: %v, want ErrProof", err)
			}
			if state := alone.Servers()[0]; !strings.Contains(state, "dropped") || !told.Load() {
				t.Errorf("the liar is %s, want dropped", state)
			}
			l.tell(nil) // too late for mercy
			if err := test.call(alone); !errors.Is(err, ton.ErrProof) {
				t.Errorf("asked again: %v, want that it stays dropped", err)
			}
			l.tell(test.lie)
			for range 3 {
				if err := test.call(beside); err != nil {
					t.Errorf("with an honest server: %v", err)
				}
			}
		})
	}
}

// otherChain is of another seed and of another time, which is all that tells
// zero states apart, with accounts of the same addresses.
func otherChain(t *testing.T) *localnet.Chain {
	c := newChain(t, func(cfg *localnet.Config) { cfg.Now = func() time.Time { return time.Now().Add(-time.Hour) } })
	fund(t, c, stranger(1), "1000000")
	return c
}

// Two servers that show different blocks of one number: the first is believed,
// as there are no signatures to tell, and the second is dropped.
func TestFork(t *testing.T) {
	c := newChain(t)
	honest := serve(t, c)
	l := newLiar(t, honest)
	client := dial(t, l.config(t, honest))
	l.tell(func(question, answer tl.Serializable) tl.Serializable {
		if a, ok := answer.(tonapi.MasterchainInfo); ok {
			id := a.Last.Copy()
			id.RootHash = bytes.Repeat([]byte{7}, 32)
			a.Last = id
			return a
		}
		return answer
	})
	if _, err := client.Head(t.Context()); !errors.Is(err, ton.ErrProof) {
		t.Errorf("a block with another hash: %v, want ErrProof", err)
	}
}

// Nonsense is not a lie, only of no use: the server may recover.
func TestNonsense(t *testing.T) {
	c := newChain(t)
	honest := serve(t, c)
	l := newLiar(t, honest)
	client := dial(t, l.config(t, honest), func(cfg *ton.Config) { cfg.Timeout = 500 * time.Millisecond })
	for name, answer := range map[string]tl.Serializable{
		"another type": tonapi.CurrentTime{Now: 5},
		"an error":     tonapi.LSError{Code: 500, Text: "sorry"},
		"busy":         tonapi.LSError{Code: 228, Text: "busy"},
		"not found":    tonapi.LSError{Code: 651, Text: "not applied"},
	} {
		l.tell(func(question, _ tl.Serializable) tl.Serializable { return answer })
		if _, err := client.Head(t.Context()); !errors.Is(err, ton.ErrUnreachable) || errors.Is(err, ton.ErrProof) {
			t.Errorf("%s: %v, want ErrUnreachable", name, err)
		}
		l.tell(nil)
		connected(t, client, 1)
		if _, err := client.Account(t.Context(), c.FaucetAddress()); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

// clock is a clock that a test moves.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// frozen makes a liar serve the present block for ever.
func frozen(t *testing.T, l *liar) lie {
	now := l.ask(t.Context(), tonapi.GetMasterchainInf{})
	return func(question, answer tl.Serializable) tl.Serializable {
		if _, ok := answer.(tonapi.MasterchainInfo); ok {
			return now
		}
		return answer
	}
}

func TestStale(t *testing.T) {
	c := newChain(t)
	honest := serve(t, c)
	l := newLiar(t, honest)
	k := new(clock)
	client := dial(t, l.config(t, honest), func(cfg *ton.Config) { cfg.Now = k.now })
	l.tell(frozen(t, l))
	if _, err := client.Account(t.Context(), stranger(1)); err != nil {
		t.Fatal(err)
	}
	k.advance(10 * time.Minute)
	_, err := client.Account(t.Context(), stranger(1))
	var stale *ton.StaleError
	if !errors.As(err, &stale) || !errors.Is(err, ton.ErrStale) || stale.Age < 10*time.Minute || stale.Age > 11*time.Minute || stale.Newest.Seqno == 0 {
		t.Errorf("ten minutes without a block: %v, want ErrStale", err)
	}
	if _, err := ton.Dial(t.Context(), ton.Config{Network: l.config(t, honest), InsecureUnsigned: true, Now: k.now}); !errors.Is(err, ton.ErrStale) {
		t.Errorf("dial: %v, want ErrStale", err)
	}
}

// A server that has stopped is passed over for one that goes on; and what that
// one has shown is not forgotten when it is gone.
func TestNeverBack(t *testing.T) {
	c := newChain(t)
	honest := serve(t, c)
	l := newLiar(t, honest)
	k, wire := new(clock), newCable(t, honest.Addr())
	n := l.config(t, honest)
	n.Servers = append(n.Servers, through(t, wire, honest).Servers...)
	client := dial(t, n, func(cfg *ton.Config) { cfg.Now = k.now })
	connected(t, client, 2)
	l.tell(frozen(t, l))
	fund(t, c, stranger(1), "1")
	if _, err := c.Advance(10 * time.Minute); err != nil {
		t.Fatal(err)
	}
	k.advance(10 * time.Minute)
	has, err := client.Account(t.Context(), stranger(1))
	if err != nil || has.Balance != coin.TON {
		t.Fatalf("one server has stopped: %+v, %v", has, err)
	}
	wire.set(false, true)
	connected(t, client, 1)
	if head, err := client.Head(t.Context()); err != nil || head.Seqno < has.At.Seqno {
		t.Errorf("head = %+v, %v after %+v", head, err, has.At)
	}
	k.advance(10 * time.Minute)
	var stale *ton.StaleError
	if head, err := client.Head(t.Context()); !errors.As(err, &stale) || stale.Newest.Seqno >= stale.Seen.Seqno {
		t.Errorf("only the server that is behind: %+v, %v; want ErrStale that says so", head, err)
	}
}

// Servers that have forgotten the beginning give the rest, and say so; one that
// only fails does not make it so.
func TestForgottenHistory(t *testing.T) {
	c := newChain(t)
	pay(t, c, 1, 40)
	honest := serve(t, c)
	l := newLiar(t, honest)
	client := dial(t, l.config(t, honest))
	has, err := client.Account(t.Context(), stranger(1))
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.Transactions(t.Context(), stranger(1), has.Last, ton.TxID{}, 100)
	if err != nil || len(all) != 40 {
		t.Fatalf("%d transactions, %v", len(all), err)
	}
	forget := func(code int32) lie {
		return func(question, answer tl.Serializable) tl.Serializable {
			if q, ok := question.(tonapi.GetTransactions); ok && uint64(q.LT) < all[20].LT {
				return tonapi.LSError{Code: code, Text: "gone"}
			}
			return answer
		}
	}
	l.tell(forget(-400))
	some, err := client.Transactions(t.Context(), stranger(1), has.Last, ton.TxID{}, 100)
	if !errors.Is(err, ton.ErrGap) || len(some) == 0 || len(some) >= 40 || some[len(some)-1].TxID != has.Last {
		t.Errorf("%d transactions, %v; want the newest and ErrGap", len(some), err)
	}
	if err := ton.Watch(t.Context(), client, stranger(1), ton.TxID{}, func(ton.Update) error { return errEnough }); !errors.Is(err, ton.ErrGap) {
		t.Errorf("watch: %v, want ErrGap", err)
	}
	l.tell(forget(500))
	if some, err := client.Transactions(t.Context(), stranger(1), has.Last, ton.TxID{}, 100); errors.Is(err, ton.ErrGap) || !errors.Is(err, ton.ErrUnreachable) || some != nil {
		t.Errorf("a failing server: %d transactions, %v; want ErrUnreachable", len(some), err)
	}
}
