//go:build linux || darwin

package wallet

import (
	"context"
	"errors"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/opencocoon/cocoon/coin"
)

// The system itself takes half a line and refuses the rest.
func TestFileCannotGrow(t *testing.T) {
	n := newNode(newWorld(t), 1)
	n.fund(n.driver.Address(), 20*coin.TON)
	first, second := letter(1, 1, coin.TON), letter(2, 2, coin.TON)
	h := n.enqueue(first)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Skip("no limit of file sizes here: ", err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	end := n.driver.journal.end
	limit := before
	limit.Cur = uint64(end + 20)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Skip("cannot limit file sizes here: ", err)
	}
	_, err := n.driver.Enqueue(context.Background(), second)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), "not accepted") {
		t.Errorf("enqueue: %v, want that the file cannot grow", err)
	}
	if info, err := n.driver.journal.file.Stat(); err != nil || info.Size() != end {
		t.Errorf("the journal has %d bytes, %v; want %d as before", info.Size(), err, end)
	}
	n.kill("")
	n.revive()
	h2 := n.enqueue(second)
	n.settle()
	n.exactly(n.driver.Find(h.ID()), first)
	n.exactly(h2, second)
}
