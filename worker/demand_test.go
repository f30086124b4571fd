package worker

import (
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/tl"
)

// risingPricer asks for 100 more at each look after it has seen a request, up to 1300.
type risingPricer struct {
	price uint32
	used  *atomic.Int32 // the highest use seen
}

func (p *risingPricer) Use(running, limit int, _ time.Time) {
	if limit == 8 {
		p.used.Store(max(p.used.Load(), int32(running)))
	}
}

func (p *risingPricer) Next(time.Time) (uint32, bool) {
	if p.used.Load() == 0 || p.price >= 1300 {
		return p.price, false
	}
	p.price += 100
	return p.price, true
}

// The price follows the pricer: proxies hear of each change, and it is remembered.
func TestPriceFollowsDemand(t *testing.T) {
	var used atomic.Int32
	book := bookIn(t, t.TempDir(), 0)
	s := start(t, newProxy(t), enginetest.Fast(), func(c *Config) {
		c.Book, c.Coefficient = book, 800
		c.Pricer = func(coefficient int32, _ time.Time) Pricer {
			return &risingPricer{uint32(coefficient) + 200, &used} // above its floor
		}
	})
	h := s.connected()
	if got := h.p.params[0].Coefficient; got != 1000 {
		t.Errorf("began at %d, want the pricer's 1000", got)
	}
	h.run(query(post(pathChat, chat(""))))
	for _, want := range []int32{1100, 1200, 1300} {
		for {
			if m, ok := h.next().(*tl.WorkerNewCoefficient); ok {
				if m.NewCoefficient != want {
					t.Errorf("announced %d, want %d", m.NewCoefficient, want)
				}
				break
			}
		}
	}
	if n := used.Load(); n != 1 {
		t.Errorf("%d requests at once were seen, want 1", n)
	}
	if _, err := s.w.changeCoefficient(t.Context(), url.Values{"coefficient": {"2"}}); err == nil {
		t.Error("the price was set by hand while it follows demand")
	}
	end := time.Now().Add(time.Minute)
	for c := int32(0); c != 1300; c, _ = book.Remembered(s.w.cfg.Coefficient) { // a moment after it was announced
		if time.Now().After(end) {
			t.Fatalf("remembered %d, want 1300", c)
		}
		time.Sleep(time.Millisecond)
	}
	if !s.w.Snapshot().Local.Auto {
		t.Error("the pages do not say that the price follows demand")
	}
}
