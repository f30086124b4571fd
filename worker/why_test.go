package worker

import (
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/tl"
)

// What the proxy says about the work it gives is shown; one that does not know
// the question is not asked.
func TestWhy(t *testing.T) {
	p := newProxy(t)
	p.features = []string{tl.FeatureMarket}
	s := start(t, p, enginetest.Fast(), nil)
	s.connected()
	var why *Reasons
	for end := time.Now().Add(10 * time.Second); why == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		why = s.w.Snapshot().Proxies[0].Why
	}
	if why == nil || why.Cause != "outbid" || why.Text != "outbid: try 900 " || why.WouldWinAt != 900 || why.Won != 1 {
		t.Errorf("%+v", why)
	}
	reference := newProxy(t)
	s = start(t, reference, enginetest.Fast(), nil)
	h := s.connected()
	h.run(query(post(pathChat, chat(""))))
	reference.mu.Lock()
	defer reference.mu.Unlock()
	for _, name := range reference.asked {
		if name == "cocoon.whyIdle" {
			t.Error("a proxy without the feature was asked")
		}
	}
}
