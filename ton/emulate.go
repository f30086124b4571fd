package ton

import (
	"context"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// maxPredicted is how many transactions a prediction follows.
const maxPredicted = 64

// Prediction is what a message would do if it were executed now.
type Prediction struct {
	// Transactions are in the order of execution.
	Transactions []*Transaction
	// Effects are per account, in the order in which they were reached.
	Effects []*Effect
	// More means that messages were left when the limit of 64 transactions was reached.
	More bool
}

// Effect is what becomes of one account.
type Effect struct {
	Account       *address.Address
	Before, After coin.Nano
	// Fees is what the account paid, in all of its transactions.
	Fees coin.Nano
	// Status, Code and Data are what is there afterwards; as in [Account].
	Status     Status
	Code, Data *cell.Cell
}

// Of finds an account's effect; nil if it is not reached.
func (p *Prediction) Of(addr *address.Address) *Effect {
	for _, e := range p.Effects {
		if e.Account.Equals(addr) {
			return e
		}
	}
	return nil
}

// Emulate predicts what an external message would do, in all accounts that it
// reaches, from proven accounts and the network's own fees. It sends nothing.
// A message that the contract would not accept gives a [RefusedError] with the exit code.
//
// The time is the newest block's. Randomness, and what others do meanwhile, may
// make it otherwise.
func Emulate(ctx context.Context, chain Chain, message *cell.Cell) (*Prediction, error) {
	if _, err := parseExternal(message); err != nil {
		return nil, err
	}
	root, err := chain.Params(ctx)
	if err != nil {
		return nil, fmt.Errorf("ton: emulate: %w", err)
	}
	config, err := tvm.PrepareBlockchainConfig(root)
	if err != nil {
		return nil, fmt.Errorf("ton: emulate: configuration: %w", err)
	}
	w := &rehearsal{chain: chain, config: config, stage: map[string]*actor{}}
	return w.play(ctx, message)
}

// rehearsal is a prediction in the making.
type rehearsal struct {
	chain  Chain
	config *tvm.PreparedBlockchainConfig
	block  *tvm.BlockContext // made with the first account, and when libraries are added
	now    uint32
	seed   []byte
	lt     uint64
	shelf  shelf
	stage  map[string]*actor // by address
	result Prediction
}

type actor struct {
	prepared *tvm.PreparedAccount
	stat     *cell.Cell // the machine's own count of its storage
	effect   *Effect
}

func (w *rehearsal) play(ctx context.Context, message *cell.Cell) (p *Prediction, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("ton: emulate: the virtual machine broke: %v", r)
		}
	}()
	queue := []*cell.Cell{message}
	for len(queue) > 0 {
		if len(w.result.Transactions) == maxPredicted {
			w.result.More = true
			break
		}
		sent, err := w.step(ctx, queue[0])
		if err != nil {
			return nil, err
		}
		queue = append(queue[1:], sent...)
	}
	return &w.result, nil
}

// step executes one message and returns those that it causes.
func (w *rehearsal) step(ctx context.Context, message *cell.Cell) ([]*cell.Cell, error) {
	prepared, err := tvm.PrepareMessage(message)
	if err != nil {
		return nil, &RefusedError{Reason: err.Error()}
	}
	to := prepared.Message().Msg.DestAddr()
	a, err := w.actor(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("ton: emulate: %w", err)
	}
	if err := w.equip(ctx, a, message); err != nil {
		return nil, fmt.Errorf("ton: emulate: %w", err)
	}
	result, err := machine.EmulateTransaction(w.block, a.prepared, prepared, tvm.TransactionOptions{LogicalTime: int64(w.lt), AccountStorageStat: a.stat})
	if err != nil {
		return nil, &RefusedError{Reason: err.Error()}
	}
	if result.TransactionCell == nil {
		return nil, &RefusedError{Ran: true, ExitCode: int32(result.ExitCode)}
	}
	return w.note(to, a, result)
}

func (w *rehearsal) note(to *address.Address, a *actor, result *tvm.TransactionExecutionResult) (sent []*cell.Cell, err error) {
	tx, err := ParseTransaction(to.Workchain(), result.TransactionCell)
	if err != nil {
		return nil, err
	}
	w.result.Transactions = append(w.result.Transactions, tx)
	a.prepared, a.stat, w.lt = result.NextAccount, result.AccountStorageStat, max(w.lt, result.EndLT)
	a.effect.Fees = a.effect.Fees.Add(tx.Fees)
	a.effect.after(a.prepared.State())
	for _, out := range result.OutMessages {
		if out.Msg.MsgType == tlb.MsgTypeInternal {
			sent = append(sent, out.Cell)
		}
	}
	return sent, nil
}

func (e *Effect) after(state *tlb.AccountState) {
	var a Account
	a.set(state)
	e.After, e.Status, e.Code, e.Data = a.Balance, a.Status, a.Code, a.Data
}

// actor is an account as the messages so far have left it.
func (w *rehearsal) actor(ctx context.Context, addr *address.Address) (*actor, error) {
	key := addr.StringRaw()
	if a := w.stage[key]; a != nil {
		return a, nil
	}
	account, err := w.chain.Account(ctx, addr)
	if err != nil {
		return nil, err
	}
	shard := &tlb.ShardAccount{Account: account.Root, LastTransHash: account.Last.Hash[:], LastTransLT: account.Last.LT}
	if account.Root == nil {
		if account.Status != NonExistent {
			return nil, fmt.Errorf("this chain does not give the whole state of %s", addr)
		}
		shard.Account = cell.BeginCell().MustStoreBoolBit(false).EndCell()
	}
	a := &actor{effect: &Effect{
		Account: addr, Before: account.Balance, After: account.Balance, Status: account.Status, Code: account.Code, Data: account.Data,
	}}
	if a.prepared, err = tvm.PrepareAccount(shard, addr); err != nil {
		return nil, fmt.Errorf("account %s: %w", addr, err)
	}
	if w.now == 0 {
		w.now, w.seed, w.lt = uint32(account.At.Time.Unix()), account.Last.Hash[:], (account.Last.LT/1_000_000+1)*1_000_000
	}
	w.stage[key] = a
	w.result.Effects = append(w.result.Effects, a.effect)
	return a, nil
}

// equip makes the block that messages are executed in, with the libraries that
// an account and a message name.
func (w *rehearsal) equip(ctx context.Context, a *actor, message *cell.Cell) error {
	var code *cell.Cell
	if init := a.prepared.State().StateInit; init != nil {
		code = init.Code
	}
	fresh, err := w.shelf.stock(ctx, w.chain, code, message)
	if err != nil || !fresh && w.block != nil {
		return err
	}
	books, err := w.shelf.cells()
	if err != nil {
		return err
	}
	w.block, err = w.config.NewBlockContext(tvm.BlockOptions{Now: w.now, BlockLT: int64(w.lt), RandSeed: w.seed, Libraries: books})
	return err
}
