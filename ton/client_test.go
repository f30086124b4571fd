package ton_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// newChain is a chain whose clock runs, or is the one given.
func newChain(t testing.TB, change ...func(*localnet.Config)) *localnet.Chain {
	t.Helper()
	cfg := localnet.Config{}
	for _, f := range change {
		f(&cfg)
	}
	c, err := localnet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve runs a liteserver of the chain until the test ends.
func serve(t testing.TB, c *localnet.Chain) *localnet.Server {
	t.Helper()
	s, err := localnet.Listen(c, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// network is the configuration of several servers of one chain.
func network(t testing.TB, servers ...*localnet.Server) *ton.Network {
	t.Helper()
	var n *ton.Network
	for _, s := range servers {
		path := t.TempDir() + "/global.config.json"
		if err := s.WriteGlobalConfig(path); err != nil {
			t.Fatal(err)
		}
		one, err := ton.ReadNetwork(path)
		if err != nil {
			t.Fatal(err)
		}
		if n == nil {
			n = one
		} else {
			n.Servers = append(n.Servers, one.Servers...)
		}
	}
	return n
}

// dial opens a client with short waits, so that tests of trouble are quick.
func dial(t testing.TB, n *ton.Network, change ...func(*ton.Config)) *ton.Client {
	t.Helper()
	cfg := ton.Config{Network: n, InsecureUnsigned: true, Timeout: 2 * time.Second, Log: logger(t)}
	for _, f := range change {
		f(&cfg)
	}
	c, err := ton.Dial(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// local is a chain and a client that reads it.
func local(t testing.TB) (*localnet.Chain, *ton.Client) {
	c := newChain(t)
	return c, dial(t, network(t, serve(t, c)))
}

func stranger(n byte) *address.Address {
	id := make([]byte, 32)
	id[0], id[31] = 0xaa, n
	return address.NewAddress(0, 0, id)
}

func fund(t testing.TB, c *localnet.Chain, to *address.Address, amount string) {
	t.Helper()
	if _, err := c.Fund(context.Background(), to, tlb.MustFromTON(amount)); err != nil {
		t.Fatal(err)
	}
}

// transfer is a signed message of the faucet.
func transfer(t testing.TB, c *localnet.Chain, to *address.Address, amount string) *cell.Cell {
	t.Helper()
	m := &wallet.Message{Mode: wallet.PayGasSeparately + wallet.IgnoreErrors, InternalMessage: &tlb.InternalMessage{
		IHRDisabled: true, DstAddr: to, Amount: tlb.MustFromTON(amount), Body: cell.BeginCell().EndCell(),
	}}
	signed, err := c.SignTransfer(context.Background(), c.FaucetKey(), m)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// subtract computes a-b as any get-method (SETCP 0, IFNOTRET, SUB), thrower
// ends everything with exit code 37; both refuse messages from outside.
const (
	subtract = "ff00dda1"
	thrower  = "ff00f225"
)

func code(hex string) *tlb.StateInit {
	b, _ := new(big.Int).SetString(hex, 16)
	return &tlb.StateInit{
		Code: cell.BeginCell().MustStoreSlice(b.Bytes(), uint(len(hex)*4)).EndCell(),
		Data: cell.BeginCell().EndCell(),
	}
}

func deploy(t testing.TB, c *localnet.Chain, init *tlb.StateInit) *address.Address {
	t.Helper()
	to := init.CalcAddress(0)
	_, err := c.Pay(context.Background(), c.FaucetKey(), &wallet.Message{Mode: wallet.PayGasSeparately + wallet.IgnoreErrors,
		InternalMessage: &tlb.InternalMessage{IHRDisabled: true, DstAddr: to, Amount: tlb.MustFromTON("1"), StateInit: init, Body: cell.BeginCell().EndCell()}})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestAccount(t *testing.T) {
	c, client := local(t)
	ctx := t.Context()
	before, err := client.Account(ctx, stranger(1))
	if err != nil || before.Status != ton.NonExistent || before.Balance != 0 || before.Last != (ton.TxID{}) || before.Root != nil {
		t.Fatalf("account before it exists = %+v, %v", before, err)
	}
	fund(t, c, stranger(1), "2.5")
	has, err := client.Account(ctx, stranger(1))
	if err != nil || has.Status != ton.Uninitialized || has.Balance != 2500*coin.TON/1000 || has.Last.LT == 0 || has.Code != nil {
		t.Fatalf("account = %+v, %v; want 2.5 TON, uninitialized", has, err)
	}
	if has.At.Seqno <= before.At.Seqno || time.Since(has.At.Time) > time.Minute {
		t.Errorf("block %+v after %+v", has.At, before.At)
	}
	wallet, err := client.Account(ctx, c.FaucetAddress())
	if err != nil || wallet.Status != ton.Active || wallet.Code == nil || wallet.Data == nil {
		t.Errorf("faucet = %+v, %v; want active", wallet, err)
	}
	nobody, err := client.Account(ctx, address.NewAddress(0, 0xff, make([]byte, 32)))
	if err != nil || nobody.Status != ton.NonExistent {
		t.Errorf("masterchain account = %+v, %v; want none", nobody, err)
	}
	if _, err := client.Account(ctx, nil); err == nil {
		t.Error("no address: no error")
	}
}

func TestTransactions(t *testing.T) {
	c, client := local(t)
	ctx := t.Context()
	const count = 53 // some pages, and a rest
	for i := range count {
		fund(t, c, stranger(1), fmt.Sprintf("0.%03d", i+1))
	}
	account, err := client.Account(ctx, stranger(1))
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.Transactions(ctx, stranger(1), account.Last, ton.TxID{}, 1000)
	if err != nil || len(all) != count {
		t.Fatalf("%d transactions, %v; want %d", len(all), err, count)
	}
	balance := coin.Nano(0)
	for i, tx := range all {
		if want := coin.Nano(i+1) * coin.TON / 1000; tx.In == nil || tx.In.Value != want || !tx.In.From.Equals(c.FaucetAddress()) || tx.In.Bounce {
			t.Errorf("transaction %d brings %+v, want %s", i, tx.In, want)
		}
		balance += tx.In.Value - tx.Fees
		if i > 0 && tx.LT <= all[i-1].LT {
			t.Errorf("transaction %d: time goes back", i)
		}
	}
	if balance != account.Balance {
		t.Errorf("what came less fees = %s, balance %s", balance, account.Balance)
	}
	for name, test := range map[string]struct {
		after ton.TxID
		limit int
		want  []*ton.Transaction
		gap   bool
	}{
		"since one":               {all[10].TxID, 100, all[11:], false},
		"since the newest":        {account.Last, 100, nil, false},
		"exactly as many":         {all[32].TxID, 20, all[33:], false},
		"one more":                {all[32].TxID, 19, all[34:], true},
		"less than a page of all": {ton.TxID{}, 5, all[48:], true},
		"all":                     {ton.TxID{}, count, all, false},
	} {
		got, err := client.Transactions(ctx, stranger(1), account.Last, test.after, test.limit)
		if errors.Is(err, ton.ErrGap) != test.gap || err != nil && !test.gap {
			t.Errorf("%s: %v, want a gap: %v", name, err, test.gap)
		}
		if !slices.EqualFunc(got, test.want, func(a, b *ton.Transaction) bool { return a.TxID == b.TxID }) {
			t.Errorf("%s: %d transactions, want %d", name, len(got), len(test.want))
		}
	}
	strange := all[10].TxID
	strange.Hash[0] ^= 1
	if got, err := client.Transactions(ctx, stranger(1), account.Last, strange, 100); !errors.Is(err, ton.ErrCursor) || got != nil {
		t.Errorf("a cursor that never was: %d transactions, %v", len(got), err)
	}
}

// What accounts pay is what they lose: the sum that people see must be right
// to the last nano, forwarding included.
func TestFees(t *testing.T) {
	c, client := local(t)
	ctx := t.Context()
	fund(t, c, stranger(1), "1") // deploys the faucet's wallet
	before, err := client.Account(ctx, c.FaucetAddress())
	if err != nil {
		t.Fatal(err)
	}
	deploy(t, c, code(subtract))
	after, err := client.Account(ctx, c.FaucetAddress())
	if err != nil {
		t.Fatal(err)
	}
	txs, err := client.Transactions(ctx, c.FaucetAddress(), after.Last, before.Last, 10)
	if err != nil || len(txs) != 1 || len(txs[0].Out) != 1 {
		t.Fatalf("transactions = %+v, %v", txs, err)
	}
	tx := txs[0]
	if paid := before.Balance - after.Balance; paid != tx.Out[0].Value+tx.Fees {
		t.Errorf("the faucet paid %s, of that %s with the message, and fees %s", paid, tx.Out[0].Value, tx.Fees)
	}
	if !tx.Ran || tx.ExitCode != 0 || tx.Gas == 0 || tx.Aborted || tx.ActionCode != 0 || tx.In.From != nil {
		t.Errorf("transaction = %+v", tx)
	}
}

func TestRunMethod(t *testing.T) {
	c, client := local(t)
	ctx := t.Context()
	math, fails := deploy(t, c, code(subtract)), deploy(t, c, code(thrower))
	got, err := client.RunMethod(ctx, math, "difference", big.NewInt(50), big.NewInt(8))
	if err != nil || len(got) != 1 || got[0].(*big.Int).Int64() != 42 {
		t.Errorf("50-8 = %v, %v", got, err)
	}
	var failed *ton.MethodError
	if _, err := client.RunMethod(ctx, math, "difference"); !errors.As(err, &failed) || failed.ExitCode != 2 {
		t.Errorf("without arguments: %v, want exit code 2", err)
	}
	if _, err := client.RunMethod(ctx, fails, "anything"); !errors.As(err, &failed) || failed.ExitCode != 37 {
		t.Errorf("thrower: %v, want exit code 37", err)
	}
	if _, err := client.RunMethod(ctx, stranger(9), "seqno"); !errors.Is(err, ton.ErrNoContract) {
		t.Errorf("nobody: %v, want ErrNoContract", err)
	}
	if _, err := client.RunMethod(ctx, math, "difference", "50", 8); err == nil {
		t.Error("arguments of the wrong type: no error")
	}
	seqno, err := client.RunMethod(ctx, c.FaucetAddress(), "seqno")
	if err != nil || len(seqno) != 1 || seqno[0].(*big.Int).Int64() != 2 {
		t.Errorf("the faucet's seqno = %v, %v; want 2", seqno, err)
	}
	// What the program computes here is what the chain computes there.
	for _, method := range []string{"seqno", "get_public_key", "get_subwallet_id", "is_signature_allowed"} {
		here, err := client.RunMethod(ctx, c.FaucetAddress(), method)
		there, err2 := c.RunMethod(c.FaucetAddress(), method)
		if err != nil || err2 != nil || fmt.Sprint(here) != fmt.Sprint(there) {
			t.Errorf("%s = %v, %v; the chain says %v, %v", method, here, err, there, err2)
		}
	}
}

// Nested values survive the way to the machine and back: this contract returns
// what it is given.
func TestMethodValues(t *testing.T) {
	c, client := local(t)
	echo := deploy(t, c, code("ff00dd")) // SETCP 0, IFNOTRET
	leaf := cell.BeginCell().MustStoreUInt(7, 8).EndCell()
	got, err := client.RunMethod(t.Context(), echo, "any", big.NewInt(-5), nil, leaf, []any{big.NewInt(1), []any{leaf, nil}})
	if err != nil || len(got) != 4 {
		t.Fatalf("echo = %v, %v", got, err)
	}
	list, ok := got[3].([]any)
	if !ok || len(list) != 2 || list[0].(*big.Int).Int64() != 1 || list[1].([]any)[0].(*cell.Cell).HashKey() != leaf.HashKey() {
		t.Errorf("tuple came back as %v", got[3])
	}
	if got[0].(*big.Int).Int64() != -5 || got[1] != nil || got[2].(*cell.Cell).HashKey() != leaf.HashKey() {
		t.Errorf("echo = %v", got)
	}
}

func TestParams(t *testing.T) {
	_, client := local(t)
	root, err := client.Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := (tlb.BlockchainConfig{Root: root}).GetGlobalID()
	if err != nil || id.GlobalID != localnet.TestnetID {
		t.Errorf("global id = %v, %v; want %d", id, err, localnet.TestnetID)
	}
	again, err := client.Params(t.Context())
	if err != nil || again != root {
		t.Errorf("the configuration was read twice (%v)", err)
	}
}

func TestSend(t *testing.T) {
	c, client := local(t)
	ctx := t.Context()
	message := transfer(t, c, stranger(1), "3")
	if err := client.Send(ctx, message); err != nil {
		t.Fatal(err)
	}
	has, err := client.Account(ctx, stranger(1))
	if err != nil || has.Balance != 3*coin.TON {
		t.Errorf("balance = %+v, %v; want 3 TON", has, err)
	}
	var refused *ton.RefusedError
	if err := client.Send(ctx, message); !errors.As(err, &refused) || !errors.Is(err, ton.ErrRefused) || !refused.Ran || refused.ExitCode != 133 {
		t.Errorf("sent twice: %v, want refused with exit code 133", err)
	}
	for name, m := range map[string]*cell.Cell{"nothing": nil, "empty cell": cell.BeginCell().EndCell()} {
		if err := client.Send(ctx, m); !errors.Is(err, ton.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
}

func TestChanged(t *testing.T) {
	c, client := local(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	head, err := client.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		changed := client.Changed(head)
		if _, err := c.Seal(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("a new block was not noticed")
		}
		next, err := client.Head(ctx)
		if err != nil || next.Seqno <= head.Seqno {
			t.Fatalf("head = %+v, %v after %+v", next, err, head)
		}
		select {
		case <-client.Changed(head):
		default:
			t.Error("a block that is known is not seen to have changed")
		}
		head = next
	}
}

// Waiting for blocks must not make them: an idle chain would grow for ever.
func TestWaitingDoesNotSeal(t *testing.T) {
	c, client := local(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	head, err := client.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-client.Changed(head):
		t.Errorf("block %d came on a chain where nothing happens", c.Last().SeqNo)
	case <-ctx.Done():
	}
}

func TestNoServer(t *testing.T) {
	c := newChain(t)
	s := serve(t, c)
	n := network(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := ton.Dial(t.Context(), ton.Config{Network: n, InsecureUnsigned: true})
	var unreachable *ton.UnreachableError
	if !errors.As(err, &unreachable) || !errors.Is(err, ton.ErrUnreachable) || !slices.Equal(unreachable.Servers, []string{s.Addr().String()}) {
		t.Errorf("nobody listens: %v, want ErrUnreachable naming %s", err, s.Addr())
	}
	if time.Since(began) > 20*time.Second {
		t.Errorf("it took %v", time.Since(began))
	}
}

// A server that accepts and says nothing must not hold anybody up.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := network(t, serve(t, newChain(t)))
	n.Servers[0].Addr = l.Addr().(*net.TCPAddr).AddrPort()
	_, err = ton.Dial(t.Context(), ton.Config{Network: n, InsecureUnsigned: true, Timeout: 300 * time.Millisecond})
	if !errors.Is(err, ton.ErrUnreachable) {
		t.Errorf("silent server: %v, want ErrUnreachable", err)
	}
}

// A local chain has no validators: who does not say that this is fine is told.
func TestUnsignedMustBeAskedFor(t *testing.T) {
	n := network(t, serve(t, newChain(t)))
	_, err := ton.Dial(t.Context(), ton.Config{Network: n})
	if err == nil || !strings.Contains(err.Error(), "InsecureUnsigned") {
		t.Errorf("unsigned chain: %v, want an error that names the setting", err)
	}
}

// Everything a client starts ends with it.
func TestNoGoroutinesLeft(t *testing.T) {
	c := newChain(t)
	s := serve(t, c)
	n := network(t, s)
	before := runtime.NumGoroutine()
	client, err := ton.Dial(t.Context(), ton.Config{Network: n, InsecureUnsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	head, err := client.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client.Changed(head)
	client.Close()
	if _, err := client.Head(t.Context()); !errors.Is(err, ton.ErrUnreachable) {
		t.Errorf("closed client: %v, want ErrUnreachable", err)
	}
	quiet(t, before)
}

// quiet waits until no more goroutines run than did before; the library's own,
// and the server's, end a moment after the connection.
func quiet(t *testing.T, before int) {
	t.Helper()
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}
