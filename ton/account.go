package ton

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/tlb"
	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// Account is an account as of the newest block.
func (c *Client) Account(ctx context.Context, addr *address.Address) (*Account, error) {
	account, _, err := c.account(ctx, addr)
	return account, err
}

func (c *Client) account(ctx context.Context, addr *address.Address) (account *Account, h head, err error) {
	if addr == nil || addr.Type() != address.StdAddress {
		return nil, h, fmt.Errorf("ton: read account: %v is not a standard address", addr)
	}
	doing := "read account " + addr.String()
	if h, err = c.newest(ctx); err != nil {
		return nil, h, fmt.Errorf("ton: %s: %w", doing, err)
	}
	err = c.ask(ctx, doing, func(ctx context.Context, s server) error {
		answer, err := stateQuery[tonapi.AccountState](ctx, s, h, c.cfg.Timeout,
			tonapi.GetAccountState{ID: h.id, Account: tonapi.AccountID{Workchain: addr.Workchain(), ID: addr.Data()}})
		if err != nil {
			return err
		}
		account, err = proveAccount(addr, h, answer)
		return err
	})
	return account, h, err
}

// stateQuery asks for something as of a block, which the server may not have
// seen yet: another had it first.
func stateQuery[T any](ctx context.Context, s server, h head, wait time.Duration, request tl.Serializable) (T, error) {
	request, err := after(h.id.SeqNo, wait/2, request)
	if err != nil {
		return *new(T), err
	}
	return query[T](ctx, s.link, s.line, request)
}

// proveAccount checks that an account's state, or that there is none, follows
// from the block.
func proveAccount(addr *address.Address, h head, answer tonapi.AccountState) (*Account, error) {
	if answer.ID == nil || !answer.ID.Equals(h.id) {
		return nil, wrong("the answer is about another block")
	}
	root := h.id.RootHash
	if addr.Workchain() != address.MasterchainID {
		if err := tonapi.CheckShardInMasterProofForAccount(h.id, answer.ShardProof, answer.Shard, addr); err != nil {
			return nil, wrong("shard: %w", err)
		}
		root = answer.Shard.RootHash
	}
	state, err := tonapi.CheckBlockShardStateProof(answer.Proof, root)
	if err != nil {
		return nil, wrong("state: %w", err)
	}
	place, err := findAccount(addr, state)
	if err != nil {
		return nil, err
	}
	account := &Account{Address: addr, At: h.block(), Time: time.Unix(int64(state.GenUTime), 0), Root: answer.State}
	if place == nil {
		if answer.State != nil {
			return nil, wrong("a state for an account that does not exist")
		}
		return account, nil
	}
	if answer.State == nil || !bytes.Equal(place.Account.Hash(0), answer.State.Hash()) {
		return nil, wrong("the account's state is not the one in the block")
	}
	account.Last = TxID{LT: place.LastTransLT, Hash: [32]byte(place.LastTransHash)}
	return account, account.fill()
}

// findAccount reads an account's entry in a shard's state; nil if the account
// does not exist. A part that the proof leaves out is not taken for absence:
// that is how a server would hide an account.
func findAccount(addr *address.Address, state *tlb.ShardStateUnsplit) (*tlb.ShardAccount, error) {
	if state.Accounts.ShardAccounts == nil {
		return nil, wrong("the proof leaves the accounts out")
	}
	key := cell.BeginCell().MustStoreSlice(addr.Data(), 256).EndCell()
	value, err := state.Accounts.ShardAccounts.LoadValue(key)
	if errors.Is(err, cell.ErrNoSuchKeyInDict) {
		return nil, nil
	}
	if err != nil {
		return nil, wrong("the account's place: %w", err)
	}
	var place tlb.ShardAccount
	if err := tlb.LoadFromCell(&place, value); err != nil {
		return nil, wrong("the account's place: %w", err)
	}
	return &place, nil
}

// fill reads the account's cell.
func (a *Account) fill() error {
	var state tlb.AccountState
	if err := tlb.Parse(&state, a.Root); err != nil {
		return wrong("the account's state: %w", err)
	}
	if !state.IsValid {
		a.Root = nil
		return nil
	}
	a.set(&state)
	return nil
}

// set takes what a valid state says.
func (a *Account) set(state *tlb.AccountState) {
	a.Balance = coin.FromBig(state.Balance.Nano())
	switch state.Status {
	case tlb.AccountStatusActive:
		a.Status, a.Code, a.Data = Active, state.StateInit.Code, state.StateInit.Data
	case tlb.AccountStatusFrozen:
		a.Status = Frozen
	case tlb.AccountStatusUninit:
		a.Status = Uninitialized
	}
}
