//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/postgres"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

type place struct {
	s    *storetest.Postgres
	name string
}

var places atomic.Int64

func newPlace(t *testing.T) place {
	return place{theServer(t), fmt.Sprint("ledger ", places.Add(1))}
}

func (p place) Open() (ledger.Store, error) {
	s, err := postgres.Open(context.Background(), p.s.Connection(), postgres.Options{Ledger: p.name})
	if err != nil {
		return nil, err // not s: a nil *Store in an interface is not nil
	}
	return s, nil
}

func (p place) Look() (ledger.Store, error) {
	s, err := postgres.Look(p.s.Connection(), postgres.Options{Ledger: p.name})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p place) must(t *testing.T) ledger.Store {
	t.Helper()
	s, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (p place) sql(t *testing.T, query string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.s.Connection())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

var (
	started    sync.Once
	running    *storetest.Postgres
	notRunning error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if running != nil {
		running.Stop()
	}
	os.Exit(code)
}

// theServer starts it once, or skips the test where PostgreSQL is not installed.
func theServer(t testing.TB) *storetest.Postgres {
	t.Helper()
	started.Do(func() { running, notRunning = storetest.StartPostgres() })
	if errors.Is(notRunning, storetest.ErrNotInstalled) {
		t.Skip(notRunning)
	}
	if notRunning != nil {
		t.Fatal(notRunning)
	}
	return running
}

func TestStore(t *testing.T) {
	theServer(t)
	storetest.Run(t, func(t *testing.T) storetest.Place { return newPlace(t) }, storetest.Options{})
}

func used(l *ledger.Ledger) (sum int64) {
	for _, c := range l.Clients() {
		sum += c.Used.DB
	}
	return sum
}

// A proxy that was taken over without noticing cannot write, nor compact.
func TestFencing(t *testing.T) {
	p := newPlace(t)
	l := storetest.Load(t, p.must(t), 1, storetest.Credit)
	if err := storetest.Book(l, "c", "w", 5); err != nil {
		t.Fatal(err)
	}
	// What another proxy does when this one's connection has died, seen from the database.
	p.sql(t, `update cocoon_ledger set epoch = epoch + 1 where name = $1`, p.name)
	if err := l.Compact(); !errors.Is(err, ledger.ErrHeld) {
		t.Errorf("compacting: %v, want %v", err, ledger.ErrHeld)
	}
	if err := storetest.Book(l, "c", "w", 7); !errors.Is(err, ledger.ErrStore) || !errors.Is(err, ledger.ErrHeld) {
		t.Errorf("booking: %v, want %v", err, ledger.ErrHeld)
	}
	if err := storetest.Book(l, "c", "w", 7); !errors.Is(err, ledger.ErrStore) {
		t.Errorf("booking again: %v", err)
	}
	l.Close()
	if l = storetest.Load(t, p.must(t), 1, storetest.Credit); used(l) != 5 {
		t.Errorf("%d tokens, want 5", used(l))
	}
}

// A lost connection is a failed store; whoever starts next finds what was acknowledged.
func TestLostConnection(t *testing.T) {
	p := newPlace(t)
	l := storetest.Load(t, p.must(t), 1, storetest.Credit)
	if err := storetest.Book(l, "c", "w", 5); err != nil {
		t.Fatal(err)
	}
	p.sql(t, `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = hashtext($1)::bigint & 4294967295`, p.name)
	if err := storetest.Book(l, "c", "w", 7); !errors.Is(err, ledger.ErrStore) {
		t.Errorf("booking: %v, want %v", err, ledger.ErrStore)
	}
	second := storetest.Load(t, p.must(t), 1, storetest.Credit)
	if used(second) != 5 {
		t.Errorf("%d tokens, want 5", used(second))
	}
	if err := storetest.Book(second, "c", "w", 1); err != nil {
		t.Error(err)
	}
}

// The server crashes in the middle of many bookings and recovers: everything acknowledged is there.
func TestServerCrash(t *testing.T) {
	p := newPlace(t)
	l := storetest.Load(t, p.must(t), 1, storetest.Credit)
	var acknowledged [4]atomic.Int64
	enough, done := make(chan struct{}), make(chan struct{})
	for g := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := 0; storetest.Book(l, "c", fmt.Sprint("w", g), 1) == nil; i++ {
				if acknowledged[g].Add(1); g == 0 && i == 50 {
					close(enough)
				}
			}
		}()
	}
	<-enough
	if err := p.s.Crash(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		<-done
	}
	if !errors.Is(l.Health(), ledger.ErrStore) {
		t.Errorf("health after the crash: %v", l.Health())
	}
	l = storetest.Load(t, p.must(t), 1, storetest.Credit)
	for _, w := range l.Workers() {
		n := acknowledged[w.Owner[1]-'0'].Load()
		if w.Earned.DB != n && w.Earned.DB != n+1 {
			t.Errorf("worker %s has %d tokens, %d were acknowledged", w.Owner, w.Earned.DB, n)
		}
	}
}

func TestRefusals(t *testing.T) {
	p := newPlace(t)
	p.must(t).Close()
	p.sql(t, `update cocoon_ledger set version = 2 where name = $1`, p.name)
	if _, err := p.Open(); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer tables: %v", err)
	}
	const password = "s3cret"
	_, err := postgres.Open(t.Context(), "postgres://u:"+password+"@[::1:bad/", postgres.Options{})
	if err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("a malformed connection string: %v", err)
	}
}
