package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets whose width is at most 1/64 of their
// value, from 1 ns to hours. The zero Histogram is ready; it is safe for
// concurrent use and takes 17 KiB.
type Histogram struct {
	buckets [octaves * perOctave]atomic.Int64
	count   atomic.Int64
	sum     atomic.Int64
	max     atomic.Int64
}

const (
	perOctaveBits = 6
	perOctave     = 1 << perOctaveBits
	octaves       = 64 - perOctaveBits
)

// bucket maps the first 64 values to themselves; then each doubling of the
// value is split into 64 equal parts.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-perOctaveBits-1, 0)
	return shift<<perOctaveBits + int(v>>shift)
}

// middle is the value in the middle of a bucket.
func middle(i int) time.Duration {
	shift := max(i>>perOctaveBits-1, 0)
	low := uint64(i-shift<<perOctaveBits) << shift
	return time.Duration(low + (uint64(1)<<shift-1)/2)
}

// Record counts d; a negative duration, which clocks allow, counts as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucket(uint64(d))].Add(1)
	h.count.Add(1)
	h.sum.Add(int64(d))
	for {
		old := h.max.Load()
		if int64(d) <= old || h.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// Quantile returns the duration that the share q (0 to 1) of all did not
// exceed; 0 if nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	count := h.count.Load()
	if count == 0 {
		return 0
	}
	rank := int64(q*float64(count) + 0.5)
	rank = min(max(rank, 1), count)
	var seen int64
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen >= rank {
			return min(middle(i), time.Duration(h.max.Load()))
		}
	}
	return time.Duration(h.max.Load())
}

// Latency is a histogram in the figures that reports name, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Latency sums the histogram up.
func (h *Histogram) Latency() Latency {
	l := Latency{
		Count: h.count.Load(),
		P50:   milliseconds(h.Quantile(0.50)),
		P90:   milliseconds(h.Quantile(0.90)),
		P99:   milliseconds(h.Quantile(0.99)),
		Max:   milliseconds(time.Duration(h.max.Load())),
	}
	if l.Count > 0 {
		l.Mean = milliseconds(time.Duration(h.sum.Load() / l.Count))
	}
	return l
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
