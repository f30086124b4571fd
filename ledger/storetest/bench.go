package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
)

// Bench measures durable bookings from 1, 16 and 256 goroutines: how many a second, and how long one takes.
func Bench(b *testing.B, place func(b *testing.B) Place) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := place(b).Open()
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			l := Load(b, s, 1, ledger.Deposit{Paid: 1 << 60, Stake: 1 << 60})
			took := make([]time.Duration, b.N)
			var next sync.Mutex
			n := 0
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range writers {
				wg.Go(func() {
					client, worker := Account(g), Account(1000+g%50)
					for {
						next.Lock()
						i := n
						n++
						next.Unlock()
						if i >= b.N {
							return
						}
						start := time.Now()
						if err := Book(l, client, worker, 7); err != nil {
							b.Error(err)
							return
						}
						took[i] = time.Since(start)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "bookings/s")
			b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
		})
	}
}
