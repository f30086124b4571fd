package node

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	library "github.com/xssnick/tonutils-go/ton/wallet"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/builtin"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/ton/localnet"
	"github.com/opencocoon/cocoon/wallet"
)

// economy is a network of real nodes on a real chain that pay each other.
type economy struct {
	*testing.T
	ctx    context.Context
	dir    string
	chain  *localnet.Chain
	root   *address.Address
	config string
	log    syncText
}

type syncText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *syncText) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *syncText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (e *economy) common(name, listen string) Common {
	return Common{
		Listen: listen, TONConfig: e.config, InsecureUnsigned: true, RootAddress: e.root.String(), OwnerAddress: owner,
		ControlTokenFile: filepath.Join(e.dir, "token"), Attestation: Attestation{NoAttestation: true},
	}
}

// fund fills the node wallet that a role will have.
func (e *economy) fund(data string, amount string) *address.Address {
	e.Helper()
	if err := os.MkdirAll(data, 0o700); err != nil {
		e.Fatal(err)
	}
	key, err := wallet.NodeKey(filepath.Join(data, "wallet.key"))
	if err != nil {
		e.Fatal(err)
	}
	who, err := contract.ParseAddress(owner)
	if err != nil {
		e.Fatal(err)
	}
	at, err := contract.OurCodes().WalletAddress(who, key.Public())
	if err == nil && amount != "" {
		_, err = e.chain.Fund(e.ctx, at, tlb.MustFromTON(amount))
	}
	if err != nil {
		e.Fatal(err)
	}
	return at
}

// start runs a role until the function it returns is called.
func (e *economy) start(name string, role Role, guide func(string)) (stop func()) {
	e.Helper()
	if err := role.Check(); err != nil {
		e.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := role.Run(ctx, Env{Log: slog.New(slog.NewTextHandler(&e.log, nil)).With("node", name), Guide: guide}); err != nil {
			e.Errorf("%s: %v", name, err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	e.Cleanup(stop)
	return stop
}

func (e *economy) await(what string, so func() bool) {
	e.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-e.ctx.Done():
			e.Fatalf("not so in time: %s\n%s", what, tail(e.log.String(), 6000))
		case <-tick.C:
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (e *economy) get(url string, v any) bool {
	res, err := http.Get(url)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == 200 && json.NewDecoder(res.Body).Decode(v) == nil
}

func (e *economy) post(url, body string) (int, http.Header, string) {
	e.Helper()
	req, err := http.NewRequestWithContext(e.ctx, "POST", url, strings.NewReader(body))
	if err != nil {
		e.Fatal(err)
	}
	token, err := Token(filepath.Join(e.dir, "token"))
	if err != nil {
		e.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		e.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(text)
}

// A whole economy: a client that is guided to its first deposit, registers on
// the chain, asks, is charged and leaves; a worker that is paid. All of them
// restart in between.
func TestEconomy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	e := &economy{T: t, ctx: ctx, dir: t.TempDir()}
	e.chain, e.root, e.config = localChain(t)
	doors := [2]string{freePort(t), freePort(t)}
	e.register(doors)
	engineAt, workerAt, clientAt := freePort(t), freePort(t), freePort(t)
	model, err := builtin.Default()
	if err != nil {
		t.Fatal(err)
	}
	e.start("engine", &Engine{Listen: engineAt}, nil)
	proxy := &Proxy{Common: e.common("proxy", freePort(t)), WorkersListen: doors[0], ClientsListen: doors[1], AnyWorkerImage: true, Difficulty: 1,
		Settlement: Settlement{Data: filepath.Join(e.dir, "proxy"), ChargeFrom: "0.0000001", PayoutFrom: "5", WithdrawFrom: "5", NoteEvery: Duration(100 * time.Millisecond)}}
	e.fund(proxy.Data, "50")
	stopProxy := e.start("proxy", proxy, nil)
	worker := &Worker{Common: e.common("worker", workerAt), Engine: "http://" + engineAt, Model: model.Name() + "@a:b", Coefficient: 1000, AnyProxyImage: true,
		Earnings: Earnings{Data: filepath.Join(e.dir, "worker"), PayoutFrom: "0.0000001", PayoutIdle: "0.0000001"}}
	e.fund(worker.Data, "10")
	stopWorker := e.start("worker", worker, nil)
	client := &Client{Common: e.common("client", clientAt), AnyProxyImage: true, Purse: Purse{Data: filepath.Join(e.dir, "client"), MaxRequest: "0.5"}}
	guide := make(chan string, 10)
	e.fund(client.Data, "1")
	stopClient := e.start("client", client, func(text string) { guide <- text })
	text := <-guide
	at := e.fund(client.Data, "")
	if !strings.Contains(text, at.String()) || !strings.Contains(text, "Send 5 TON") || !strings.Contains(text, "ton://transfer/"+at.String()+"?amount=5000000000") {
		t.Fatalf("the guide says\n%s\nwant the wallet %s and 5 TON", text, at)
	}
	e.fund(client.Data, "19")

	ask := func() (cost int64) {
		t.Helper()
		status, h, body := e.post("http://"+clientAt+"/v1/chat/completions", `{"model":"`+model.Name()+`","max_tokens":8,"messages":[{"role":"user","content":"hello"}]}`)
		if status != 200 {
			t.Fatalf("status %d: %s\n%s", status, body, tail(e.log.String(), 4000))
		}
		var a struct {
			Usage struct {
				TotalCost int64 `json:"total_cost"`
			}
		}
		cost, err := strconv.ParseInt(h.Get("X-Cocoon-Cost-Nanoton"), 10, 64)
		if err != nil || cost <= 0 || json.Unmarshal([]byte(body), &a) != nil || a.Usage.TotalCost != cost {
			t.Fatalf("cost %d in the header (%v), %d in usage, want the same", cost, err, a.Usage.TotalCost)
		}
		return cost
	}
	served := func() bool {
		var list struct{ Data []any }
		return e.get("http://"+clientAt+"/v1/models", &list) && len(list.Data) > 0
	}
	e.await("a model", served)
	spent := ask() + ask()
	var c struct{ Settlement settlement.ClientStatus }
	charged := func() bool {
		return e.get("http://"+clientAt+"/jsonstats", &c) && len(c.Settlement.Accounts) == 1 && coin.Nano(20).Times(int64(c.Settlement.Accounts[0].Charged)) == coin.Nano(spent)
	}
	e.await("the charge of all that was used", charged)
	if a := c.Settlement.Accounts[0]; a.Disputed != "" || a.Own.Used != int64(a.Charged) {
		t.Errorf("account %+v: our count and the proxy's differ", a)
	}
	var w struct{ Settlement settlement.WorkerStatus }
	paid := func() bool {
		return e.get("http://"+workerAt+"/jsonstats", &w) && w.Settlement.Earnings.Paid == coin.Nano(spent/20*18)
	}
	e.await("the worker's pay", paid)

	// The same again after everybody was away.
	if status, _, body := e.post("http://"+workerAt+"/request/change_coefficient?coefficient=2", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	stopClient()
	stopWorker()
	stopProxy()
	e.start("proxy", proxy, nil)
	stopWorker = e.start("worker", worker, nil)
	stopClient = e.start("client", client, func(text string) { t.Errorf("a client with money is guided: %s", text) })
	e.await("the model again", served)
	if again := ask(); again != spent { // at twice the price
		t.Errorf("the answer costs %d, want %d: the price set by hand was forgotten", again, spent)
	} else {
		spent += again
	}
	e.await("the next charge", charged)
	e.await("the next pay", paid)

	status, _, body := e.post("http://"+clientAt+"/v1/chat/completions", `{"model":"`+model.Name()+`","max_tokens":90000000,"messages":[]}`)
	if status != 402 || !strings.Contains(body, "insufficient_quota") {
		t.Errorf("a request for more than the stake: %d %s", status, body)
	}
	if status, _, body := e.post("http://"+clientAt+"/request/close?proxy="+c.Settlement.Accounts[0].Proxy, ""); status != 200 {
		t.Errorf("close: %d %s", status, body)
	}
	e.await("the proxy's grant", func() bool {
		return e.get("http://"+clientAt+"/jsonstats", &c) && c.Settlement.Accounts[0].State == contract.Closed
	})
	stopClient()
	stopWorker()
	e.checkBooks(client.Data, worker.Data, coin.Nano(spent))
	e.checkSecrets(client.Data)
}

// checkBooks compares what the directories say with what was spent.
func (e *economy) checkBooks(client, worker string, spent coin.Nano) {
	e.Helper()
	sums := map[string]coin.Nano{}
	if err := settlement.ReadStatement(client, func(x settlement.Entry) error { sums[x.Kind] = sums[x.Kind].Add(x.Amount); return nil }); err != nil {
		e.Fatal(err)
	}
	if sums["funded"] != 20*coin.TON || sums["deposit"] != coin.TON || sums["charge"] != spent || sums["refund"] != coin.TON-spent {
		e.Errorf("statement %v, want 20 TON funded, 1 deposited, %s charged and the rest back", sums, spent.Text())
	}
	r, err := settlement.ReadEarnings(worker)
	if err != nil || r.Earned != spent/20*18 || r.Paid != r.Earned || r.Pending != 0 {
		e.Errorf("earnings %+v, %v, want %s earned and paid", r, err, (spent / 20 * 18).Text())
	}
}

// checkSecrets looks for the shared secret and the wallet's seed everywhere
// but in their own files.
func (e *economy) checkSecrets(client string) {
	e.Helper()
	secrets := map[string]string{}
	for _, file := range []string{"secret", "wallet.key"} {
		path := filepath.Join(client, file)
		info, err := os.Stat(path)
		text, errRead := os.ReadFile(path)
		if err != nil || errRead != nil || info.Mode().Perm() != 0o600 || len(strings.TrimSpace(string(text))) < 32 {
			e.Fatalf("%s: %v, %v, %d bytes", path, err, errRead, len(text))
		}
		secrets[path] = strings.TrimSpace(string(text))
	}
	seen := map[string]string{"log": e.log.String()}
	err := filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && secrets[path] == "" {
			var b []byte
			b, err = os.ReadFile(path)
			seen[path] = string(b)
			if info, errInfo := d.Info(); errInfo != nil || info.Mode().Perm()&0o077 != 0 {
				e.Errorf("%s: others may read it", path)
			}
		}
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
	for where, text := range seen {
		for path, secret := range secrets {
			if strings.Contains(text, secret) {
				e.Errorf("%s holds the secret of %s", where, path)
			}
		}
	}
}

// register puts the proxy's doors into the registry.
func (e *economy) register(doors [2]string) {
	e.Helper()
	for _, d := range doors {
		netip.MustParseAddrPort(d)
	}
	body, err := (&contract.UpdateProxy{QueryID: 1, Seqno: 1, Text: doors[0] + " " + doors[1]}).Cell()
	if err != nil {
		e.Fatal(err)
	}
	_, err = e.chain.Pay(e.ctx, e.chain.FaucetKey(), &library.Message{Mode: library.PayGasSeparately + library.IgnoreErrors, InternalMessage: &tlb.InternalMessage{
		IHRDisabled: true, Bounce: true, DstAddr: e.root, Amount: tlb.FromNanoTON((coin.TON / 10).Big()), Body: body,
	}})
	if err != nil {
		e.Fatal(err)
	}
}
