package market

import (
	"math"
	"time"
)

// Took is what a request took, for [Market.Done].
type Took struct {
	First  time.Duration // from Pick to the first answer
	Total  time.Duration // from Pick to the end
	Tokens int64         // of the answer, as the model counts; 0 when unknown
	Prompt int           // bytes of the question; 0 when unknown
	Price  uint32        // that it was served for; 0: what the offer asks now
}

// pace is what is known of the speed of a worker, or of all workers of a model.
type pace struct {
	token    trend   // seconds a token, over the requests that run beside it
	start    trend   // seconds to the first answer, over the kilobytes of the question
	first    float64 // seconds to the first answer, smoothed; 0 when unknown
	stray    float64 // how far first answers stray from what was foreseen: the mean square of the logarithm
	requests float64 // smoothed number at once
	tokens   float64 // smoothed tokens of an answer
	kilos    float64 // smoothed size of a question, kilobytes
}

const (
	paceTrusts = 4    // answers after which a worker's own speed counts as much as its model's
	outlier    = 4    // times the expected is as far as one answer is believed
	leastFirst = 1e-4 // seconds
)

// trend is a straight line through what was seen; old sights fade.
type trend struct {
	w, x, y, xx, xy float64 // sums of weight and of the products
	base, slope     float64
}

const (
	trendKeeps = 0.97 // of what was known, at each new sight
	usualCrowd = 0.05 // what a request more costs the others, where nobody knows
)

// add takes in one sight, cut to what can be believed.
func (l *trend) add(x, y, usual float64) {
	if expected := l.at(x); l.w > 1 && expected > 0 {
		y = min(max(y, expected/outlier), expected*outlier)
	}
	const k = trendKeeps
	l.w, l.x, l.y, l.xx, l.xy = k*l.w+1, k*l.x+x, k*l.y+y, k*l.xx+x*x, k*l.xy+x*y
	l.fit(usual)
}

// fit draws the line. Where all were at one x it cannot be known how much x
// matters: then a step is taken to cost the share usual.
func (l *trend) fit(usual float64) {
	x, y := l.x/l.w, l.y/l.w
	slope := y * usual / (1 + x*usual)
	if spread := l.xx/l.w - x*x; spread > 0.5 {
		slope = (l.xy/l.w - y*x) / spread
	}
	l.slope = min(max(slope, 0), y)
	l.base = max(y-l.slope*x, y/outlier)
}

// at is the line's height; 0 when nothing is known.
func (l *trend) at(x float64) float64 { return l.base + l.slope*x }

// fade takes away from the weight of what is known, not from what it says.
func (l *trend) fade(k float64) {
	l.w, l.x, l.y, l.xx, l.xy = k*l.w, k*l.x, k*l.y, k*l.xx, k*l.xy
}

// learn takes in an answer of a worker that ran n requests at once.
func (p *pace) learn(n int, t Took) {
	kilos := float64(t.Prompt) / 1024
	whole := t.Tokens > 1 && t.Total-t.First < t.Total/20 // it came in one piece, so its beginning says nothing
	if !whole {
		p.learnFirst(n, kilos, max(t.First.Seconds(), leastFirst))
	}
	smoothed(&p.kilos, kilos, 32)
	if t.Tokens <= 0 || t.Total <= t.First && !whole {
		return
	}
	took := (t.Total - t.First).Seconds()
	if whole {
		took = max(t.Total.Seconds()-p.starts(n, kilos), t.Total.Seconds()/4)
	}
	p.token.add(float64(n-1), took/float64(t.Tokens), usualCrowd)
	smoothed(&p.tokens, float64(t.Tokens), 32)
	smoothed(&p.requests, float64(n), 32)
}

// learnFirst takes in the time to a first answer.
func (p *pace) learnFirst(n int, kilos, first float64) {
	if p.start.w > 0 {
		stray := math.Log(first / max(p.starts(n, kilos), leastFirst))
		stray = min(max(stray, -outlier), outlier)
		smoothed(&p.stray, stray*stray, 16)
	}
	if p.first == 0 {
		p.first = first
	}
	p.first += (min(first, outlier*p.first) - p.first) / 8
	p.start.add(kilos, first/p.crowding(n), 0)
}

// learnAtLeast takes in that a first answer had not come after all this time.
func (p *pace) learnAtLeast(n int, t Took) {
	if kilos := float64(t.Prompt) / 1024; t.First.Seconds() > p.starts(n, kilos) {
		p.learnFirst(n, kilos, t.First.Seconds())
	}
}

// crowding is how much slower n at once are than the usual number.
func (p *pace) crowding(n int) float64 {
	if p.token.w == 0 {
		return 1
	}
	return p.token.at(float64(n-1)) / p.token.at(max(p.requests-1, 0))
}

// starts is seconds to the first answer with n requests at once; 0 when unknown.
func (p *pace) starts(n int, kilos float64) float64 { return p.start.at(kilos) * p.crowding(n) }

// smoothed moves an average the n-th part of the way, and the first time all of it.
func smoothed(average *float64, v float64, n float64) {
	if *average == 0 {
		*average = v
	}
	*average += (v - *average) / n
}

// job is how large a request is taken to be, and how much a second of it weighs.
type job struct{ kilos, tokens, weight float64 }

// usual is the model's usual request.
func (p *pool) usual() job { return job{p.pace.kilos, p.pace.tokens, 1} }

// trusted is how much of what is foreseen of a worker comes from its own answers, of that weight.
func trusted(weight float64) float64 { return weight / (weight + paceTrusts) }

// foreseen is how long the offer will take for its first answer and for each
// token, with n requests at once, in seconds. A worker that has answered little
// counts as an average one that slows down as it fills. False means that
// nobody knows anything.
func (o *Offer) foreseen(n int, j job) (first, each float64, ok bool) {
	usual, own := &o.pool.pace, &o.pace
	if usual.token.w == 0 || o.pool.without&Speed != 0 {
		return 0, 0, false
	}
	typical := usual.token.at(max(usual.requests-1, 0))
	trust := trusted(own.token.w)
	// Others' speed says little about how this one fills: its limit says more.
	fills := (1 + float64(n-1)/float64(o.Limit)) / (1 + 0.5*usual.requests/float64(o.Limit))
	each = typical * fills
	each += trust * (own.token.at(float64(n-1)) - each)
	first = usual.start.at(j.kilos) * fills
	if o.rtt > 0 {
		first = max(first+(o.rtt-o.pool.rtt).Seconds(), o.rtt.Seconds())
	}
	if own.start.w > 0 {
		first += trusted(own.start.w) * (own.starts(n, j.kilos) - first)
	}
	return first, each, true
}

// slowness compares an offer with its model: the time that a request would take
// on it with n at once, over what the usual request takes where it usually runs.
// Where nobody knows of tokens it is judged by its load and its first answers.
func (o *Offer) slowness(n int, j job) (slow, first, each float64) {
	usual := &o.pool.pace
	first, each, ok := o.foreseen(n, j)
	if !ok {
		load := 1 + float64(n-1)/float64(o.Limit)
		slow = load * load
		if o.pace.first > 0 && usual.first > 0 && o.pool.without&Speed == 0 {
			slow *= min(2, max(0.7, math.Sqrt(o.pace.first/usual.first)))
		}
		return slow, max(usual.first, leastFirst)*slow + o.rtt.Seconds(), slow
	}
	// What one more costs those that run there already.
	burden := weightOfOthers * float64(n-1) * o.pace.token.slope * trusted(o.pace.token.w)
	usually := o.pool.usually()
	full := float64(n) / o.room()
	full *= full
	return (first+j.tokens*(each+burden))/usually + weightOfLast*full*full, first, each
}

// usually is how long the model's usual request takes, in seconds; 1 where nobody knows.
func (p *pool) usually() float64 {
	u := &p.pace
	if u.token.w == 0 {
		return 1
	}
	return u.start.at(u.kilos) + u.tokens*u.token.at(max(u.requests-1, 0))
}

// room is how many requests at once the offer has room for: its limit, or as many
// as slow each other down to half by its own answers, whatever it claims.
func (o *Offer) room() float64 {
	limit, l := float64(o.Limit), &o.pace.token
	if l.slope <= 0 {
		return limit
	}
	knee := max(l.base/l.slope, 1)
	return limit + trusted(l.w)*(min(limit, knee)-limit)
}
