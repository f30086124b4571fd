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
	"strings"
	"sync"
	"testing"
	"time"

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
	// What the callers have given up may wait at the server a moment longer.
	_, err := api.GetMasterchainInfo(ctx)
	for err != nil && strings.Contains(err.Error(), "wait for some answers") && ctx.Err() == nil {
		_, err = api.GetMasterchainInfo(ctx)
	}
	if err != nil {
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
