package market

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	type step struct {
		wait   time.Duration
		tokens int64 // of the request that ends first, -1: none ends
		what   string
		retry  time.Duration
	}
	for _, x := range []struct {
		name  string
		l     Limits
		steps []step
	}{
		{"none", Limits{}, []step{{0, -1, "", 0}, {0, -1, "", 0}, {0, 1e12, "", 0}}},
		{"requests", Limits{Requests: 4}, []step{{0, -1, "", 0}, {0, -1, "", 0}, {0, -1, "requests", 15 * time.Second}, {14 * time.Second, -1, "requests", time.Second}, {time.Second, -1, "", 0}, {0, -1, "requests", 15 * time.Second}, {time.Hour, -1, "", 0}, {0, -1, "", 0}, {0, -1, "requests", 15 * time.Second}}},
		{"one a minute", Limits{Requests: 1}, []step{{0, -1, "", 0}, {0, -1, "requests", time.Minute}}},
		{"concurrent", Limits{Concurrent: 2}, []step{{0, -1, "", 0}, {0, -1, "", 0}, {time.Hour, -1, "concurrent", 0}, {0, 5, "", 0}, {0, -1, "concurrent", 0}}},
		{"tokens", Limits{Tokens: 600}, []step{{0, -1, "", 0}, {0, 1800, "tokens", 2*time.Minute + 100*time.Millisecond}, {2 * time.Minute, -1, "tokens", 100 * time.Millisecond}, {100 * time.Millisecond, -1, "", 0}}},
		{"negative tokens", Limits{Tokens: 600}, []step{{0, -1, "", 0}, {0, -1e9, "", 0}}},
	} {
		now := time.Unix(1000, 0)
		l := NewLimiter(x.l, func() time.Time { return now })
		for i, s := range x.steps {
			now = now.Add(s.wait)
			if s.tokens != -1 {
				l.End("c", s.tokens)
			}
			err := l.Begin("c")
			var limit *LimitError
			if errors.As(err, &limit) != (s.what != "") || limit != nil && (limit.What != s.what || (limit.RetryAfter-s.retry).Abs() > time.Microsecond) {
				t.Errorf("%s, step %d: %v, want %q and %s", x.name, i, err, s.what, s.retry)
			}
			if l.Begin("another") != nil && x.name != "concurrent" && i == 0 {
				t.Errorf("%s: another client is refused", x.name)
			}
		}
	}
}

// Clients who have gone are forgotten, those who owe are not.
func TestLimiterForgets(t *testing.T) {
	now := time.Unix(1000, 0)
	l := NewLimiter(Limits{Requests: 60, Tokens: 100, Concurrent: 5}, func() time.Time { return now })
	l.Begin("runs")
	l.Begin("owes")
	l.End("owes", 1_000_000)
	for i := range 10_000 {
		now = now.Add(time.Second)
		name := fmt.Sprint(i)
		l.Begin(name)
		l.End(name, 1)
	}
	if n := len(l.clients); n > 100 {
		t.Errorf("%d clients are known, want few more than came in the last minute", n)
	}
	if err := l.Begin("owes"); err == nil {
		t.Error("a debt was forgotten")
	}
	for range 4 {
		l.Begin("runs")
	}
	if err := l.Begin("runs"); err == nil {
		t.Error("a running request was forgotten")
	}
	l.End("stranger", 5) // ends nothing
}

func BenchmarkLimiter(b *testing.B) {
	now := time.Unix(1000, 0)
	l := NewLimiter(Limits{Requests: 60, Tokens: 1e6, Concurrent: 5}, func() time.Time { return now })
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprint(i)
		l.Begin(names[i])
		l.End(names[i], 1)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		now = now.Add(time.Millisecond)
		if name := names[i%len(names)]; l.Begin(name) == nil {
			l.End(name, 100)
		}
		i++
	}
}
