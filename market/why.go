package market

import (
	"fmt"
	"slices"
	"time"
)

// maxRecent is how many requests of a model are kept to tell workers why they did not get them.
const maxRecent = 128

// recent are the latest requests of a model, in a ring.
type recent struct {
	all  []asked
	next int
}

// asked is a request that was decided, as far as it may be told to workers.
type asked struct {
	at              time.Time
	ceiling         uint32
	needs           traits
	named, excluded bool // by the caller: workers were
	by              Sort
	verdict         Verdict
	winner          uint64 // serial
	price           uint32
	score           float64
	slowness        float64
	way             Way
}

func (r *recent) add(w *Want, o *Offer, d Decision, now time.Time) {
	if r.all == nil {
		r.all = make([]asked, 0, maxRecent)
	}
	x := asked{at: now, ceiling: w.MaxCoefficient, needs: w.needs(), named: len(w.Only)+len(w.Ignore)+len(w.Order) > 0, excluded: len(w.Exclude) > 0,
		by: w.Sort, verdict: d.Verdict, price: d.Coefficient, score: d.Score, slowness: d.Slowness, way: d.Why}
	if o != nil {
		x.winner = o.serial
	}
	if len(r.all) < maxRecent {
		r.all = append(r.all, x)
		return
	}
	r.all[r.next] = x
	r.next = (r.next + 1) % maxRecent
}

// Cause is why an offer gets no work, or that it does.
type Cause int

const (
	// Works: it got one of the latest requests.
	Works Cause = iota
	// IsGone: its connection has ended.
	IsGone
	// IsDisabled: it takes no requests, by its own wish or the proxy's.
	IsDisabled
	// IsFull: all its places are taken.
	IsFull
	// IsResting: it has failed too often in a row, and is tried again at RetryAt.
	IsResting
	// NoDemand: nobody has asked for the model lately.
	NoDemand
	// IsTooDear: most requests accept only lower prices.
	IsTooDear
	// IsUnfit: most requests need a version, a revision, a context or a capability that it has not.
	IsUnfit
	// IsOutbid: others are cheaper, and its speed does not make up for it.
	IsOutbid
	// IsSlower: others are faster, and its price does not make up for it.
	IsSlower
	// IsUnreliable: it lost too many requests.
	IsUnreliable
	// IsUnlucky: it is as good as those who got work; chance will come to it.
	IsUnlucky
)

func (c Cause) String() string {
	return [...]string{"works", "gone", "disabled", "full", "resting", "no demand", "too dear", "unfit", "outbid", "slower", "unreliable", "unlucky"}[c]
}

// Reasons tell a worker why it has no work, in numbers.
type Reasons struct {
	Cause Cause
	// Requests of the model that were looked at, the latest, which began Since ago; of these Won is
	// how many this offer got, TooDear how many accept only lower prices, Unfit how many need what
	// it has not, and Named how many went by workers that their callers named.
	Requests, Won, TooDear, Unfit, Named int
	Since                                time.Duration
	// Price and Slowness are the offer's (1 is the model's usual), CheapestWon and UsualWon the prices that
	// requests went for, UsualSlowness how slow their workers were.
	Price                   uint32
	CheapestWon, UsualWon   uint32
	Slowness, UsualSlowness float64
	// WouldWinAt is the highest price at which the offer would now be as good as those that
	// got work; 0 when none is low enough or nobody knows.
	WouldWinAt uint32
	Failures   int
	Lost       float64
	RetryAt    time.Time // of a resting one
	LastAt     time.Time // it got a request; zero is never
}

// Why says why the offer gets no work, or that it does.
func (m *Market) Why(o *Offer) Reasons {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, now := o.pool, m.cfg.Now()
	slow, _, _ := o.slowness(o.running+1, p.usual())
	r := Reasons{Price: o.Coefficient, Slowness: slow, Failures: o.failures, Lost: o.lost, LastAt: o.lastAt}
	p.recent.tell(o, now, &r)
	if score := p.recent.usualScore(); score > 0 {
		if price := score/o.penalty() - weightOfTime*p.price(1)*slow; price > 0 {
			r.WouldWinAt = uint32(min(price, 1<<32-1))
		}
	}
	if now.Before(o.retryAt) {
		r.RetryAt = o.retryAt
	}
	r.Cause = r.cause(o, now)
	return r
}

// demandLasts is how long ago the last request may be that still is demand.
const demandLasts = 10 * time.Minute

// tell counts what has become of the latest requests.
func (x *recent) tell(o *Offer, now time.Time, r *Reasons) {
	var prices []uint32
	slowness := 0.0
	for _, q := range x.all {
		age := now.Sub(q.at)
		if age > demandLasts || q.excluded {
			continue
		}
		r.Requests++
		r.Since = max(r.Since, age)
		switch {
		case q.winner == o.serial:
			r.Won++
		case q.ceiling < o.Coefficient:
			r.TooDear++
		case o.traits&q.needs != q.needs:
			r.Unfit++
		case q.named:
			r.Named++
		}
		if q.winner != 0 {
			prices = append(prices, q.price)
			slowness += q.slowness
		}
	}
	if len(prices) > 0 {
		slices.Sort(prices)
		r.CheapestWon, r.UsualWon, r.UsualSlowness = prices[0], prices[len(prices)/2], slowness/float64(len(prices))
	}
}

// usualScore is the middle mark of those that got requests by their score.
func (x *recent) usualScore() float64 {
	var scores []float64
	for _, q := range x.all {
		if q.winner != 0 && q.by == Balanced && q.way == ByScore {
			scores = append(scores, q.score)
		}
	}
	if len(scores) == 0 {
		return 0
	}
	slices.Sort(scores)
	return scores[len(scores)/2]
}

func (r *Reasons) cause(o *Offer, now time.Time) Cause {
	resting := o.failures >= failuresToEject && now.Before(o.retryAt)
	switch {
	case o.gone:
		return IsGone
	case !o.Enabled:
		return IsDisabled
	case resting:
		return IsResting
	case o.running >= o.Limit:
		return IsFull
	case r.Requests == 0:
		return NoDemand
	case r.Won > 0:
		return Works
	case 2*r.TooDear > r.Requests:
		return IsTooDear
	case 2*r.Unfit > r.Requests:
		return IsUnfit
	case r.WouldWinAt >= r.Price, r.UsualWon > 0 && r.Price <= r.UsualWon && r.Slowness <= nearTie*r.UsualSlowness && o.penalty() <= nearTie:
		return IsUnlucky
	case o.penalty() > 1.2:
		return IsUnreliable
	case r.UsualWon > 0 && float64(r.Price)/float64(r.UsualWon) < r.Slowness/max(r.UsualSlowness, 1e-9):
		return IsSlower
	}
	return IsOutbid
}

// String explains in one line, with what would help.
func (r Reasons) String() string {
	of := fmt.Sprintf("of %d requests in the last %s", r.Requests, r.Since.Round(time.Second))
	switch r.Cause {
	case Works:
		return fmt.Sprintf("works: %d %s", r.Won, of)
	case IsGone, IsDisabled, IsFull:
		return r.Cause.String()
	case IsResting:
		return fmt.Sprintf("resting after %d failures in a row until %s", r.Failures, r.RetryAt.UTC().Format(time.RFC3339))
	case NoDemand:
		return fmt.Sprintf("no demand: nobody has asked for the model for %s", demandLasts)
	case IsTooDear:
		return fmt.Sprintf("too dear: %d %s accept only less than %d; they went from %d on", r.TooDear, of, r.Price, r.CheapestWon)
	case IsUnfit:
		return fmt.Sprintf("unfit: %d %s need a version, revision, context or capability that it has not", r.Unfit, of)
	case IsUnlucky:
		return fmt.Sprintf("unlucky: none %s, though up to %d would win", of, max(r.WouldWinAt, r.Price))
	case IsUnreliable:
		return fmt.Sprintf("unreliable: it lost %.0f %% of its requests, %d in a row", 100*r.Lost, r.Failures)
	}
	text := fmt.Sprintf("%s: price %d and %.2f times the usual time; none %s, they went for %d and %.2f", r.Cause, r.Price, r.Slowness, of, r.UsualWon, r.UsualSlowness)
	if r.WouldWinAt > 0 {
		return fmt.Sprintf("%s; it would win at %d", text, r.WouldWinAt)
	}
	return text + "; no price is low enough"
}
