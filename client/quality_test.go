package client

import (
	"testing"
	"time"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// standing is a link as choose sees it.
type standing struct {
	first  time.Duration
	failed int // in a row
	rate   int32
	busy   int64
	trip   time.Duration
}

func (x standing) link(c *Client, now time.Time) *link {
	l := &link{c: c, market: true, trip: func() time.Duration { return x.trip }}
	if x.first > 0 {
		l.quality.served(x.first, now)
	}
	for range x.failed {
		l.quality.failed(now)
	}
	l.outstanding.Store(x.busy)
	m := &modelTable{at: now, workers: map[string][]openai.ModelWorker{"m": {{Coefficient: 1000}}}}
	if x.rate > 0 {
		m.book = map[string]*entry{"m": {CocoonBookModel: tl.CocoonBookModel{Name: "m", Now: tl.CocoonBookMoment{Coefficient: x.rate}}}}
	}
	l.table.models.Store(m)
	return l
}

// The better proxy gets nearly all, equals share, and nobody is forgotten.
func TestChooseByQuality(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := &Client{cfg: Config{Now: func() time.Time { return now }}}
	for name, x := range map[string]struct {
		a, b  standing
		sort  string
		share [2]float64 // of the first, at least and at most
	}{
		"alike":                     {standing{first: 500e6, rate: 1000}, standing{first: 510e6, rate: 1000}, "", [2]float64{0.4, 0.6}},
		"nothing known":             {standing{}, standing{}, "", [2]float64{0.4, 0.6}},
		"alike, the second is busy": {standing{first: 500e6}, standing{first: 500e6, busy: 3}, "", [2]float64{1, 1}},
		"faster":                    {standing{first: 200e6, rate: 1000}, standing{first: time.Second, rate: 1000}, "", [2]float64{0.95, 0.999}},
		"by milliseconds only":      {standing{first: 1e6}, standing{first: 4e6}, "", [2]float64{0.4, 0.6}},
		"cheaper":                   {standing{first: 500e6, rate: 1000}, standing{first: 500e6, rate: 2000}, "", [2]float64{0.95, 0.999}},
		"the other fails":           {standing{first: 500e6}, standing{first: 200e6, failed: 8}, "", [2]float64{0.95, 0.999}},
		"cheaper and slower":        {standing{first: time.Second, rate: 1000}, standing{first: 500e6, rate: 3000}, "latency", [2]float64{0.001, 0.05}},
		"the same, for the price":   {standing{first: time.Second, rate: 1000}, standing{first: 500e6, rate: 3000}, "price", [2]float64{0.95, 0.999}},
		"nothing known but the way": {standing{trip: 5e6}, standing{trip: 200e6}, "", [2]float64{0.95, 0.999}},
		"answers say more":          {standing{trip: 5e6, first: time.Second}, standing{trip: 200e6, first: 500e6}, "", [2]float64{0.001, 0.05}},
		"unknown is tried":          {standing{}, standing{first: 500e6}, "", [2]float64{0.4, 0.6}},
	} {
		links := []*link{x.a.link(c, now), x.b.link(c, now)}
		rq := &request{client: c, options: openai.Options{Model: "m"}}
		rq.wishes.Sort = sorts[x.sort]
		const n = 20_000
		first := 0
		for range n {
			if choose(links, rq) == links[0] {
				first++
			}
		}
		if share := float64(first) / n; share < x.share[0] || share > x.share[1] {
			t.Errorf("%s: the first got %.3f, want %v", name, share, x.share)
		}
	}
}

// A failure is forgiven with time.
func TestFailuresFade(t *testing.T) {
	var q quality
	now := time.Unix(1_000_000, 0)
	for range 30 {
		q.failed(now)
	}
	if _, lost := q.look(now); lost < 0.95 {
		t.Errorf("%.2f lost after 30 failures", lost)
	}
	if _, lost := q.look(now.Add(5 * lostHalves)); lost > 0.04 {
		t.Errorf("%.2f lost after %s", lost, 5*lostHalves)
	}
	for range 30 {
		q.served(time.Second, now)
	}
	if first, lost := q.look(now); lost > 0.05 || first != 1 {
		t.Errorf("first %.2f, %.2f lost after 30 answers", first, lost)
	}
}

// With real proxies: refusals for lack of room send the next requests elsewhere.
func TestBusyProxyIsAvoided(t *testing.T) {
	busy, free := &scriptedProxy{version: 4}, &scriptedProxy{version: 4}
	busy.onQuery = func(s *session, q *tl.ClientRunQueryEx) {
		s.refuse(q.RequestID, 429, 651, `{"error":{"message":"all busy","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`)
	}
	n := newNetwork(t, busy, free)
	c := n.startReady(n.config())
	n.awaitReady(c, 2)
	const asked = 200
	for range asked {
		if res, body := chat(t, c, chatBody); res.StatusCode != 200 {
			t.Fatalf("status %d: %s", res.StatusCode, body)
		}
	}
	if got := len(busy.seen()); got > asked/4 {
		t.Errorf("the busy proxy was asked %d times of %d", got, asked)
	}
}
