package attest_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// BenchmarkCachedVerdict reports the memory of one verdict that is remembered.
func BenchmarkCachedVerdict(b *testing.B) {
	a, key, now := authority(b), newKey(b), time.Now()
	var before, after runtime.MemStats
	var quotes [][]byte
	for b.Loop() {
		q := quote(b, a.Machine("x"), key) // signed anew, so it is another one
		quotes = append(quotes, q)
	}
	p := &attest.Policy{AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a}), Cache: attest.NewCache(len(quotes))}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, q := range quotes {
		if _, err := p.Judge(b.Context(), attest.Quoted(q), key, now); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(len(quotes)), "bytes/verdict")
	runtime.KeepAlive(p)
	runtime.KeepAlive(quotes)
}
