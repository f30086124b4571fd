package proxy

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
)

// One machine cannot be a hundred owners, each of whose accounts costs gas when
// it is closed; those that it is may come as often as they like.
func TestOwnersOfOneMachine(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		owner := func(i byte) string {
			id := make([]byte, 32)
			id[0] = i
			return address.NewAddress(0, 0, id).String()
		}
		for i := range byte(maxOwners) {
			r.worker(workerOptions{version: 4, owner: owner(i)})
		}
		r.worker(workerOptions{version: 4, owner: owner(0)})
		w := r.dial(r.workers, image)
		mustAsk[*tl.WorkerConnectedToProxy](w, &tl.WorkerConnectToProxy{Params: tl.WorkerParams{Flags: 3, WorkerOwnerAddress: owner(maxOwners), Model: modelText,
			Coefficient: 1000, IsTest: true, ProxyCnt: 1, MaxActiveRequests: 1, MinProtoVersion: 4, MaxProtoVersion: 4}})
		if _, err := w.ask(&tl.WorkerCompareBalanceWithProxy{}); err == nil || !strings.Contains(err.Error(), "16 owners") {
			t.Errorf("one owner too many: %v", err)
		}
		if n := len(r.book.Workers()); n != maxOwners {
			t.Errorf("%d accounts, want %d", n, maxOwners)
		}
	})
}

// An owner to whom something is owed is let in, whoever came from there before:
// without a connection it gets no promises.
func TestOwnerWithEarnings(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		w.serve(5)
		c.answer(question(1).RequestID, true)
		r.p.owners = owners{} // as after a restart
		for i := range byte(maxOwners) {
			id := make([]byte, 32)
			id[0] = i
			r.worker(workerOptions{version: 4, owner: address.NewAddress(0, 0, id).String()})
		}
		r.worker(workerOptions{version: 4})
	})
}

func TestOwnersAdmit(t *testing.T) {
	var o owners
	at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 5} }
	for i := range 3 * maxOwners {
		if !o.admit(1, at("127.0.0.1"), fmt.Sprint(i)) || !o.admit(1, at("::1"), fmt.Sprint(i)) || !o.admit(1, &net.UnixAddr{Name: "x"}, fmt.Sprint(i)) {
			t.Fatal("this machine is a router's, too")
		}
		if ok := o.admit(1, at("2001:db8::"+fmt.Sprint(i)), fmt.Sprint(i)); ok != (i < maxOwners) {
			t.Errorf("owner %d of a network: %v", i, ok)
		}
	}
	if !o.admit(1, at("2001:db8:0:1::1"), "x") || !o.admit(2, at("2001:db8::1"), "x") {
		t.Error("another network, or other parameters")
	}
}

// shy is a book whose accounts are counted when somebody lists them.
type shy struct {
	ledger.Book
	listed int
}

func (s *shy) Everyone() ([]ledger.Client, []ledger.Worker) { s.listed++; return s.Book.Everyone() }
func (s *shy) Clients() []ledger.Client                     { s.listed++; return s.Book.Clients() }
func (s *shy) Workers() []ledger.Worker                     { s.listed++; return s.Book.Workers() }

// A scrape does not go through the accounts; a page lists both sides at once.
func TestAccountsAreListedOnce(t *testing.T) {
	book := &shy{}
	inBubble(t, func(cfg *Config) { book.Book = cfg.Book; cfg.Book = book }, func(r *rig) {
		if r.p.metrics(); book.listed != 0 {
			t.Errorf("a scrape lists the accounts %d times", book.listed)
		}
		if r.p.Snapshot(); book.listed != 1 {
			t.Errorf("a page lists the accounts %d times, want both sides at one moment", book.listed)
		}
	})
}
