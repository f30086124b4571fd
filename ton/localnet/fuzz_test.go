package localnet

import (
	"context"
	"testing"

	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// A query may be any bytes. It is dispatched without the server's recover, so
// that a handler that breaks is found here.
func FuzzQuery(f *testing.F) {
	c := newChain(f)
	pay(f, c, c.FaucetKey(), deploy(contract(subtract), "1"))
	start, err := c.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	head := c.head()
	mc, shard := head.side[master].id, head.side[base].id
	addr := contract(subtract).CalcAddress(0)
	account := ton.AccountID{ID: addr.Data()}
	txs := c.world.accounts[mustID(f, addr)].txs
	external, err := c.SignTransfer(context.Background(), c.FaucetKey(), transfer(stranger(1), "1", false))
	if err != nil {
		f.Fatal(err)
	}
	stack := tlb.NewStack()
	stack.Push(int64(5))
	arguments, err := stack.ToCell()
	if err != nil {
		f.Fatal(err)
	}
	for _, q := range []tl.Serializable{
		ton.GetTime{}, ton.GetVersion{}, ton.GetMasterchainInf{}, ton.GetMasterchainInfoExt{},
		ton.GetAccountState{ID: mc, Account: account},
		ton.RunSmcMethod{Mode: 7, ID: mc, Account: account, MethodID: 99, Params: arguments.ToBOC()},
		ton.SendMessage{Body: external.ToBOC()},
		ton.GetTransactions{Limit: 3, AccID: &account, LT: int64(txs[0].lt), TxHash: txs[0].cell.Hash()},
		ton.GetOneTransaction{ID: shard, AccID: &account, LT: int64(txs[0].lt)},
		ton.ListBlockTransactions{Mode: 0b10100111, ID: shard, Count: 9, WantProof: &ton.True{}, After: &ton.TransactionID3{Account: addr.Data(), LT: 1}},
		ton.GetConfigAll{BlockID: mc}, ton.GetConfigParams{BlockID: mc, Params: []int32{21}},
		ton.GetBlockData{ID: shard}, ton.GetBlockHeader{ID: mc}, ton.GetAllShardsInfo{ID: mc},
		ton.GetShardInfo{ID: mc, Shard: wholeShard},
		ton.LookupBlock{Mode: 2, ID: &ton.BlockInfoShort{Workchain: -1, Shard: wholeShard}, LT: 1_000_001},
		ton.GetLibraries{LibraryList: [][]byte{make([]byte, 32)}},
	} {
		text, err := tl.Serialize(q, true)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var query tl.Serializable
		if _, err := tl.Parse(&query, text, true); err != nil {
			return
		}
		if reply, err := c.dispatch(query); err == nil {
			if _, err := tl.Serialize(reply, true); err != nil {
				t.Errorf("%T cannot be answered: %v", query, err)
			}
		}
		if err := c.Restore(start); err != nil {
			t.Fatal(err)
		}
	})
}

// A message may be any cells.
func FuzzMessage(f *testing.F) {
	c := newChain(f)
	start, err := c.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	external, err := c.SignTransfer(context.Background(), c.FaucetKey(), deploy(contract(thrower), "1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(external.ToBOC())
	internal, err := tlb.ToCell(&tlb.InternalMessage{SrcAddr: stranger(1), DstAddr: stranger(2), Amount: tlb.MustFromTON("1"), Body: cell.BeginCell().EndCell()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(internal.ToBOC())
	f.Fuzz(func(t *testing.T, boc []byte) {
		message, err := cell.FromBOC(boc)
		if err != nil {
			return
		}
		c.Send(message)
		c.Deliver(message)
		if c.broken != nil {
			t.Fatalf("a message broke the chain: %v", c.broken)
		}
		if err := c.Restore(start); err != nil {
			t.Fatal(err)
		}
	})
}
