package disk_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

func BenchmarkBookings(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) storetest.Place { return place{b.TempDir(), disk.Options{}} })
}

// BenchmarkSync is the disk of the moment: one write of 200 bytes and a sync. Read the others beside it.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 200)
	for b.Loop() {
		f.Write(block)
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
}

// unsynced makes the preparation of a benchmark quick.
type unsynced struct{ disk.OS }

type unsyncedFile struct{ disk.File }

func (unsyncedFile) Sync() error { return nil }

func (u unsynced) OpenFile(name string, flag int) (disk.File, error) {
	f, err := u.OS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

// BenchmarkRecover starts with a million accounts: from the log of their bookings, and from a snapshot.
func BenchmarkRecover(b *testing.B) {
	const accounts = 1_000_000
	dir := b.TempDir()
	opt := disk.Options{FS: unsynced{}, DropHistory: true}
	s, err := disk.Open(dir, opt)
	if err != nil {
		b.Fatal(err)
	}
	l := storetest.Load(b, s, 1, storetest.Credit)
	var wg sync.WaitGroup
	for g := range 256 {
		wg.Go(func() {
			for i := g; i < accounts; i += 256 {
				if err := storetest.Book(l, storetest.Account(i), storetest.Account(accounts+i%1000), 7); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, from := range []string{"log", "snapshot"} {
		b.Run(from, func(b *testing.B) {
			if from == "snapshot" {
				start := time.Now()
				if err := l.Compact(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(start).Seconds(), "s-to-compact")
			}
			for b.Loop() {
				l, err := ledger.New(ledger.Config{Store: s, Key: storetest.Key})
				if err != nil {
					b.Fatal(err)
				}
				_ = l
			}
			b.ReportMetric(float64(size(b, dir))/accounts, "bytes/account")
		})
	}
}

func size(b *testing.B, dir string) (sum int64) {
	list, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range list {
		if i, err := e.Info(); err == nil && !strings.HasSuffix(e.Name(), ".new") {
			sum += i.Size()
		}
	}
	return sum
}
