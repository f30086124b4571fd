package contract

import (
	"fmt"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
)

// maxStructVersion is the newest shape of the registry known.
const maxStructVersion = 5

// paramsCell is the parameter cell that every contract carries, in the shape
// of the snapshot's struct version, with the code cells its holder needs: the
// proxy those of workers and clients, workers and clients none.
// Source: contracts.md section 3.
//
//	0     no multipliers, no stakes
//	1     stakes
//	2     stakes, multipliers of cached and reasoning tokens
//	3..5  stakes, all four multipliers
func (r *Root) paramsCell(proxy, worker, client bool) (*cell.Cell, error) {
	b := newBuilder("contract parameters")
	b.uint(uint64(r.StructVersion), 8).uint(uint64(r.ParamsVersion), 32).uint(uint64(r.UniqueID), 32)
	b.do(b.b.StoreBoolBit(r.IsTest))
	b.coins(r.PricePerToken).coins(r.WorkerFeePerToken)
	m := r.Multipliers
	if r.StructVersion >= 3 {
		b.uint(uint64(m.Prompt), 32).uint(uint64(m.Cached), 32).uint(uint64(m.Completion), 32).uint(uint64(m.Reasoning), 32)
	} else if r.StructVersion == 2 {
		b.uint(uint64(m.Cached), 32).uint(uint64(m.Reasoning), 32)
	}
	b.uint(uint64(r.ProxyDelay), 32).uint(uint64(r.ClientDelay), 32)
	if r.StructVersion >= 1 {
		b.coins(r.MinProxyStake).coins(r.MinClientStake)
	}
	b.code(proxy, r.ProxyCode).code(worker, r.WorkerCode).code(client, r.ClientCode)
	return b.cell(), b.err
}

// parseParams is the way back. It says which code cells there are.
func (r *Root) parseParams(in *reader) (proxy, worker, client bool) {
	if r.StructVersion = uint8(in.uint(8)); r.StructVersion > maxStructVersion {
		in.fail(r.unknownShape())
		return
	}
	r.ParamsVersion, r.UniqueID, r.IsTest = uint32(in.uint(32)), uint32(in.uint(32)), in.bit()
	r.PricePerToken, r.WorkerFeePerToken = in.coins(), in.coins()
	r.Multipliers = ledger.Plain
	m := &r.Multipliers
	if r.StructVersion >= 3 {
		m.Prompt, m.Cached, m.Completion, m.Reasoning = uint32(in.uint(32)), uint32(in.uint(32)), uint32(in.uint(32)), uint32(in.uint(32))
	} else if r.StructVersion == 2 {
		m.Cached, m.Reasoning = uint32(in.uint(32)), uint32(in.uint(32))
	}
	r.ProxyDelay, r.ClientDelay = uint32(in.uint(32)), uint32(in.uint(32))
	r.MinProxyStake, r.MinClientStake = coin.TON, coin.TON
	if r.StructVersion >= 1 {
		r.MinProxyStake, r.MinClientStake = in.coins(), in.coins()
	}
	r.ProxyCode, r.WorkerCode, r.ClientCode = in.maybeRef(), in.maybeRef(), in.maybeRef()
	return r.ProxyCode != nil, r.WorkerCode != nil, r.ClientCode != nil
}

// ParseParams reads the parameters that a contract carries, also one of an
// older generation: what it was created under. The snapshot has nothing else.
func ParseParams(params *cell.Cell) (*Root, error) {
	r := &Root{}
	in, err := open(params)
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	r.parseParams(in)
	if err := in.end(); err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	return r, nil
}

func (r *Root) unknownShape() error {
	return fmt.Errorf("struct version is %d, want 0 to %d: update this program", r.StructVersion, maxStructVersion)
}

func (b *builder) code(present bool, code *cell.Cell) *builder {
	if !present {
		return b.do(b.b.StoreMaybeRef(nil))
	}
	if code == nil {
		code = emptyCell
	}
	return b.do(b.b.StoreMaybeRef(code))
}
