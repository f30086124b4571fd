package localnet

import (
	"fmt"
	"math/big"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
	"github.com/xssnick/tonutils-go/tvm/tuple"
	"github.com/xssnick/tonutils-go/tvm/vm"
)

// methodGas is what a get-method may use, as with public liteservers.
const methodGas = 1_000_000

const maxArguments = 255

// MethodError is a get-method that ended with an exit code of failure.
type MethodError struct{ ExitCode int64 }

func (e *MethodError) Error() string {
	return fmt.Sprintf("get-method ended with exit code %d", e.ExitCode)
}

// RunMethod runs a get-method on an account as of the newest block and returns
// the stack, first result first. Arguments and results are *big.Int,
// *cell.Cell, *cell.Slice, nil, or tuples of those.
func (c *Chain) RunMethod(addr *address.Address, method string, args ...any) ([]any, error) {
	head := c.head()
	shard, err := head.account(addr)
	if err != nil {
		return nil, err
	}
	stack := vm.NewStack()
	for _, arg := range args {
		if err := stack.PushAny(arg); err != nil {
			return nil, fmt.Errorf("localnet: argument of %s: %w", method, err)
		}
	}
	result, err := c.execMethod(head, shard, tlb.MethodNameHash(method), stack)
	if err != nil {
		return nil, err
	}
	if result.ExitCode != 0 && result.ExitCode != 1 {
		return nil, &MethodError{ExitCode: result.ExitCode}
	}
	values := make([]any, result.Stack.Len())
	for i := len(values) - 1; i >= 0; i-- {
		if values[i], err = result.Stack.PopAny(); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// execMethod runs a get-method of an account as of a block.
func (c *Chain) execMethod(b *block, shard *tlb.ShardAccount, method uint64, stack *vm.Stack) (*tvm.ExecutionResult, error) {
	var state tlb.AccountState
	if shard != nil {
		if err := tlb.Parse(&state, shard.Account); err != nil {
			return nil, err
		}
	}
	if state.Status != tlb.AccountStatusActive {
		return nil, fail(ton.ErrCodeContractNotInitialized, "contract is not active")
	}
	c7, err := c.methodContext(b, &state)
	if err != nil {
		return nil, err
	}
	if err := stack.PushInt(new(big.Int).SetUint64(method)); err != nil {
		return nil, err
	}
	return c.vm.ExecuteGetMethod(state.StateInit.Code, state.StateInit.Data, c7, vm.GasWithLimit(methodGas), stack, tvm.ExecutionConfig{Config: c.params})
}

// methodContext is register c7: what the contract may know about its
// surroundings, in the order of the virtual machine's SmartContractInfo.
func (c *Chain) methodContext(b *block, state *tlb.AccountState) (tuple.Tuple, error) {
	context, err := c.params.NewBlockContext(tvm.BlockOptions{Now: b.now, BlockLT: int64(b.endLT), GlobalID: c.cfg.GlobalID})
	if err != nil {
		return tuple.Tuple{}, err
	}
	due := new(big.Int)
	if state.StorageInfo.DuePayment != nil {
		due = state.StorageInfo.DuePayment.Nano()
	}
	var config any
	if unpacked, ok := context.UnpackedConfig(); ok {
		config = unpacked
	}
	lt := new(big.Int).SetUint64(b.endLT)
	info := tuple.NewTupleValue(
		big.NewInt(0x076ef1ea),
		big.NewInt(0), big.NewInt(0), // actions, messages sent
		big.NewInt(int64(b.now)), lt, lt,
		new(big.Int).SetBytes(b.side[base].id.RootHash), // random seed
		tuple.NewTupleValue(state.Balance.Nano(), nil),
		cell.BeginCell().MustStoreAddr(state.Address).ToSlice(),
		c.root,
		state.StateInit.Code,
		tuple.NewTupleValue(big.NewInt(0), nil), // incoming value
		big.NewInt(0),                           // storage fees
		nil,                                     // previous blocks
		config,
		due,
		nil, nil, // precompiled gas, incoming message
	)
	return tuple.NewTupleValue(info), nil
}

func (c *Chain) runMethod(q ton.RunSmcMethod) (tl.Serializable, error) {
	v, err := c.view(q.ID, q.Account)
	if err != nil {
		return nil, err
	}
	stack, err := arguments(q.Params)
	if err != nil {
		return nil, fail(codeBad, "arguments: %v", err)
	}
	result, err := c.execMethod(v.block, v.shard, q.MethodID, stack)
	if err != nil {
		return nil, err
	}
	reply := ton.RunMethodResult{Mode: q.Mode, ID: q.ID, ShardBlock: v.shardBlock(), ExitCode: int32(result.ExitCode)}
	if q.Mode&(1<<2) != 0 && (result.ExitCode == 0 || result.ExitCode == 1) {
		out, err := tlb.NewStackFromVM(result.Stack)
		if err != nil {
			return nil, err
		}
		if reply.Result, err = out.ToCell(); err != nil {
			return nil, err
		}
	}
	return reply, v.proveMethod(&reply)
}

// proveMethod adds the proofs that the mode asks for.
func (v *view) proveMethod(reply *ton.RunMethodResult) (err error) {
	reply.Mode &= 1<<0 | 1<<1 | 1<<2
	if reply.Mode&(1<<0) != 0 {
		if reply.ShardProof, err = v.shardProof(); err != nil {
			return err
		}
		if reply.Proof, err = v.proof(); err != nil {
			return err
		}
	}
	if reply.Mode&(1<<1) != 0 {
		reply.StateProof, err = cell.CreateMerkleProof(v.shard.Account)
	}
	return err
}

// arguments reads a serialized stack, first argument deepest.
func arguments(boc []byte) (*vm.Stack, error) {
	stack := vm.NewStack()
	if len(boc) == 0 {
		return stack, nil
	}
	root, err := cell.FromBOC(boc)
	if err != nil {
		return nil, err
	}
	var parsed tlb.Stack
	if err := tlb.Parse(&parsed, root); err != nil {
		return nil, err
	}
	depth := parsed.Depth()
	if depth > maxArguments {
		return nil, fmt.Errorf("%d, want at most %d", depth, maxArguments)
	}
	for range depth {
		value, err := parsed.Pop()
		if err != nil {
			return nil, err
		}
		if err := stack.PushAny(value); err != nil {
			return nil, err
		}
	}
	return stack, nil
}
