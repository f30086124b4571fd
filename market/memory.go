package market

import (
	"cmp"
	"container/list"
	"math"
	"slices"
	"time"
)

const (
	// maxRemembered bounds the workers remembered per model after they disconnect, and
	// [Market.Recall] over all models.
	maxRemembered = 4096
	// rememberFor is how long failures in a row count after a worker left, and
	// keepFor how long anything does.
	rememberFor = 5 * time.Minute
	keepFor     = 30 * 24 * time.Hour
	// returnTrust is what is left of the weight of old knowledge when a worker comes back: it
	// may be another machine.
	returnTrust = 0.5
)

// memory knows workers that have left. The longest gone is forgotten first.
type memory struct {
	byKey map[string]*list.Element
	order list.List // of *past
}

type past struct {
	key    string
	seen   time.Time
	health health
}

// keep remembers an offer that has gone.
func (y *memory) keep(o *Offer, now time.Time) {
	if o.Key == "" || o.failures == 0 && o.pace.token.w == 0 && o.pace.start.w == 0 && o.lost == 0 {
		return
	}
	y.put(&past{o.Key, now, o.health})
}

func (y *memory) put(x *past) {
	if y.byKey == nil {
		y.byKey = map[string]*list.Element{}
	}
	if e, ok := y.byKey[x.key]; ok {
		e.Value = x
		y.order.MoveToBack(e)
		return
	}
	if y.order.Len() >= maxRemembered {
		oldest := y.order.Front()
		delete(y.byKey, oldest.Value.(*past).key)
		y.order.Remove(oldest)
	}
	y.byKey[x.key] = y.order.PushBack(x)
}

// recall is what is known of a worker that comes back. Its failures in a row are
// handed over once: from then on the offer itself knows.
func (y *memory) recall(key string, now time.Time) health {
	e, ok := y.byKey[key]
	if !ok || key == "" {
		return health{}
	}
	x := e.Value.(*past)
	if now.Sub(x.seen) > keepFor {
		return health{}
	}
	h := x.health
	if now.Sub(x.seen) >= rememberFor {
		h.failures = 0
	}
	x.health.failures = 0
	h.pace.token.fade(returnTrust)
	h.pace.start.fade(returnTrust)
	return h
}

// Record is what is worth knowing about a worker after the market has ended.
type Record struct {
	Model string    `json:"model"`
	Key   string    `json:"key"`
	Seen  time.Time `json:"seen"`
	// Failures in a row, and the share of requests that failed.
	Failures int       `json:"failures,omitempty"`
	RetryAt  time.Time `json:"retry_at,omitzero"`
	Lost     float64   `json:"lost,omitempty"`
	// First is the smoothed time to the first answer in seconds, Stray how far it strays.
	First float64 `json:"first_s,omitempty"`
	Stray float64 `json:"stray,omitempty"`
	// Token and Start are the sums behind the worker's seconds a token and to the first answer.
	Token Sums `json:"token"`
	Start Sums `json:"start"`
}

// Sums are those of a straight line fitted to what was seen: of weights, x, y, x² and xy.
type Sums [5]float64

// Remembered tells what the market knows about workers, those that are here and those that
// have left, to be given to [Market.Recall] of the next market. By model and key.
func (m *Market) Remembered() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Record
	now := m.cfg.Now()
	for _, p := range m.models {
		here := map[string]*Offer{}
		for _, o := range p.offers.offers {
			if o != nil && o.Key != "" && (here[o.Key] == nil || o.pace.token.w > here[o.Key].pace.token.w) {
				here[o.Key] = o
			}
		}
		for key, o := range here {
			out = append(out, o.health.record(p.name, key, now))
		}
		for key, e := range p.memory.byKey {
			if x := e.Value.(*past); here[key] == nil && now.Sub(x.seen) <= keepFor {
				out = append(out, x.health.record(p.name, key, x.seen))
			}
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Key, b.Key)) })
	return out
}

// Recall takes in what an earlier market remembered. Records that make no
// sense, come from the future or are too old are passed over; of too many the latest count.
// Call it before workers come: it says nothing about offers that are here already.
func (m *Market) Recall(records []Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	records = slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return !r.sensible(now) })
	slices.SortStableFunc(records, func(a, b Record) int { return a.Seen.Compare(b.Seen) })
	if extra := len(records) - maxRemembered; extra > 0 {
		records = records[extra:]
	}
	for _, r := range records {
		if _, ok := m.models[r.Model]; !ok && len(m.models) >= maxModels {
			continue
		}
		p := m.pool(r.Model)
		p.memory.put(&past{r.Key, r.Seen, r.health(now)})
	}
}

func (r *Record) sensible(now time.Time) bool {
	numbers := append(append([]float64{r.Lost, r.First, r.Stray}, r.Token[:]...), r.Start[:]...)
	bad := slices.ContainsFunc(numbers, func(v float64) bool { return math.IsNaN(v) || v < 0 || v > 1e9 })
	return !bad && r.Token.sensible() && r.Start.sensible() && r.Lost <= 1 && r.Failures >= 0 && r.Key != "" && len(r.Key) <= 512 && r.Model != "" && len(r.Model) <= 512 &&
		!r.Seen.After(now) && now.Sub(r.Seen) <= keepFor
}

// sensible says that a line can be drawn through the sums: nothing divides by next to nothing.
func (s Sums) sensible() bool {
	const leastWeight, mostMean = 1e-6, 1e6
	w := s[0]
	return s == Sums{} || w >= leastWeight && !slices.ContainsFunc(s[1:3], func(v float64) bool { return v/w > mostMean }) &&
		s[3]/w <= mostMean*mostMean && s[4]/w <= mostMean*mostMean
}

func (h *health) record(model, key string, seen time.Time) Record {
	return Record{Model: model, Key: key, Seen: seen, Failures: h.failures, RetryAt: h.retryAt, Lost: h.lost,
		First: h.pace.first, Stray: h.pace.stray, Token: h.pace.token.sums(), Start: h.pace.start.sums()}
}

func (r *Record) health(now time.Time) health {
	h := health{failures: min(r.Failures, 64), lost: r.Lost, retryAt: r.RetryAt}
	if latest := now.Add(2 * longestBackOff); h.retryAt.After(latest) {
		h.retryAt = latest
	}
	h.pace.first, h.pace.stray = r.First, r.Stray
	h.pace.token.restore(r.Token, usualCrowd)
	h.pace.start.restore(r.Start, 0)
	return h
}

func (l *trend) sums() Sums { return Sums{l.w, l.x, l.y, l.xx, l.xy} }

func (l *trend) restore(s Sums, usual float64) {
	if s[0] <= 0 || s[2] <= 0 {
		return
	}
	*l = trend{w: s[0], x: s[1], y: s[2], xx: s[3], xy: s[4]}
	l.fit(usual)
}
