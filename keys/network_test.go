package keys_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/builtin"
	"github.com/opencocoon/cocoon/keys"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/proxy"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/worker"
)

// A whole network in this process: the production roles over pipes that keep
// every byte, a key manager, and the built-in model. There is no TLS, so what is
// kept is what the roles themselves wrote.

const (
	ownerText = "UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m"
	rootText  = "EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ"
	model     = "cocoon-demo-3m@commit:hash"
)

var (
	clientsAt = netip.MustParseAddrPort("10.0.0.1:2")
	workersAt = netip.MustParseAddrPort("10.0.0.1:1")
	images    = map[string][32]byte{"proxy": {1}, "worker": {2}, "keys": {3}}
)

// record keeps what passed, of connections and of logs.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *record) holds(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.b.Bytes(), []byte(text))
}

func (r *record) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.Reset()
}

// tapped is a connection whose bytes are kept, those of one direction together.
type tapped struct {
	net.Conn
	in, out *record
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Write(p[:n])
	return n, err
}

func (c *tapped) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Write(p[:n])
	return n, err
}

// door is a listener in memory.
type door struct {
	conns chan net.Conn
	once  sync.Once
	shut  chan struct{}
}

func newDoor() *door { return &door{conns: make(chan net.Conn), shut: make(chan struct{})} }

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.shut:
		return nil, net.ErrClosed
	}
}
func (d *door) Close() error   { d.once.Do(func() { close(d.shut) }); return nil }
func (d *door) Addr() net.Addr { return net.TCPAddrFromAddrPort(clientsAt) }

// dial connects: who says what the dialer is, whom what it finds.
func (d *door) dial(ctx context.Context, tap *record, who, whom string) (net.Conn, *ratls.Peer, error) {
	near, far := net.Pipe()
	verdict := func(name string) *attest.Verdict {
		return &attest.Verdict{Trusted: true, ImageHash: images[name], Level: attest.LevelImage}
	}
	select {
	case d.conns <- &ratls.Conn{Conn: far, Peer: &ratls.Peer{Verdict: verdict(who), Addr: d.Addr()}}:
	case <-d.shut:
		return nil, nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if tap != nil {
		near = &tapped{near, tap, tap}
	}
	return near, &ratls.Peer{Verdict: verdict(whom), Addr: d.Addr()}, nil
}

// network is all of it.
type network struct {
	t              *testing.T
	registry       *registry
	clients, work  *record // what passed at the proxy's two doors
	log            *record
	keyDoor        *door
	client         *client.Client
	workers, users *door
}

// registry lists at once whatever key it is told of.
type registry struct{ *contract.Memory }

func (r registry) Register(_ context.Context, k contract.PublicKey) error {
	root := *r.Root()
	root.Version++
	root.PublicKeys = append(root.PublicKeys[:len(root.PublicKeys):len(root.PublicKeys)], k)
	r.Set(&root)
	return nil
}

func start(t *testing.T) *network {
	owner := parse(t, ownerText)
	_, managerKey, _ := ed25519.GenerateKey(nil)
	_, proxyKey, _ := ed25519.GenerateKey(nil)
	n := &network{t: t, clients: &record{}, work: &record{}, log: &record{}, keyDoor: newDoor(), workers: newDoor(), users: newDoor()}
	n.registry = &registry{contract.NewMemory(&contract.Root{
		Owner: owner, Version: 1, ParamsVersion: 1, StructVersion: 4, UniqueID: 13, IsTest: true, PricePerToken: 2, WorkerFeePerToken: 1,
		Multipliers: ledger.Plain, MinClientStake: contract.Ton, MinProxyStake: contract.Ton,
		ProxyImages: set(images["proxy"]), WorkerImages: set(images["worker"]), Models: set(contract.ModelHash(model)),
		Proxies:    []contract.ProxyEntry{{Seqno: 1, Workers: workersAt, Clients: clientsAt}},
		KeyManager: "10.0.0.2:1", KeyManagerKey: managerKey.Public().(ed25519.PublicKey), KeyManagerImage: images["keys"],
	})}
	demo, err := builtin.Default()
	if err != nil {
		t.Fatal(err)
	}
	engine := httptest.NewServer(builtin.NewServer(demo, builtin.Options{}))
	t.Cleanup(engine.Close)
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))

	manager, err := keys.New(keys.Config{Listener: n.keyDoor, Registry: n.registry, CheckImages: true, Key: managerKey,
		Store: keys.File(t.TempDir() + "/keys.json"), Registrar: n.registry, Ripen: -1, Log: log})
	n.run(err, manager.Run)
	held, err := keys.NewFollower(keys.FollowerConfig{Registry: n.registry, CheckImages: true, Log: log,
		Dial: func(ctx context.Context, _ string) (net.Conn, *ratls.Peer, error) {
			return n.keyDoor.dial(ctx, nil, "proxy", "keys")
		}})
	n.run(err, held.Run)
	p, err := proxy.New(proxy.Config{WorkersListener: n.workers, ClientsListener: n.users, Registry: n.registry, Key: proxyKey,
		OwnerAddress: ownerText, RootAddress: rootText, CheckImages: true, Keys: held, Log: log})
	n.run(err, p.Run)
	w, err := worker.New(worker.Config{Engine: engine.URL, Model: model, Coefficient: 1000, OwnerAddress: owner, RootAddress: parse(t, rootText),
		Registry: n.registry, CheckImages: true, Log: log,
		Dial: func(ctx context.Context, _ string) (net.Conn, *ratls.Peer, error) {
			return n.workers.dial(ctx, n.work, "worker", "proxy")
		}})
	n.run(err, w.Run)
	n.client, err = client.New(client.Config{Registry: n.registry, CheckImages: true, Wallet: ownerText, RootAddress: rootText, InsecureEmptySecret: true,
		Encryption: client.EncryptionV1, Log: log,
		Dial: func(ctx context.Context, _ string) (net.Conn, *ratls.Peer, error) {
			return n.users.dial(ctx, n.clients, "", "proxy")
		}})
	n.run(err, n.client.Run)
	n.await("a worker, the keys and the client", func() bool {
		return p.Snapshot().Local.Keys == 1 && len(n.registry.Root().PublicKeys) == 1 && len(p.Snapshot().Connected) == 1 &&
			p.Snapshot().Connected[0].Enabled && n.client.Snapshot().Status.Ready == 1
	})
	return n
}

func parse(t *testing.T, text string) *address.Address {
	a, err := contract.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func set(h [32]byte) map[[32]byte]struct{} { return map[[32]byte]struct{}{h: {}} }

// run starts a role, which must end without an error when the test does.
func (n *network) run(err error, role func(context.Context) error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- role(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Errorf("a role ended with %v", err)
		}
	})
}

func (n *network) await(what string, reached func() bool) {
	n.t.Helper()
	for end := time.Now().Add(30 * time.Second); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("not there: %s\n%s", what, n.log.b.String())
		}
	}
}

func (n *network) ask(path, body string) (*http.Response, string) {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodPost, "http://cocoon"+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := n.client.Transport().RoundTrip(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return res, string(answer)
}

const question = "What is Cocoon, asked in words of my own?"

// The answer is the engine's, tokens are counted as ever, and neither question nor
// answer passes the proxy in the clear or gets into anybody's log.
func TestEncryptedNetwork(t *testing.T) {
	n := start(t)
	for _, c := range []struct{ name, path, body string }{
		{"chat", "/v1/chat/completions", `{"model":"cocoon-demo-3m","max_tokens":16,"messages":[{"role":"user","content":"` + question + `"}]}`},
		{"stream", "/v1/chat/completions", `{"model":"cocoon-demo-3m","max_tokens":16,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"` + question + `"}]}`},
		{"completion", "/v1/completions", `{"model":"cocoon-demo-3m","max_tokens":16,"prompt":"` + question + `"}`},
		{"refused by the engine", "/v1/chat/completions", `{"model":"cocoon-demo-3m","max_tokens":16,"messages":[{"role":"nobody","content":"` + question + `"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.clients.reset()
			n.work.reset()
			res, body := n.ask(c.path, c.body)
			if res.Header.Get("X-Cocoon-Encryption") != "v1" || (res.StatusCode == 200) != (c.name != "refused by the engine") {
				t.Fatalf("status %d, header %q: %s", res.StatusCode, res.Header.Get("X-Cocoon-Encryption"), body)
			}
			words := texts(body)
			if words == nil && c.name != "completion" { // the model may have nothing to add
				t.Errorf("no words in %s", body)
			}
			secrets := append(words, question, `"role":"user"`)
			for _, text := range secrets {
				for where, tap := range map[string]*record{"between client and proxy": n.clients, "between proxy and worker": n.work, "in a log": n.log} {
					if tap.holds(text) {
						t.Errorf("%q stands in the clear %s", text, where)
					}
				}
			}
			if !n.work.holds("ENC_") || !n.clients.holds("ENC_") {
				t.Error("nothing encrypted has passed")
			}
			if res.StatusCode == 200 && !strings.Contains(body, `"total_tokens":`) {
				t.Errorf("no usage in %s", body)
			}
		})
	}
	if s := n.client.Snapshot(); s.Stats.CompletionTokens[0] < 20 {
		t.Errorf("%v completion tokens were counted, want some 30", s.Stats.CompletionTokens[0])
	}
}

// texts are the words of an answer that are worth hiding.
func texts(body string) (list []string) {
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "data: "))
		var doc struct {
			Choices []struct {
				Text           string
				Message, Delta struct{ Content string }
			}
			Error struct{ Message string }
		}
		if json.Unmarshal([]byte(line), &doc) != nil {
			continue
		}
		all := []string{doc.Error.Message}
		for _, c := range doc.Choices {
			all = append(all, c.Text, c.Message.Content, c.Delta.Content)
		}
		for _, text := range all {
			if len(text) > 6 { // shorter ones may stand anywhere by chance
				list = append(list, text)
			}
		}
	}
	return list
}

// The taps do see what is not encrypted: otherwise they would prove nothing.
func TestClearNetwork(t *testing.T) {
	n := start(t)
	body := `{"model":"cocoon-demo-3m","max_tokens":4,"messages":[{"role":"user","content":"` + question + `"}]}`
	plain, err := client.New(client.Config{Registry: n.registry, CheckImages: true, Wallet: ownerText, RootAddress: rootText, InsecureEmptySecret: true,
		Dial: func(ctx context.Context, _ string) (net.Conn, *ratls.Peer, error) {
			return n.users.dial(ctx, n.clients, "", "proxy")
		}})
	n.run(err, plain.Run)
	n.client = plain
	n.await("the second client", func() bool { return plain.Snapshot().Status.Ready == 1 })
	if res, answer := n.ask("/v1/chat/completions", body); res.StatusCode != 200 {
		t.Fatalf("status %d: %s", res.StatusCode, answer)
	}
	if !n.clients.holds(question) || !n.work.holds(question) || n.log.holds(question) {
		t.Errorf("the question is seen at the clients' door: %t, at the workers': %t, in a log: %t, want true, true, false",
			n.clients.holds(question), n.work.holds(question), n.log.holds(question))
	}
}
