package localnet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// serve runs a liteserver for the chain until the test ends and returns the
// path of its global config.
func serve(t testing.TB, c *Chain) (*Server, string) {
	t.Helper()
	s, err := Listen(c, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	path := filepath.Join(t.TempDir(), "global.config.json")
	if err := s.WriteGlobalConfig(path); err != nil {
		t.Fatal(err)
	}
	return s, path
}

// dial connects an ordinary client that knows nothing but the configuration.
func dial(t testing.TB, config string) *ton.APIClient {
	t.Helper()
	pool := liteclient.NewConnectionPool()
	t.Cleanup(pool.Stop)
	if err := pool.AddConnectionsFromConfigFile(config); err != nil {
		t.Fatal(err)
	}
	return ton.NewAPIClient(pool, ton.ProofCheckPolicyFast)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

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

func TestRefusedQueries(t *testing.T) {
	_, api, _ := liveWallet(t)
	ctx := testContext(t)
	block, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	forged := block.Copy()
	forged.RootHash[0] ^= 1
	future := block.Copy()
	future.SeqNo += 1000
	account := ton.AccountID{ID: make([]byte, 32)}
	for name, test := range map[string]struct {
		query tl.Serializable
		code  int32
	}{
		"no such query":         {ton.GetBlockProof{KnownBlock: block}, codeUnknown},
		"forged block":          {ton.GetAccountState{ID: forged, Account: account}, codeNotFound},
		"block of the future":   {ton.GetAccountState{ID: future, Account: account}, codeNotFound},
		"strange workchain":     {ton.GetAccountState{ID: block, Account: ton.AccountID{Workchain: 7, ID: make([]byte, 32)}}, codeBad},
		"garbage as message":    {ton.SendMessage{Body: []byte("hello")}, codeBad},
		"empty cell as message": {ton.SendMessage{Body: cell.BeginCell().EndCell().ToBOC()}, codeRefused},
		"garbage as arguments":  {ton.RunSmcMethod{ID: block, Account: account, Params: []byte{1, 2, 3}}, codeBad},
		"unknown transaction":   {ton.GetTransactions{Limit: 5, AccID: &account, LT: 5, TxHash: make([]byte, 32)}, codeRefused},
		"odd lookup":            {ton.LookupBlock{Mode: 3, ID: &ton.BlockInfoShort{Workchain: -1, Shard: wholeShard}}, codeBad},
	} {
		var reply tl.Serializable
		if err := api.Client().QueryLiteserver(ctx, test.query, &reply); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if refusal, ok := reply.(ton.LSError); !ok || refusal.Code != test.code {
			t.Errorf("%s: %+v, want error %d", name, reply, test.code)
		}
	}
}

// What nobody understands ends its connection and no other.
func TestGarbageOnThePort(t *testing.T) {
	c := newChain(t)
	s, config := serve(t, c)
	api := dial(t, config)
	for _, bytes := range [][]byte{nil, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 256), make([]byte, 5000)} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(bytes)
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if answer, err := io.ReadAll(conn); len(answer) > 0 || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d bytes of garbage: answered %d bytes, %v", len(bytes), len(answer), err)
		}
		conn.Close()
	}
	if _, err := api.GetMasterchainInfo(testContext(t)); err != nil {
		t.Errorf("another client: %v", err)
	}
}

func TestManyClients(t *testing.T) {
	now := time.Now() // stands still: a second of storage would cost a nanoTON
	c := newChain(t, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
	_, config := serve(t, c)
	ctx := testContext(t)
	keys := make([]ed25519.PrivateKey, 8)
	for i := range keys {
		keys[i] = c.Key(fmt.Sprint("client ", i))
		addr, err := wallet.AddressFromPubKey(keys[i].Public().(ed25519.PublicKey), wallet.V4R2, wallet.DefaultSubwallet)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Fund(ctx, addr, tlb.MustFromTON("10")); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for i, key := range keys {
		api := dial(t, config)
		all.Go(func() {
			w, err := wallet.FromPrivateKey(api, key, wallet.V4R2)
			if err != nil {
				t.Error(err)
				return
			}
			hurry(api, w)
			for range 5 {
				if _, _, err := w.SendWaitTransaction(ctx, transfer(stranger(byte(100+i)), "0.5", false)); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	for i := range keys {
		if got := balanceOf(t, c, stranger(byte(100+i))); got.Cmp(big.NewInt(25e8)) != 0 {
			t.Errorf("client %d delivered %s, want 2500000000", i, got)
		}
	}
}

// A client that waits for a block on an idle chain gets one.
func TestWaitForBlock(t *testing.T) {
	c := newChain(t)
	_, config := serve(t, c)
	api, ctx := dial(t, config), testContext(t)
	block, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	next, err := api.WaitForBlock(block.SeqNo + 1).GetMasterchainInfo(ctx)
	if err != nil || next.SeqNo <= block.SeqNo {
		t.Errorf("waited for %d: %v, %v", block.SeqNo+1, next, err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if far, err := api.WaitForBlock(next.SeqNo + 100).GetMasterchainInfo(short); err == nil {
		t.Errorf("waited 50 ms for %d: got %v", next.SeqNo+100, far)
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

// Too many queries at once are told so; the rest are answered.
func TestFlood(t *testing.T) {
	c := newChain(t)
	_, config := serve(t, c)
	api, ctx := dial(t, config), testContext(t)
	var all sync.WaitGroup
	for range 4 * maxInFlight {
		all.Go(func() {
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			api.WaitForBlock(1 << 30).GetMasterchainInfo(short)
		})
	}
	all.Wait()
	if _, err := api.GetMasterchainInfo(ctx); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

// A stopped server leaves nothing behind and refuses nothing that comes later.
func TestStop(t *testing.T) {
	c := newChain(t)
	s, err := Listen(c, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "global.config.json")
	if err := s.WriteGlobalConfig(path); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	api := dial(t, path)
	waiting := make(chan error)
	go func() {
		short, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := api.WaitForBlock(1 << 30).GetMasterchainInfo(short)
		waiting <- err
	}()
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := <-waiting; err == nil {
		t.Error("a stopped server answered")
	}
	if len(s.clients) != 0 {
		t.Errorf("%d clients are left", len(s.clients))
	}
	again, err := Listen(c, s.Addr().String())
	if err != nil {
		t.Fatal("listen on the same port:", err)
	}
	again.Close()
	for _, bad := range []string{"", "localhost", "[::1]:0", "127.0.0.1:x"} {
		if _, err := Listen(c, bad); err == nil {
			t.Errorf("listened on %q", bad)
		}
	}
}
