//go:build unix

package postgres_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/postgres"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

// A write that its proxy gave up, and that the server carries out later all the
// same, is either there when the next proxy loads the ledger, or never.
func TestLateWrite(t *testing.T) {
	for _, takenOver := range []bool{false, true} {
		t.Run(fmt.Sprint("taken over ", takenOver), func(t *testing.T) {
			p := newPlace(t)
			open := func() (*postgres.Store, error) {
				return postgres.Open(t.Context(), p.s.Connection(), postgres.Options{Ledger: p.name, Timeout: impatient})
			}
			s, err := open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			l := storetest.Load(t, s, 1, storetest.Credit)
			if err := storetest.Book(l, "c", "w", 5); err != nil {
				t.Fatal(err)
			}
			conn, err := pgx.Connect(t.Context(), p.s.Connection())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			block, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := block.Exec(t.Context(), `select from cocoon_ledger where name = $1 for update`, p.name); err != nil {
				t.Fatal(err)
			}
			if err := storetest.Book(l, "c", "w", 7); !errors.Is(err, ledger.ErrStore) {
				t.Errorf("booking on a server that does not come to it: %v", err)
			}
			if _, err := open(); err == nil {
				t.Error("a second proxy began while the first one's write was still to come")
			}
			if takenOver {
				if _, err := block.Exec(t.Context(), `update cocoon_ledger set epoch = epoch + 1 where name = $1`, p.name); err != nil {
					t.Fatal(err)
				}
			}
			if err := block.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			second, err := open()
			for until := time.Now().Add(within); err != nil && time.Now().Before(until); { // the server notices a lost connection late
				second, err = open()
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { second.Close() })
			again := storetest.Load(t, second, 1, storetest.Credit)
			before := used(again)
			if before != 5 && (takenOver || before != 12) {
				t.Errorf("%d tokens, want 5, or 12 if nobody took over", before)
			}
			if err := storetest.Book(again, "c", "w", 1); err != nil {
				t.Error(err)
			}
			again.Close()
			if after := used(storetest.Load(t, p.must(t), 1, storetest.Credit)); after != before+1 {
				t.Errorf("%d tokens in the end, want %d", after, before+1)
			}
		})
	}
}
