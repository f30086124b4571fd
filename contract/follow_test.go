package contract

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// diary passes on what is logged, a line each.
type diary chan string

func (d diary) Enabled(context.Context, slog.Level) bool { return true }
func (d diary) WithAttrs([]slog.Attr) slog.Handler       { return d }
func (d diary) WithGroup(string) slog.Handler            { return d }

func (d diary) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	d <- text
	return nil
}

// expect waits for the next line, which must have this in it.
func (d diary) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-d:
		if !strings.Contains(got, want) {
			t.Fatalf("logged %q, want %q", got, want)
		}
	case <-t.Context().Done():
		t.Fatalf("the test ends without %q being logged", want)
	case <-time.After(time.Minute):
		t.Fatalf("%q is not logged in a minute", want)
	}
}

// served is a stage with a liteserver and a client of it.
type served struct {
	*stage
	server *localnet.Server
	client *ton.Client
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{stage: newStageAt(t, time.Now)}
	var err error
	if s.server, err = localnet.Listen(s.chain, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.server.Close() })
	path := filepath.Join(t.TempDir(), "global.config.json")
	if err := s.server.WriteGlobalConfig(path); err != nil {
		t.Fatal(err)
	}
	if s.client, err = ton.Dial(t.Context(), ton.Config{Path: path, InsecureUnsigned: true, Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.client.Close() })
	return s
}

// run follows until the test ends, without any patience.
func (o *OnChain) run(t *testing.T) {
	o.retryAfter, o.silence = time.Millisecond, 10*time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx, 0) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("following ended with %v", err)
		}
	})
}

func changes(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("the registry does not change in a minute")
	}
}

func TestFollowTheRootContract(t *testing.T) {
	s := serve(t)
	root := founded(t, 3)
	d, err := root.Deploy(OurCodes().Root)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := Follow(t.Context(), s.client, d.Address, nil); err == nil || !strings.Contains(err.Error(), "account is nonexistent") {
		t.Errorf("before there is a contract: %v, %v", o, err)
	}
	s.deploy(d, Ton)
	o, err := Follow(t.Context(), s.client, d.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.Root().Version != root.Version || o.Root().PricePerToken != 20 || o.Address() != d.Address {
		t.Errorf("the registry is %+v, want %+v", o.Root(), root)
	}
	first := o.AsOf()
	if age := time.Since(first.Time); first.Seqno == 0 || age > time.Minute || age < -time.Minute {
		t.Errorf("the registry is as of %+v", first)
	}
	o.run(t)
	for price := coin.Nano(21); price < 24; price++ {
		changed := o.Changed()
		s.say(root.Owner, d.Address, Ton, &ChangePrice{1, price, 10})
		changes(t, changed)
		if got := o.Root(); got.PricePerToken != price {
			t.Errorf("price is %d, want %d", got.PricePerToken, price)
		}
	}
	if o.AsOf().Seqno <= first.Seqno {
		t.Errorf("the registry is as of block %d, want later than %d", o.AsOf().Seqno, first.Seqno)
	}
}

// A contract that stores whatever anybody sends: SETCP 0, DROP, LDREF, DROP, POP c4.
const anything = "ff0030d430ed54"

// What a root contract in bad hands could say: nobody acts on it, it is
// reported once, and what comes after it in good order is believed again.
func TestRefusedSnapshots(t *testing.T) {
	s := serve(t)
	s.strange = true
	good := founded(t, 3)
	code, err := hex.DecodeString(anything)
	if err != nil {
		t.Fatal(err)
	}
	d, err := good.Deploy(cell.BeginCell().MustStoreSlice(code, uint(len(code))*8).EndCell())
	if err != nil {
		t.Fatal(err)
	}
	store := func(data *cell.Cell) {
		t.Helper()
		s.send(filled(0xdd), d.Address, Ton, cell.BeginCell().MustStoreRef(data).EndCell(), d.Init)
		if !bytes.Equal(s.data(d.Address).Hash(), data.Hash()) {
			t.Fatal("the contract did not store it")
		}
	}
	registry := func(change func(r *Root)) *cell.Cell {
		t.Helper()
		r := *good
		change(&r)
		c, err := r.Cell()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	store(registry(func(*Root) {}))
	log := make(diary, 100)
	o, err := Follow(t.Context(), s.client, d.Address, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	o.run(t)
	for _, x := range []struct {
		name, want string
		data       func() *cell.Cell
	}{
		{"older", "version is 8, want at least 9", func() *cell.Cell { return registry(func(r *Root) { r.Version-- }) }},
		{"older parameters", "params_version is 2, want at least 3", func() *cell.Cell { return registry(func(r *Root) { r.Version++; r.ParamsVersion-- }) }},
		{"no registry", "not enough", func() *cell.Cell { return emptyCell }},
		{"no code", "code of worker contracts is empty", func() *cell.Cell { return registry(func(r *Root) { r.Version++; r.WorkerCode = nil }) }},
		{"fee above price", "worker fee is 21", func() *cell.Cell { return registry(func(r *Root) { r.Version++; r.WorkerFeePerToken = 21 }) }},
	} {
		store(x.data())
		log.expect(t, x.want)
		if got := o.Root(); got.Version != good.Version || got.ParamsVersion != 3 || got.WorkerFeePerToken != 10 || got.WorkerCode == nil {
			t.Errorf("%s: in force is %+v", x.name, got)
		}
		// Blocks go by; the word of the last good one gets no younger.
		before := o.AsOf()
		if _, err := s.chain.Advance(time.Second); err != nil {
			t.Fatal(err)
		}
		if o.AsOf() != before {
			t.Errorf("%s: as of %v, want still %v", x.name, o.AsOf(), before)
		}
		store(registry(func(*Root) {}))
		log.expect(t, "read again")
	}
	changed := o.Changed()
	store(registry(func(r *Root) { r.LastProxySeqno = 77 }))
	changes(t, changed)
	log.expect(t, "under the same version")
	log.expect(t, "new content")
	if len(log) > 0 {
		t.Errorf("and then it logs %q", <-log)
	}
}

// While the chain is away the old registry stays and ages; why is said once.
func TestRegistryWhileTheChainIsAway(t *testing.T) {
	s := serve(t)
	root := founded(t, 3)
	d, err := root.Deploy(OurCodes().Root)
	if err != nil {
		t.Fatal(err)
	}
	s.deploy(d, Ton)
	log := make(diary, 100)
	o, err := Follow(t.Context(), s.client, d.Address, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	o.run(t)
	addr := s.server.Addr().String()
	if err := s.server.Close(); err != nil {
		t.Fatal(err)
	}
	log.expect(t, "cannot be read, the old stays in force")
	if o.Root().Version != root.Version {
		t.Errorf("in force is %+v", o.Root())
	}
	asOf := o.AsOf().Time
	for age, want := range map[time.Duration]bool{0: false, MaxAge: false, MaxAge + time.Second: true} {
		if err := Stale(o, asOf.Add(age)); (err != nil) != want {
			t.Errorf("after %s: %v, want it stale: %v", age, err, want)
		}
	}
	if err := Stale(NewMemory(root), asOf.Add(24*time.Hour)); err != nil {
		t.Errorf("a registry without a date: %v", err)
	}
	changed := o.Changed()
	s.say(root.Owner, d.Address, Ton, &ChangePrice{1, 30, 10})
	if s.server, err = localnet.Listen(s.chain, addr); err != nil {
		t.Fatal(err)
	}
	changes(t, changed)
	log.expect(t, "new content")
	log.expect(t, "read again")
	if o.Root().PricePerToken != 30 || Stale(o, time.Now()) != nil {
		t.Errorf("in force is %+v as of %v", o.Root(), o.AsOf())
	}
	if len(log) > 0 {
		t.Errorf("and then it logs %q", <-log)
	}
}
