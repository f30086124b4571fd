//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/postgres"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

// impatient is what a silent server may take in these tests, within what a test waits.
const impatient, within = 700 * time.Millisecond, time.Minute

// line is a connection to the server that can be made silent: what is sent
// then arrives nowhere, and nothing comes back.
type line struct {
	dir string
	mu  sync.Mutex // guards the rest
	cut chan struct{}
}

func newLine(t *testing.T, s *storetest.Postgres) *line {
	t.Helper()
	l := &line{dir: t.TempDir(), cut: make(chan struct{})}
	door, err := net.Listen("unix", filepath.Join(l.dir, filepath.Base(s.Socket())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { door.Close() })
	go func() {
		for {
			near, err := door.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", s.Socket())
			if err != nil {
				near.Close()
				return
			}
			go l.carry(near, far)
			go l.carry(far, near)
		}
	}()
	return l
}

func (l *line) carry(to, from net.Conn) {
	b := make([]byte, 1<<15)
	for {
		n, err := from.Read(b)
		if err != nil {
			to.Close()
			return
		}
		select {
		case <-l.cut: // read on, so that nobody notices
		default:
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
}

func (l *line) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.cut:
	default:
		close(l.cut)
	}
}

func (l *line) open(t *testing.T, name string) ledger.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), fmt.Sprintf("host=%s user=postgres dbname=postgres", l.dir), postgres.Options{Ledger: name, Timeout: impatient})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// ends wants f to fail within a time, whatever the server does.
func ends(t *testing.T, what string, f func() error) {
	t.Helper()
	failed := make(chan error, 1)
	go func() { failed <- f() }()
	select {
	case err := <-failed:
		if err == nil {
			t.Errorf("%s succeeds on a silent server", what)
		}
	case <-time.After(within):
		t.Fatalf("%s hangs on a silent server", what)
	}
}

// A server that takes connections and never answers lets nobody wait for ever.
func TestSilentServer(t *testing.T) {
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, c)
		}
	}()
	host, port, _ := net.SplitHostPort(door.Addr().String())
	ends(t, "opening", func() error {
		s, err := postgres.Open(context.Background(), fmt.Sprintf("host=%s port=%s user=u dbname=d sslmode=disable", host, port), postgres.Options{Timeout: impatient})
		if err == nil {
			s.Close()
		}
		return err
	})
}

// A server that falls silent in the middle of anything is a failed store.
func TestServerFallsSilent(t *testing.T) {
	server := theServer(t)
	for what, do := range map[string]func(*ledger.Ledger, ledger.Store, *line) error{
		"loading": func(_ *ledger.Ledger, s ledger.Store, l *line) error {
			l.silence()
			_, err := ledger.New(ledger.Config{Store: s, Key: storetest.Key})
			return err
		},
		"loading half": func(_ *ledger.Ledger, s ledger.Store, l *line) error {
			return s.Load(0, func(ledger.Record) error { l.silence(); return nil })
		},
		"reading the history": func(_ *ledger.Ledger, s ledger.Store, l *line) error {
			return s.History(func(ledger.Record) error { l.silence(); return nil })
		},
		"compacting": func(b *ledger.Ledger, _ ledger.Store, l *line) error { l.silence(); return b.Compact() },
		"compacting half": func(_ *ledger.Ledger, s ledger.Store, l *line) error {
			return s.Compact(2, silencing(l))
		},
		"booking": func(b *ledger.Ledger, _ ledger.Store, l *line) error {
			l.silence()
			return storetest.Book(b, "c", "w", 1)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, server)
			s := l.open(t, fmt.Sprint("silent ", places.Add(1)))
			b := storetest.Load(t, s, 1, storetest.Credit)
			for i := range 3 {
				if err := storetest.Book(b, storetest.Account(i), "w", 5); err != nil {
					t.Fatal(err)
				}
			}
			ends(t, what, func() error { return do(b, s, l) })
		})
	}
}

func silencing(l *line) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for part := range 2 {
			if !yield(ledger.Record{First: 2, Last: 2, Data: []byte{byte(part)}}, nil) {
				return
			}
			l.silence()
		}
	}
}
