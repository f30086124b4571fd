// Package tongo reads the local chain with a TON client written by others,
// which parses blocks and states more strictly than the one the chain is
// built on.
package tongo

import (
	"context"
	"encoding/hex"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ton/localnet"
	"github.com/tonkeeper/tongo/config"
	"github.com/tonkeeper/tongo/liteapi"
	"github.com/tonkeeper/tongo/tlb"
	"github.com/tonkeeper/tongo/ton"
	tonutils "github.com/xssnick/tonutils-go/tlb"
)

func TestTongoReadsTheChain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	chain, err := localnet.New(localnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := localnet.Listen(chain, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	path := filepath.Join(t.TempDir(), "global.config.json")
	if err := server.WriteGlobalConfig(path); err != nil {
		t.Fatal(err)
	}
	file, err := config.ParseConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	api, err := liteapi.NewClient(liteapi.WithConfigurationFile(*file), liteapi.WithProofPolicy(liteapi.ProofPolicyFast))
	if err != nil {
		t.Fatal(err)
	}
	faucet := ton.MustParseAccountID(chain.FaucetAddress().StringRaw())
	if _, err := chain.Fund(ctx, chain.FaucetAddress(), tonutils.MustFromTON("1")); err != nil {
		t.Fatal(err)
	}

	info, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	last := info.Last.ToBlockIdExt()
	state, err := api.GetAccountState(ctx, faucet)
	if err != nil {
		t.Fatal(err)
	}
	if state.Account.Status() != tlb.AccountActive {
		t.Errorf("faucet is %v, want active", state.Account.Status())
	}
	if seqno, err := api.GetSeqno(ctx, faucet); err != nil || seqno != 1 {
		t.Errorf("seqno = %d, %v, want 1", seqno, err)
	}
	txs, err := api.GetTransactions(ctx, 10, faucet, state.LastTransLt, ton.Bits256(state.LastTransHash))
	if err != nil || len(txs) != 2 {
		t.Errorf("%d transactions, %v, want 2", len(txs), err)
	}
	if id, err := api.GetNetworkGlobalID(ctx); err != nil || id != chain.GlobalID() {
		t.Errorf("global id = %d, %v, want %d", id, err, chain.GlobalID())
	}
	shards, err := api.GetAllShardsInfo(ctx, last)
	if err != nil || len(shards) != 1 {
		t.Fatalf("shards: %v, %v", shards, err)
	}
	for _, id := range []ton.BlockIDExt{last, shards[0]} {
		block, err := api.GetBlock(ctx, id)
		if err != nil || block.Info.SeqNo != id.Seqno {
			t.Errorf("block %v: seqno %d, %v", id, block.Info.SeqNo, err)
		}
		if _, err := api.GetBlockHeader(ctx, id, 0); err != nil {
			t.Errorf("header of %v: %v", id, err)
		}
		if _, _, err := api.LookupBlock(ctx, id.BlockID, 1, nil, nil); err != nil {
			t.Errorf("lookup of %v: %v", id, err)
		}
	}
	list, more, err := api.ListBlockTransactions(ctx, shards[0], 7, 100, nil)
	if err != nil || more || len(list) != 2 {
		t.Errorf("%d transactions in the block, more %v, %v, want 2", len(list), more, err)
	}
	if _, err := api.GetOneTransactionFromBlock(ctx, faucet, shards[0], state.LastTransLt); err != nil {
		t.Errorf("transaction %s: %v", hex.EncodeToString(state.LastTransHash[:]), err)
	}
}
