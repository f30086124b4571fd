package ton

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
	"github.com/xssnick/tonutils-go/tvm/tuple"
	"github.com/xssnick/tonutils-go/tvm/vm"
)

// ErrNoContract: get-methods are asked of an account that is not active. It
// may become active later.
var ErrNoContract = errors.New("no contract is active there")

// methodGas is what a get-method may use, as with public liteservers.
const methodGas = 1_000_000

// machine has no state of its own.
var machine = tvm.NewTVM()

// RunMethod runs a get-method here, on the account as of the newest block: a
// server that ran it could prove what it ran on, and not what came out. The method sees
// neither previous blocks nor true randomness. The error is [ErrNoContract], or a [MethodError]
// with the exit code.
func (c *Client) RunMethod(ctx context.Context, addr *address.Address, method string, args ...any) ([]any, error) {
	account, h, err := c.account(ctx, addr)
	if err != nil {
		return nil, err
	}
	if account.Status != Active {
		return nil, fmt.Errorf("ton: get-method %s of %s: %w: it is %v", method, addr, ErrNoContract, account.Status)
	}
	p, err := c.paramsAt(ctx, h)
	if err != nil {
		return nil, err
	}
	var libraries shelf
	if _, err := libraries.stock(ctx, c, account.Code); err != nil {
		return nil, fmt.Errorf("ton: get-method %s of %s: %w", method, addr, err)
	}
	return runMethod(account, p.prepared, &libraries, h.lt, method, args)
}

func runMethod(account *Account, p *tvm.PreparedBlockchainConfig, libraries *shelf, lt uint64, method string, args []any) (results []any, err error) {
	defer func() {
		if r := recover(); r != nil {
			results, err = nil, fmt.Errorf("ton: get-method %s of %s broke the virtual machine: %v", method, account.Address, r)
		}
	}()
	stack := vm.NewStack()
	for i, arg := range args {
		value, err := toStack(arg)
		if err == nil {
			err = stack.PushAny(value)
		}
		if err != nil {
			return nil, fmt.Errorf("ton: get-method %s: argument %d: %w", method, i, err)
		}
	}
	if err := stack.PushInt(new(big.Int).SetUint64(tlb.MethodNameHash(method))); err != nil {
		return nil, err
	}
	c7, err := surroundings(account, p, lt)
	if err != nil {
		return nil, err
	}
	books, err := libraries.cells()
	if err != nil {
		return nil, err
	}
	result, err := machine.ExecuteGetMethod(account.Code, account.Data, c7, vm.GasWithLimit(methodGas), stack, tvm.ExecutionConfig{Config: p, Libraries: books})
	if err != nil {
		return nil, fmt.Errorf("ton: get-method %s of %s: %w", method, account.Address, err)
	}
	if result.ExitCode != 0 && result.ExitCode != 1 {
		return nil, &MethodError{Method: method, ExitCode: result.ExitCode}
	}
	return fromStack(result.Stack)
}

// surroundings is register c7: what a contract may know about the world, in
// the order of the virtual machine's SmartContractInfo.
func surroundings(account *Account, p *tvm.PreparedBlockchainConfig, lt uint64) (tuple.Tuple, error) {
	now := account.At.Time.Unix()
	block, err := p.NewBlockContext(tvm.BlockOptions{Now: uint32(now), BlockLT: int64(lt)})
	if err != nil {
		return tuple.Tuple{}, fmt.Errorf("ton: configuration: %w", err)
	}
	var state tlb.AccountState
	if err := tlb.Parse(&state, account.Root); err != nil {
		return tuple.Tuple{}, fmt.Errorf("ton: state of %s: %w", account.Address, err)
	}
	debt := new(big.Int)
	if state.StorageInfo.DuePayment != nil {
		debt = state.StorageInfo.DuePayment.Nano()
	}
	var unpacked any
	if u, ok := block.UnpackedConfig(); ok {
		unpacked = u
	}
	zero, time := new(big.Int), new(big.Int).SetUint64(lt)
	return tuple.NewTupleValue(tuple.NewTupleValue(
		big.NewInt(0x076ef1ea), zero, zero, // its tag, actions, messages sent
		big.NewInt(now), time, time,
		new(big.Int).SetBytes(account.Last.Hash[:]), // randomness: the same for the same state
		tuple.NewTupleValue(state.Balance.Nano(), nil),
		cell.BeginCell().MustStoreAddr(account.Address).ToSlice(),
		p.Root(), account.Code,
		tuple.NewTupleValue(zero, nil), zero, // what came with a message, storage fees
		nil, unpacked, debt, nil, nil, // previous blocks, …, gas of the precompiled, message
	)), nil
}

func toStack(value any) (any, error) {
	switch v := value.(type) {
	case nil, *big.Int, *cell.Cell, *cell.Slice:
		return v, nil
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var err error
			if list[i], err = toStack(v[i]); err != nil {
				return nil, err
			}
		}
		return tuple.NewTupleOwned(list), nil
	}
	return nil, fmt.Errorf("%T, want *big.Int, *cell.Cell, *cell.Slice, nil or []any of those", value)
}

// fromStack returns the results, deepest first: the order in which methods declare them.
func fromStack(stack *vm.Stack) ([]any, error) {
	results := make([]any, stack.Len())
	for i := len(results) - 1; i >= 0; i-- {
		value, err := stack.PopAny()
		if err == nil {
			results[i], err = fromValue(value)
		}
		if err != nil {
			return nil, fmt.Errorf("ton: result %d: %w", i, err)
		}
	}
	return results, nil
}

func fromValue(value any) (any, error) {
	switch v := value.(type) {
	case nil, *big.Int, *cell.Cell, *cell.Slice:
		return v, nil
	case *cell.Builder:
		return v.EndCell(), nil
	case tuple.Tuple:
		list := make([]any, v.Len())
		for i := range list {
			item, err := v.Index(i)
			if err == nil {
				list[i], err = fromValue(item)
			}
			if err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("a %T cannot be read", value)
}
