//go:build unix

package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

// words is a log that many may write.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// A proxy keeps its ledger in PostgreSQL. While it runs, a second one with the
// same keys is refused; afterwards that one goes on where it was.
func TestProxyLedgerInPostgres(t *testing.T) {
	t.Parallel()
	server, err := storetest.StartPostgres()
	if errors.Is(err, storetest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	chain, root, config := localChain(t)
	const password = "PASSWORD-MARKER-4417"
	dir := t.TempDir()
	url := filepath.Join(dir, "url")
	if err := os.WriteFile(url, []byte(server.Connection()+" password="+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log words
	settings := func(data string) *Proxy {
		return &Proxy{
			Common: Common{Listen: "127.0.0.1:0", TONConfig: config, InsecureUnsigned: true, RootAddress: root.String(), OwnerAddress: owner,
				ControlTokenFile: filepath.Join(dir, "token"), Attestation: Attestation{NoAttestation: true}},
			WorkersListen: "127.0.0.1:0", ClientsListen: "127.0.0.1:0",
			Settlement: Settlement{Data: filepath.Join(dir, data), NoteEvery: Duration(time.Second), Ledger: Ledger{Store: InPostgres, URLFile: url}},
		}
	}
	one, two := settings("one"), settings("two")
	if err := one.Check(); err != nil {
		t.Fatal(err)
	}
	serve := func(s *Proxy, meanwhile func(ctx context.Context)) (contract string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		visited := make(chan struct{})
		err := s.Run(ctx, Env{Log: slog.New(slog.NewTextHandler(&log, nil)), Ready: func(http string) {
			go func() {
				defer close(visited)
				defer cancel()
				contract = visit(t, ctx, chain, http, filepath.Join(dir, "token"))
				meanwhile(ctx)
			}()
		}})
		if err != nil {
			t.Fatal(err)
		}
		<-visited
		return contract
	}
	first := serve(one, func(ctx context.Context) {
		err := os.CopyFS(two.Data, os.DirFS(one.Data))
		for _, key := range []string{"proxy.key", "wallet.key"} {
			err = errors.Join(err, os.Chmod(filepath.Join(two.Data, key), 0o600))
		}
		if err != nil {
			t.Error(err)
		}
		err = two.Run(ctx, Env{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if !errors.Is(err, ledger.ErrHeld) || strings.Contains(err.Error(), password) {
			t.Errorf("a second proxy beside the first: %v, want %v", err, ledger.ErrHeld)
		}
	})
	if _, err := os.Stat(filepath.Join(one.Data, "ledger")); !os.IsNotExist(err) {
		t.Errorf("a ledger on the disk too: %v", err)
	}
	if second := serve(two, func(context.Context) {}); second != first {
		t.Errorf("contract %s after the change, want %s", second, first)
	}
	if err := os.MkdirAll(filepath.Join(two.Data, "ledger", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := two.Run(t.Context(), Env{}); err == nil || !strings.Contains(err.Error(), "move the directory away") {
		t.Errorf("beside a ledger on the disk: %v", err)
	}
	if strings.Contains(log.String(), password) {
		t.Error("the log holds the password")
	}
	one.URL = "postgres://u:" + password + "@[::1:bad/"
	if one.URLFile = ""; one.Check() != nil {
		t.Error(one.Check())
	}
	if err := one.Run(t.Context(), Env{}); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("a malformed connection string: %v", err)
	}
}

func TestLedgerSettings(t *testing.T) {
	for _, x := range []struct {
		l    Ledger
		data string
		want string
	}{
		{Ledger{}, "d", ""}, {Ledger{Store: "disk"}, "d", ""}, {Ledger{Store: "postgres", URL: "u"}, "d", ""}, {Ledger{Store: "postgres", URLFile: "u"}, "d", ""},
		{Ledger{Store: "postgres"}, "d", "want one of them"}, {Ledger{Store: "postgres", URL: "u", URLFile: "u"}, "d", "want one of them"},
		{Ledger{Store: "redis"}, "d", `"redis": want disk or postgres`}, {Ledger{URL: "SECRET"}, "d", "with ledger postgres"}, {Ledger{Store: "disk"}, "", "without data"},
	} {
		var p Problems
		x.l.Check(&p, x.data)
		if got := p.Error(); (got == "") != (x.want == "") || !strings.Contains(got, x.want) || strings.Contains(got, "SECRET") {
			t.Errorf("%+v: %q, want %q", x.l, got, x.want)
		}
	}
}
