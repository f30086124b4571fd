//go:build unix

package disk_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

// TestMain lets the test's binary be the process that is killed: it books from
// many goroutines and says so, one line per acknowledged booking.
func TestMain(m *testing.M) {
	dir := os.Getenv("LEDGER_TEST_BOOK_IN")
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := bookForEver(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func bookForEver(dir string) error {
	s, err := disk.Open(dir, disk.Options{SegmentSize: 20_000})
	if err != nil {
		return err
	}
	l, err := ledger.New(ledger.Config{Store: s, Key: storetest.Key})
	if err != nil {
		return err
	}
	if err := l.Begin(ledger.Terms{Params: 1, Contract: "proxy", Price: 20, Fee: 18, Credit: ledger.Deposit{Paid: 1 << 60, Stake: 1 << 60}}); err != nil {
		return err
	}
	failed := make(chan error)
	var out sync.Mutex // one line at a time
	for g := range 8 {
		go func() {
			for i := int64(1); ; i++ {
				if err := storetest.Book(l, "c", fmt.Sprint("w", g), i); err != nil {
					failed <- err
				}
				out.Lock()
				fmt.Println(g, i)
				out.Unlock()
				if g == 0 && i%50 == 0 {
					if err := l.Compact(); err != nil {
						failed <- err
					}
				}
			}
		}()
	}
	return <-failed
}

// A process is killed in the middle of its work, again and again: whatever it
// said was booked is booked.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	last := map[string]int64{} // of each goroutine of the running process
	before := map[string]int64{}
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LEDGER_TEST_BOOK_IN="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		clear(last)
		for n := 0; lines.Scan(); n++ {
			if who, count, ok := strings.Cut(lines.Text(), " "); ok && len(lines.Text()) > 3 {
				last["w"+who], _ = strconv.ParseInt(count, 10, 64)
			}
			if n == 500+100*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
			t.Fatalf("the process was to be killed: %v", err)
		}
		s := openIn(t, dir, disk.Options{})
		l, err := ledger.New(ledger.Config{Store: s, Key: storetest.Key})
		if err == nil {
			err = l.Begin(ledger.Terms{Params: 1, Contract: "proxy", Price: 20, Fee: 18, Credit: ledger.Deposit{Paid: 1 << 60, Stake: 1 << 60}})
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Check(); err != nil {
			t.Error(err)
		}
		for _, w := range l.Workers() {
			n := last[w.Owner]
			least := before[w.Owner] + n*(n+1)/2
			if most := least + n + 1; w.Earned.DB != least && w.Earned.DB != most {
				t.Errorf("round %d: %s has %d tokens, want %d, or %d with the one that was under way", round, w.Owner, w.Earned.DB, least, most)
			}
			before[w.Owner] = w.Earned.DB
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
