package localnet

import (
	"fmt"
	"math/big"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// The two sides of each block: the one shard of the basechain, and the
// masterchain. They index arrays.
const (
	base = iota
	master
)

var workchains = [2]int32{base: 0, master: -1}

// sideOf tells which side holds a workchain.
func sideOf(workchain int32) (int, error) {
	for side, wc := range workchains {
		if wc == workchain {
			return side, nil
		}
	}
	return 0, fmt.Errorf("workchain %d does not exist here, only 0 and -1", workchain)
}

type accountID struct {
	side int
	hash [32]byte
}

func idOf(addr *address.Address) (accountID, error) {
	if addr == nil || addr.Type() != address.StdAddress {
		return accountID{}, fmt.Errorf("address %v is not a standard one", addr)
	}
	side, err := sideOf(addr.Workchain())
	return accountID{side: side, hash: [32]byte(addr.Data())}, err
}

func (id accountID) address() *address.Address {
	return address.NewAddress(0, byte(workchains[id.side]), id.hash[:])
}

func (id accountID) key() *cell.Cell {
	return cell.BeginCell().MustStoreSlice(id.hash[:], 256).EndCell()
}

// account is an account after its newest transaction, ready for the next. It
// is a value: a transaction replaces it, which is what keeps snapshots cheap.
type account struct {
	prepared *tvm.PreparedAccount
	stat     *cell.Cell    // the machine's own count of its storage
	txs      []transaction // all, oldest first
}

type transaction struct {
	id   accountID
	lt   uint64
	seq  uint32 // of the block that holds it
	cell *cell.Cell
}

// account returns what the chain knows of an address, an empty account if nothing.
func (c *Chain) account(id accountID) (account, error) {
	if known, ok := c.world.accounts[id]; ok {
		return known, nil
	}
	none := &tlb.ShardAccount{Account: cell.BeginCell().MustStoreBoolBit(false).EndCell(), LastTransHash: make([]byte, 32)}
	prepared, err := tvm.PrepareAccount(none, id.address())
	return account{prepared: prepared}, err
}

// endow makes an account that has a balance and nothing else, at genesis.
func endow(id accountID, amount tlb.Coins, now uint32) (account, error) {
	state := &tlb.AccountState{
		IsValid: true,
		Address: id.address(),
		StorageInfo: tlb.StorageInfo{
			StorageUsed:  tlb.StorageUsed{CellsUsed: big.NewInt(1), BitsUsed: big.NewInt(103)},
			StorageExtra: tlb.StorageExtraNone{},
			LastPaid:     now,
		},
		AccountStorage: tlb.AccountStorage{Status: tlb.AccountStatusUninit, Balance: amount},
	}
	root, err := tlb.ToCell(state)
	if err != nil {
		return account{}, err
	}
	prepared, err := tvm.PrepareAccount(&tlb.ShardAccount{Account: root, LastTransHash: make([]byte, 32)}, id.address())
	return account{prepared: prepared}, err
}

// keep writes an account into its side's dictionary, or removes it if it has
// ceased to exist.
func (w *world) keep(id accountID, a account) error {
	if !a.prepared.State().IsValid {
		if err := w.dicts[id.side].Delete(id.key()); err != nil && err != cell.ErrNoSuchKeyInDict {
			return err
		}
		return nil
	}
	return w.dicts[id.side].Set(id.key(), a.prepared.ShardAccountCell())
}

// balance is the sum over a dictionary of accounts, which the dictionary keeps
// in its root.
func balance(accounts *cell.AugmentedDictionary) (tlb.Coins, error) {
	extra, err := accounts.LoadRootExtra()
	if err != nil {
		return tlb.Coins{}, err
	}
	var info tlb.DepthBalanceInfo
	err = tlb.LoadFromCell(&info, extra)
	return info.Currencies.Coins, err
}
