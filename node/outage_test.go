package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/builtin"
	"github.com/opencocoon/cocoon/settlement"
)

// wire is a node's way to the liteserver, which a test can cut, or make deaf:
// then questions arrive and answers are lost.
type wire struct {
	listener net.Listener
	to       string
	work     sync.WaitGroup

	mu         sync.Mutex // guards the rest
	down, deaf bool
	ends       []net.Conn
}

// through is a configuration of the chain by way of a new wire.
func through(t *testing.T, config string) (*wire, string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	whole := json.NewDecoder(bytes.NewReader(text))
	whole.UseNumber()
	if err := whole.Decode(&file); err != nil {
		t.Fatal(err)
	}
	server := file["liteservers"].([]any)[0].(map[string]any)
	w := &wire{to: fmt.Sprintf("127.0.0.1:%v", server["port"])}
	if w.listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	server["port"] = w.listener.Addr().(*net.TCPAddr).Port
	if text, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "global.config.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.work.Go(w.accept)
	t.Cleanup(func() { w.listener.Close(); w.set(true, false); w.work.Wait() })
	return w, path
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp4", w.to)
		if err != nil {
			near.Close()
			continue
		}
		w.mu.Lock()
		if w.down {
			near.Close()
			far.Close()
		}
		w.ends = append(w.ends, near, far)
		w.mu.Unlock()
		w.work.Go(func() { w.copy(far, near, false) })
		w.work.Go(func() { w.copy(near, far, true) })
	}
}

func (w *wire) copy(dst, src net.Conn, answers bool) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		w.mu.Lock()
		lost := w.deaf && answers
		w.mu.Unlock()
		if lost {
			n = 0
		}
		if _, werr := dst.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// set changes what becomes of questions and answers; a stream that has lost
// something does not go on.
func (w *wire) set(down, deaf bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	again := w.deaf && !deaf
	w.down, w.deaf = down, deaf
	if down || again {
		for _, end := range w.ends {
			end.Close()
		}
		w.ends = nil
	}
}

// village is a network of nodes, each with its own wire to the chain, whose
// clocks can be moved.
type village struct {
	*economy
	model                             string
	wires                             map[string]*wire
	doors                             [2]string
	proxyAt, workerAt, clientAt       string
	proxy                             *Proxy
	worker                            *Worker
	client                            *Client
	stopProxy, stopWorker, stopClient func()
	ahead                             atomic.Int64
	spent                             atomic.Int64
	answered                          atomic.Int64
}

func newVillage(t *testing.T) *village {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	v := &village{economy: &economy{T: t, ctx: ctx, dir: t.TempDir()}, wires: map[string]*wire{}}
	v.chain, v.root, v.config = localChain(t)
	v.doors = [2]string{freePort(t), freePort(t)}
	v.register(v.doors)
	engineAt := freePort(t)
	v.proxyAt, v.workerAt, v.clientAt = freePort(t), freePort(t), freePort(t)
	model, err := builtin.Default()
	if err != nil {
		t.Fatal(err)
	}
	v.model = model.Name()
	v.start("engine", &Engine{Listen: engineAt}, nil)
	v.proxy = &Proxy{Common: v.wired("proxy", v.proxyAt), WorkersListen: v.doors[0], ClientsListen: v.doors[1], AnyWorkerImage: true, Difficulty: 1,
		Settlement: Settlement{Data: filepath.Join(v.dir, "proxy"), ChargeFrom: "0.0000001", PayoutFrom: "5", WithdrawFrom: "5", NoteEvery: Duration(100 * time.Millisecond)}}
	v.worker = &Worker{Common: v.wired("worker", v.workerAt), Engine: "http://" + engineAt, Model: v.model + "@a:b", Coefficient: 1000, AnyProxyImage: true,
		Earnings: Earnings{Data: filepath.Join(v.dir, "worker"), PayoutFrom: "0.0000001", PayoutIdle: "0.0000001"}}
	v.client = v.newClient("client", v.clientAt)
	v.fund(v.proxy.Data, "50")
	v.fund(v.worker.Data, "10")
	v.stopProxy = v.begin("proxy", v.proxy)
	v.stopWorker = v.begin("worker", v.worker)
	v.stopClient = v.begin("client", v.client)
	v.await("a model", func() bool { return v.served(v.clientAt) })
	return v
}

func (v *village) newClient(name, at string) *Client {
	c := &Client{Common: v.wired(name, at), AnyProxyImage: true, Purse: Purse{Data: filepath.Join(v.dir, name)}}
	v.fund(c.Data, "20")
	return c
}

func (v *village) wired(name, listen string) Common {
	c := v.common(name, listen)
	v.wires[name], c.TONConfig = through(v.T, v.config)
	return c
}

func (v *village) now() time.Time { return time.Now().Add(time.Duration(v.ahead.Load())) }

// begin starts a node by the village's clock.
func (v *village) begin(name string, role Role) (stop func()) {
	v.Helper()
	if err := role.Check(); err != nil {
		v.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(v.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		env := Env{Log: slog.New(slog.NewTextHandler(&v.log, nil)).With("node", name), Now: v.now}
		if err := role.Run(ctx, env); err != nil {
			v.Errorf("%s: %v", name, err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	v.Cleanup(stop)
	return stop
}

func (v *village) all(down, deaf bool) {
	for _, w := range v.wires {
		w.set(down, deaf)
	}
}

func (v *village) served(at string) bool {
	var list struct{ Data []any }
	return v.get("http://"+at+"/v1/models", &list) && len(list.Data) > 0
}

// answer is what a caller gets.
type answer struct {
	status      int
	code, again string
	text        string
}

func (v *village) ask(at string) answer { v.Helper(); return v.askWith(at, `"max_tokens":8`) }

func (v *village) askWith(at, members string) (a answer) {
	v.Helper()
	status, h, body := v.post("http://"+at+"/v1/chat/completions", `{"model":"`+v.model+`",`+members+`,"messages":[{"role":"user","content":"hello"}]}`)
	a = answer{status: status, again: h.Get("Retry-After"), text: body}
	if status == 200 {
		var done struct {
			Usage struct {
				TotalCost int64 `json:"total_cost"`
			}
		}
		if err := json.Unmarshal([]byte(body), &done); err != nil || done.Usage.TotalCost <= 0 {
			v.Fatalf("an answer without its cost: %v %s", err, body)
		}
		v.spent.Add(done.Usage.TotalCost)
		v.answered.Add(1)
		return a
	}
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal([]byte(body), &e) // a code that is missing is seen
	a.code = e.Error.Code
	return a
}

// mustServe asks, so many times.
func (v *village) mustServe(when string, n int) {
	v.Helper()
	for range n {
		if a := v.ask(v.clientAt); a.status != 200 {
			v.Fatalf("%s: %d %s\n%s", when, a.status, a.text, tail(v.log.String(), 4000))
		}
	}
}

// mustRefuse wants it said that the chain is away, since when and what to do.
func (v *village) mustRefuse(when, at string, says ...string) {
	v.Helper()
	a := v.ask(at)
	if a.status != 503 || a.code != "chain_away" || a.again == "" || !strings.Contains(a.text, "the chain is away since 20") {
		v.Fatalf("%s: %d, code %q, Retry-After %q, %s; want 503 chain_away with Retry-After\n%s", when, a.status, a.code, a.again, a.text, tail(v.log.String(), 4000))
	}
	for _, s := range says {
		if !strings.Contains(a.text, s) {
			v.Errorf("%s: %q, want %q in it", when, a.text, s)
		}
	}
}

// load asks from all sides until the function it returns is called, which says
// what was not answered.
func (v *village) load(callers int) (stop func()) {
	var ended atomic.Bool
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for !ended.Load() && v.ctx.Err() == nil {
				if a := v.ask(v.clientAt); a.status != 200 {
					v.Errorf("under load: %d %s", a.status, a.text)
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { ended.Store(true); wg.Wait() })
	v.Cleanup(stop)
	return stop
}

// served more answers than now.
func (v *village) awaitAnswers(n int64) {
	v.Helper()
	want := v.answered.Load() + n
	v.await(fmt.Sprintf("%d more answers", n), func() bool { return v.answered.Load() >= want })
}

type sight struct{ Chain *contract.View }

func (v *village) view(at string) *contract.View {
	var s sight
	if !v.get("http://"+at+"/jsonstats", &s) {
		return nil
	}
	return s.Chain
}

func (v *village) awaitAway(away bool, at ...string) {
	v.Helper()
	for _, at := range at {
		v.await(fmt.Sprintf("%s to see the chain away: %v", at, away), func() bool { s := v.view(at); return s != nil && s.Away() == away })
	}
}

// settled waits until all that was spent is charged and paid, to the nanoTON.
func (v *village) settled(also string) {
	v.Helper()
	var accounts []settlement.AccountStatus
	v.await("the charge of all that was used", func() bool {
		accounts = nil
		charged := int64(0)
		for _, at := range slices.Compact([]string{v.clientAt, also}) {
			var c struct{ Settlement settlement.ClientStatus }
			if !v.get("http://"+at+"/jsonstats", &c) || len(c.Settlement.Wallet.Strangers) > 0 {
				return false
			}
			for _, a := range c.Settlement.Accounts {
				accounts, charged = append(accounts, a), charged+int64(a.Charged)
			}
		}
		return 20*charged == v.spent.Load()
	})
	for _, a := range accounts {
		if a.Disputed != "" || a.Own.Used != int64(a.Charged) {
			v.Errorf("account %+v: our count and the proxy's differ", a)
		}
	}
	v.await("the worker's pay", func() bool {
		var w struct{ Settlement settlement.WorkerStatus }
		return v.get("http://"+v.workerAt+"/jsonstats", &w) && w.Settlement.Earnings.Paid == coin.Nano(v.spent.Load()/20*18)
	})
}

// The chain goes away: from the proxy alone, then from everybody, under load,
// and for longer than a registry is good for. What was possible goes on, what is not
// is refused with the reason, everybody but the proxy can be started anew, and at
// the end all is paid to the nanoTON.
func TestChainAway(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	v.mustServe("at first", 2)
	newcomer := v.strangerWaits()
	stop := v.load(3)
	v.awaitAnswers(5)
	v.all(true, false)
	v.awaitAway(true, v.proxyAt, v.workerAt, v.clientAt)
	v.awaitAnswers(20)
	stop()
	if s := v.view(v.proxyAt); s.Within == nil || *s.Within <= 0 || *s.Within >= int64(2*coin.TON) || !strings.Contains(s.Text(), " TON committed") {
		t.Errorf("%+v, want what is left of two deposits", s)
	}
	v.stopClient()
	v.stopClient = v.begin("client", v.client)
	v.await("the client again", func() bool { return v.served(v.clientAt) })
	v.mustServe("a client that was started without the chain", 3)
	v.stopWorker()
	v.stopWorker = v.begin("worker", v.worker)
	v.await("the worker again", func() bool { return v.served(v.clientAt) })
	v.mustServe("a worker that was started without the chain", 3)
	v.awaitAway(true, v.workerAt, v.clientAt)
	v.grows()
	if _, err := v.chain.Advance(2*time.Hour + time.Minute); err != nil {
		t.Fatal(err)
	}
	v.all(false, false)
	v.await("service again", func() bool { return v.ask(v.clientAt).status == 200 })
	v.settled(newcomer)
}

// strangerWaits for a proxy that does not see the chain, which lets nobody in
// whom it does not know, and costs him nothing; who is there is served; and he is
// let in when it is back.
func (v *village) strangerWaits() (at string) {
	v.Helper()
	v.wires["proxy"].set(true, false)
	v.awaitAway(true, v.proxyAt)
	at = freePort(v.T)
	newcomer := v.newClient("newcomer", at)
	v.begin("newcomer", newcomer)
	v.await("the newcomer's gateway", func() bool { return v.view(at) != nil })
	a := v.askWith(at, `"max_tokens":8,"timeout":2`)
	if a.status != 503 || a.again == "" || !strings.Contains(a.text, "the chain is away since 20") || !strings.Contains(a.text, "has not seen on it yet") {
		v.Errorf("a newcomer gets %d, Retry-After %q, %s; want 503 and why", a.status, a.again, a.text)
	}
	v.mustServe("who is known", 3)
	v.wires["proxy"].set(false, false)
	v.await("the newcomer to be served", func() bool { return v.ask(at).status == 200 })
	text, err := os.ReadFile(filepath.Join(newcomer.Data, "settlement.json"))
	if err != nil || regexp.MustCompile(`"registered":\[\d+,`).Match(text) {
		v.Errorf("%v, or the newcomer has registered more than once", err)
	}
	return at
}

// grows lets time pass without the chain.
func (v *village) grows() {
	v.Helper()
	v.ahead.Store(int64(2 * time.Minute))
	v.mustServe("after two minutes", 2)
	v.ahead.Store(int64(250 * time.Second)) // of the 300 after which a client may be gone
	if a := v.askWith(v.clientAt, `"max_tokens":8000000`); a.status != 503 || a.code != "chain_away" || !strings.Contains(a.text, "might have left") {
		v.Errorf("much of the deposit, late: %d %s", a.status, a.text)
	}
	v.mustServe("little of it", 2)
	v.ahead.Store(int64(301 * time.Second))
	v.mustRefuse("when the client may be gone", v.clientAt, "might have left")
	v.ahead.Store(int64(2*time.Hour + time.Minute))
	v.mustRefuse("after two hours", v.clientAt, "trusts no proxy on a registry older than 2h0m0s")
	v.await("the worker to stop", func() bool {
		var w struct{ Status struct{ Enabled bool } }
		return v.get("http://"+v.workerAt+"/jsonstats", &w) && !w.Status.Enabled
	})
}

// The chain flaps under load, answers are lost on their way so that nobody knows
// whether what was sent has arrived; then the proxy is started without it: it is
// there, says why it takes no work, and takes some as soon as the chain has shown
// that its ledger is the newest. At the end every nanoTON is where it belongs.
func TestChainFlaps(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	stop := v.load(3)
	names := []string{"proxy", "worker", "client"}
	for i := range 12 {
		w := v.wires[names[i%3]]
		v.awaitAnswers(4)
		w.set(i%2 == 0, i%2 == 1)
		v.awaitAnswers(int64(3 + 5*(i%4)))
		w.set(false, false)
	}
	stop()
	v.stopProxy()
	v.all(true, false)
	v.stopProxy = v.begin("proxy", v.proxy)
	v.awaitAway(true, v.proxyAt, v.clientAt)
	v.mustRefuse("a proxy that was started without the chain", v.clientAt, "the proxy was started meanwhile")
	v.all(false, false)
	v.await("the proxy serves", func() bool { return v.ask(v.clientAt).status == 200 })
	v.settled(v.clientAt)
}
