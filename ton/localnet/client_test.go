package localnet

import (
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// liveWallet is a funded wallet of the library on a served chain whose clock runs.
func liveWallet(t testing.TB) (*Chain, *ton.APIClient, *wallet.Wallet) {
	t.Helper()
	c := newChain(t, func(cfg *Config) { cfg.Now = time.Now })
	_, config := serve(t, c)
	api := dial(t, config)
	key := c.Key("wallet")
	w, err := wallet.FromPrivateKey(api, key, wallet.V4R2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fund(testContext(t), w.WalletAddress(), tlb.MustFromTON("100")); err != nil {
		t.Fatal(err)
	}
	return c, api, w
}

// hurry makes a wallet read its seqno from the newest block. Left alone, the
// library reads it from a block that it may have asked for a second ago, which
// is too old for a chain that seals in milliseconds.
func hurry(api *ton.APIClient, w *wallet.Wallet) {
	w.GetSpec().(*wallet.SpecV4R2).SetSeqnoFetcher(func(ctx context.Context, _ uint32) (uint32, error) {
		block, err := api.GetMasterchainInfo(ctx)
		if err != nil {
			return 0, err
		}
		result, err := api.RunGetMethod(ctx, block, w.WalletAddress(), "seqno")
		if failed := (ton.ContractExecError{}); errors.As(err, &failed) && failed.Code == ton.ErrCodeContractNotInitialized {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		seqno, err := result.Int(0)
		if err != nil {
			return 0, err
		}
		return uint32(seqno.Uint64()), nil
	})
}

// The program of ten lines.
func TestOrdinaryProgram(t *testing.T) {
	_, api, w := liveWallet(t)
	ctx := testContext(t)
	block, err := api.CurrentMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	has, err := w.GetBalance(ctx, block)
	if err != nil || has.String() != "100" {
		t.Fatalf("balance = %s, %v", has, err)
	}
	tx, sealed, err := w.TransferWaitTransaction(ctx, stranger(1).Bounce(false), tlb.MustFromTON("2.5"), "for tea")
	if err != nil {
		t.Fatal(err)
	}
	to, err := api.GetAccount(ctx, sealed, stranger(1))
	if err != nil || to.State == nil || to.State.Balance.String() != "2.5" {
		t.Fatalf("receiver = %+v, %v after transaction %d", to, err, tx.LT)
	}
}

func TestDeployAndRun(t *testing.T) {
	_, api, w := liveWallet(t)
	ctx := testContext(t)
	init := contract(subtract)
	addr, _, sealed, err := w.DeployContractWaitTransaction(ctx, tlb.MustFromTON("1"), cell.BeginCell().EndCell(), init.Code, init.Data)
	if err != nil {
		t.Fatal(err)
	}
	result, err := api.RunGetMethod(ctx, sealed, addr, "difference", big.NewInt(50), big.NewInt(8))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := result.Int(0); err != nil || got.Int64() != 42 {
		t.Errorf("50-8 = %v, %v", got, err)
	}
	var failed ton.ContractExecError
	if _, err := api.RunGetMethod(ctx, sealed, addr, "difference"); !errors.As(err, &failed) || failed.Code != 2 {
		t.Errorf("without arguments: %v, want exit code 2", err)
	}
	if _, err := api.RunGetMethod(ctx, sealed, stranger(1), "x"); !errors.As(err, &failed) || failed.Code != ton.ErrCodeContractNotInitialized {
		t.Errorf("no contract: %v", err)
	}
}

func TestHistory(t *testing.T) {
	_, api, w := liveWallet(t)
	ctx := testContext(t)
	hurry(api, w)
	for range 20 {
		if _, _, err := w.SendWaitTransaction(ctx, transfer(stranger(1), "0.1", false)); err != nil {
			t.Fatal(err)
		}
	}
	block, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	account, err := api.GetAccount(ctx, block, w.WalletAddress())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for lt, hash := account.LastTxLT, account.LastTxHash; lt != 0; {
		page, err := api.ListTransactions(ctx, w.WalletAddress(), 7, lt, hash)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page)
		lt, hash = page[0].PrevTxLT, page[0].PrevTxHash
	}
	if seen != 21 {
		t.Errorf("%d transactions, want 21: the deposit and twenty transfers", seen)
	}
}

func TestBlocks(t *testing.T) {
	c, api, w := liveWallet(t)
	ctx := testContext(t)
	if _, _, err := w.TransferWaitTransaction(ctx, stranger(1).Bounce(false), tlb.MustFromTON("1"), ""); err != nil {
		t.Fatal(err)
	}
	top, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for seq := uint32(1); seq <= top.SeqNo; seq++ {
		mc, err := api.LookupBlock(ctx, -1, wholeShard, seq)
		if err != nil {
			t.Fatal(err)
		}
		header, err := api.GetBlockHeader(ctx, mc)
		if err != nil || header.SeqNo != seq || header.KeyBlock != (seq == 1) {
			t.Fatalf("header %d: %+v, %v", seq, header, err)
		}
		shards, err := api.GetBlockShardsInfo(ctx, mc)
		if err != nil || len(shards) != 1 {
			t.Fatalf("shards of %d: %v, %v", seq, shards, err)
		}
		data, err := api.GetBlockData(ctx, shards[0])
		if err != nil {
			t.Fatal(err)
		}
		all, err := data.ListTransactions()
		if err != nil {
			t.Fatal(err)
		}
		listed := count
		var after *ton.TransactionID3
		for {
			page, more, err := api.GetBlockTransactionsV2(ctx, shards[0], 1, after)
			if err != nil {
				t.Fatal(err)
			}
			for _, short := range page {
				addr := address.NewAddress(0, 0, short.Account)
				if _, err := api.GetTransaction(ctx, shards[0], addr, short.LT); err != nil {
					t.Errorf("transaction %d of %s: %v", short.LT, addr, err)
				}
				count++
				after = short.ID3()
			}
			if !more {
				break
			}
		}
		if len(all) != count-listed {
			t.Errorf("block %d holds %d transactions, listed %d", seq, len(all), count-listed)
		}
		if mcData, err := api.GetBlockData(ctx, mc); err != nil || mcData.Extra.Custom == nil {
			t.Errorf("masterchain block %d: %v", seq, err)
		}
	}
	if want := len(c.world.accounts[mustID(t, w.WalletAddress())].txs) + len(c.world.accounts[mustID(t, stranger(1))].txs) + 1; count != want {
		t.Errorf("%d transactions in blocks, want %d", count, want)
	}
	if _, err := api.LookupBlock(ctx, -1, wholeShard, top.SeqNo+1000); !errors.Is(err, ton.ErrBlockNotFound) {
		t.Errorf("a block of the future: %v", err)
	}
}

func mustID(t testing.TB, addr *address.Address) accountID {
	t.Helper()
	id, err := idOf(addr)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestConfiguration(t *testing.T) {
	c, api, _ := liveWallet(t)
	ctx := testContext(t)
	block, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all, err := api.GetBlockchainConfig(ctx, block)
	if err != nil {
		t.Fatal(err)
	}
	id, err := all.GetGlobalID()
	if err != nil || id.GlobalID != c.GlobalID() {
		t.Errorf("global id = %+v, %v, want %d", id, err, c.GlobalID())
	}
	if _, err := api.GetBlockchainConfig(ctx, block, 21); err != nil {
		t.Errorf("parameter 21: %v", err)
	}
}

func TestAbsentAccount(t *testing.T) {
	_, api, _ := liveWallet(t)
	ctx := testContext(t)
	block, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []*address.Address{stranger(200), address.NewAddress(0, 255, make([]byte, 32))} {
		if account, err := api.GetAccount(ctx, block, addr); err != nil || account.IsActive || account.State != nil {
			t.Errorf("%s: %+v, %v, want nothing", addr, account, err)
		}
	}
}

// The masterchain has accounts too, at its own prices, proven by its own block.
func TestMasterchainAccount(t *testing.T) {
	c := newChain(t)
	_, config := serve(t, c)
	api, ctx := dial(t, config), testContext(t)
	to := address.NewAddress(0, 255, append(make([]byte, 31), 5))
	pay(t, c, c.FaucetKey(), transfer(to, "3", false))
	block, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	account, err := api.GetAccount(ctx, block, to)
	if err != nil || account.State == nil || account.State.Balance.String() != "3" {
		t.Fatalf("account = %+v, %v", account, err)
	}
	if _, err := api.GetTransaction(ctx, block, to, account.LastTxLT); err != nil {
		t.Error(err)
	}
}

// A client that insists on validator signatures refuses the chain, as the
// package comment says.
func TestSecurePolicy(t *testing.T) {
	c := newChain(t)
	_, config := serve(t, c)
	api, ctx := dial(t, config), testContext(t)
	first, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	secure := ton.NewAPIClient(api.Client(), ton.ProofCheckPolicySecure)
	secure.SetTrustedBlock(first)
	if block, err := secure.GetMasterchainInfo(ctx); err == nil {
		t.Errorf("trusted unsigned block %d", block.SeqNo)
	}
}
