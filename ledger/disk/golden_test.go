package disk_test

import (
	"bytes"
	"crypto/ed25519"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

var makeGolden = flag.Bool("make-golden", false, "write testdata/v1 anew; a released format must never need it")

// A ledger that the first version of the format wrote is read by this one, and
// goes on. It holds every kind of event, a snapshot with its history, and a log behind it.
func TestReadsVersion1(t *testing.T) {
	const golden = "testdata/v1"
	if *makeGolden {
		writeGolden(t, golden)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir, disk.Options{})
	var out bytes.Buffer
	if err := ledger.Export(s, &out); err != nil {
		t.Fatal(err)
	}
	sum, err := ledger.Audit(bytes.NewReader(out.Bytes()), storetest.Key.Public().(ed25519.PublicKey))
	if err != nil || !sum.Complete || sum.Moved != 110 || len(sum.Generations) != 1 {
		t.Fatalf("%+v, %v", sum, err)
	}
	want, err := os.ReadFile("testdata/v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("the export is not what it was:\n%s", out.Bytes())
	}
	l := storetest.Load(t, s, 2, ledger.Deposit{})
	if g := l.Generations()[0]; len(l.Generations()) != 1 || g.Number != 2 || g.Fee != 18 {
		t.Errorf("generations %+v", l.Generations())
	}
	if c := l.Clients(); len(c) != 1 || c[0].Used != (ledger.Levels{Max: 55, DB: 55, Chain: 50}) || c[0].Charged != 50 || c[0].Deposit != (ledger.Deposit{Paid: 1049, Stake: 200}) {
		t.Errorf("clients %+v", c)
	}
	number, session, ok := l.Note()
	if err := l.NoteSeen(number, session); err != nil || !ok {
		t.Fatal(err)
	}
	if err := storetest.Book(l, storetest.Account(2), storetest.Account(101), 1); err != nil {
		t.Error(err)
	}
}

func writeGolden(t *testing.T, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.RemoveAll(dir))
	s := openIn(t, dir, disk.Options{})
	l, err := ledger.New(ledger.Config{Store: s, Key: storetest.Key, Now: func() time.Time { return time.Unix(1_793_000_000, 0) }})
	must(err)
	one, two, worker := storetest.Account(1), storetest.Account(2), storetest.Account(101)
	begin := func(params uint32) {
		must(l.Begin(storetest.Terms(params, ledger.Deposit{})))
		must(l.SeeClient(params, two, ledger.ClientState{Balance: 1000 * 20, Stake: 200 * 20, LT: 5}))
		must(l.SeeProxy(params, ledger.ProxyState{Balance: 7, Stake: 8, LT: 6, Hash: ledger.Hash{1, 2, 3}}))
	}
	note := func() {
		number, session, _ := l.Note()
		must(l.NoteSeen(number, session))
	}
	begin(1)
	note()
	must(storetest.Book(l, two, worker, 50))
	must(l.SeeClient(1, one, ledger.ClientState{Balance: 1000 * 20, Stake: 5 * 20, LT: 7}))
	_, err = l.OpenClient(one)
	must(err)
	h, err := l.Reserve(one, 1)
	must(err)
	_, err = l.Settle(h, worker, 1000) // it can pay 5
	must(err)
	note()
	must(l.SeeClient(1, two, ledger.ClientState{Balance: 950 * 20, Stake: 200 * 20, Charged: 50, LT: 8}))
	must(l.SeeWorker(1, worker, ledger.WorkerState{Paid: 50, LT: 9}))
	begin(2)
	must(storetest.Book(l, two, worker, 50))
	number, session, _ := l.Note()
	must(l.Compact())
	must(l.NoteSeen(number, session))
	must(storetest.Book(l, two, "a name that is no address", 5))
	must(l.SeeProxy(1, ledger.ProxyState{State: ledger.Closed, LT: 10}))
	must(l.SeeClient(2, two, ledger.ClientState{Balance: 1000 * 20, Stake: 200 * 20, Debt: 1, Charged: 50, LT: 11}))
	must(l.SeeWorker(2, worker, ledger.WorkerState{Paid: 50, LT: 12}))
	must(l.Close())
	must(os.Remove(filepath.Join(dir, "lock")))
	s = openIn(t, dir, disk.Options{})
	var out bytes.Buffer
	must(ledger.Export(s, &out))
	must(os.WriteFile(dir+".jsonl", out.Bytes(), 0o644))
	must(s.Close())
	must(os.Remove(filepath.Join(dir, "lock")))
}
