package settlement

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// house is a proxy's settlement on the local chain, with its ledger, its
// wallet and its registry, and can begin again on what it left behind.
type house struct {
	*world
	registry *registry
	owner    *address.Address
	node     *node
	key      ed25519.PrivateKey
	store    *ledger.Memory
	issuer   *contract.Issuer
	log      *logBuffer
	ahead    time.Duration       // of the chain's clock, the machine's is
	between  func(Wallet) Wallet // the settlement and its wallet; nil is nothing

	ledger *ledger.Ledger
	proxy  *Proxy
	stop   func()
}

// logBuffer is a log that many may write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *logBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

var rules = ledger.Rules{Charge: coin.TON / 10, Payout: coin.TON / 5, Withdraw: coin.TON / 20, LastPayout: coin.TON / 20}

func newHouse(t *testing.T) *house { t.Helper(); return newHouseWith(t, 30*coin.TON) }

func newHouseWith(t *testing.T, amount coin.Nano) *house {
	t.Helper()
	w := newWorld(t)
	h := &house{world: w, registry: newRegistry(w), owner: stranger(1), key: w.chain.Key("proxy"), store: &ledger.Memory{}, log: &logBuffer{}}
	h.node = w.node("proxy wallet", h.owner, amount)
	// Before that, a poor wallet takes messages and lets them wait.
	h.await("the balance is known", func() bool { return h.node.driver.Status().Known })
	h.start()
	w.Cleanup(func() { h.stop() })
	return h
}

func stranger(n byte) *address.Address {
	id := bytes.Repeat([]byte{n}, 32)
	return address.NewAddress(0, 0, id).Bounce(false)
}

func (h *house) start() {
	h.Helper()
	if err := h.tryStart(); err != nil {
		h.Fatal(err)
	}
}

func (h *house) tryStart() error {
	h.issuer = &contract.Issuer{Owner: h.owner, Root: h.registry.at, Key: h.key}
	var err error
	if h.ledger, err = ledger.New(ledger.Config{Store: h.store, Key: h.key}); err != nil {
		return err
	}
	if err := h.begin(); err != nil {
		return err
	}
	w := Wallet(h.node.driver)
	if h.between != nil {
		w = h.between(w)
	}
	h.proxy, err = NewProxy(ProxyConfig{
		Chain: h.client, Wallet: w, Registry: h.registry, Ledger: h.ledger, Key: h.key, Owner: h.owner, Root: h.registry.at, Rules: rules,
		NoteEvery: 10 * time.Millisecond, RetryAfter: 50 * time.Millisecond, Tick: 10 * time.Millisecond, Now: func() time.Time { return h.chain.Now().Add(h.ahead) },
		Log: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	run := h.proxy.Run
	go func() { defer close(ended); run(ctx) }()
	h.stop = func() { cancel(); <-ended }
	return nil
}

// begin does what the proxy role does with a registry.
func (h *house) begin() error {
	terms, err := h.issuer.Terms(h.registry.Root())
	if err == nil {
		err = h.ledger.Begin(terms)
	}
	return err
}

// restart begins anew in all parts, on what is durable.
func (h *house) restart() {
	h.Helper()
	h.stop()
	h.node.restart()
	h.start()
}

func (h *house) generation() ledger.Generation {
	list := h.ledger.Generations()
	return list[len(list)-1]
}

func (h *house) contracts(g ledger.Generation) *contract.Contracts {
	h.Helper()
	c, err := h.issuer.Contracts(g)
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// serving waits until the proxy may take work.
func (h *house) serving() {
	h.Helper()
	h.await("the proxy serves", func() bool { return h.ledger.Health() == nil && h.proxy.Health() == nil })
}

// book moves tokens as a request does.
func (h *house) book(client, worker *address.Address, tokens int64) {
	h.Helper()
	c, w := client.StringRaw(), worker.StringRaw()
	_, err := h.ledger.OpenClient(c)
	if err == nil {
		_, err = h.ledger.OpenWorker(w)
	}
	if err != nil {
		h.Fatal(err)
	}
	hold, err := h.ledger.Reserve(c, tokens)
	if err == nil {
		var booked int64
		if booked, err = h.ledger.Settle(hold, w, tokens); booked != tokens {
			h.Fatalf("booked %d of %d tokens: %v", booked, tokens, err)
		}
	}
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) clientAccount(wallet *address.Address) *ledger.Client {
	for _, c := range h.ledger.Clients() {
		if c.Wallet == wallet.StringRaw() {
			return &c
		}
	}
	return &ledger.Client{}
}

func (h *house) workerAccount(owner *address.Address) ledger.Worker {
	for _, w := range h.ledger.Workers() {
		if w.Owner == owner.StringRaw() {
			return w
		}
	}
	return ledger.Worker{}
}

// customer is a client whose wallet is a person's.
type customer struct {
	*person
	at2 *contract.Deployment // its contract
}

func (h *house) customer(name string) *customer {
	h.Helper()
	c := &customer{person: h.person(name, 50*coin.TON)}
	c.deploy(h)
	return c
}

// deploy puts the client's contract of the current generation on the chain.
func (c *customer) deploy(h *house) {
	c.Helper()
	d, err := h.contracts(h.generation()).Client(c.at)
	if err != nil {
		c.Fatal(err)
	}
	c.at2 = d
	c.send(d.Address, 8*coin.TON/10, nil, d.Init)
}

func (c *customer) topUp(amount coin.Nano) {
	c.Helper()
	c.send(c.at2.Address, amount+coin.TON, &contract.TopUp{QueryID: 1, Amount: amount, Excess: c.at}, nil)
}

func (c *customer) state() *contract.ClientState {
	c.Helper()
	s, err := contract.ParseClientState(c.account(c.at2.Address).Data)
	if err != nil {
		c.Fatal(err)
	}
	return s
}

func (h *house) proxyState(g ledger.Generation) *contract.ProxyState {
	h.Helper()
	s, err := contract.ParseProxyState(h.account(h.contracts(g).Proxy.Address).Data)
	if err != nil {
		h.Fatal(err)
	}
	return s
}

// paid is the sum of the payouts that an account got from a proxy's contract.
func (h *house) paid(to, from *address.Address) (sum coin.Nano) {
	h.Helper()
	account := h.account(to)
	list, err := h.client.Transactions(h.ctx, to, account.Last, ton.TxID{}, 1000)
	if err != nil {
		h.Fatal(err)
	}
	for _, tx := range list {
		if tx.In == nil || tx.In.From == nil || !tx.In.From.Equals(from) {
			continue
		}
		if body, err := contract.ParseBody(tx.In.Body); err == nil {
			if _, ok := body.(*contract.PaidOut); ok {
				sum += tx.In.Value
			}
		}
	}
	return sum
}

// copyStore is the ledger as it stands now.
func (h *house) copyStore() *ledger.Memory {
	h.Helper()
	again := &ledger.Memory{}
	if err := h.store.Load(0, again.Append); err != nil {
		h.Fatal(err)
	}
	return again
}

// newPrice raises the registry's params_version and waits until it is read.
func (h *house) newPrice(price, fee coin.Nano) {
	h.Helper()
	before := h.registry.Root().ParamsVersion
	h.registry.owner.send(h.registry.at, coin.TON, &contract.ChangePrice{QueryID: 1, Price: price, Fee: fee}, nil)
	h.await("the registry is read", func() bool { return h.registry.Root().ParamsVersion > before })
}

func (h *house) check() {
	h.Helper()
	if err := h.ledger.Check(); err != nil {
		h.Error(err)
	}
}
