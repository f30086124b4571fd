package market

import (
	"math"
	"time"
)

// Took is what a request took, for [Market.Done].
type Took struct {
	First  time.Duration // from Pick to the first answer
	Total  time.Duration // from Pick to the end
	Tokens int64         // of the answer; 0 when unknown
}

// pace is what is known of the speed of a worker, or of all workers of a
// model: how long a token takes when n requests run at once. An engine that
// batches takes about alone + (n-1) × each, so that is the line that is fitted;
// old answers fade.
type pace struct {
	first      float64 // seconds to the first answer, smoothed; 0 when unknown
	w, n, y    float64 // sums of weight, requests at once, seconds a token
	nn, ny     float64
	requests   float64 // smoothed number at once
	tokens     float64 // smoothed tokens of an answer
	alone, per float64 // the fitted line: seconds a token alone, and for each further request
}

const (
	paceKeeps  = 0.97 // of what was known, at each new answer
	paceTrusts = 4    // answers after which a worker's own speed counts as much as its model's
	outlier    = 4    // times the expected is as far as one answer is believed
	leastFirst = 1e-4 // seconds
)

// learn takes in an answer of a worker that ran n requests at once.
func (p *pace) learn(n int, t Took) {
	first := max(t.First.Seconds(), leastFirst)
	if p.first == 0 {
		p.first = first
	}
	p.first += (min(first, outlier*p.first) - p.first) / 8
	if t.Tokens <= 0 || t.Total <= t.First {
		return
	}
	x, y := float64(n-1), (t.Total-t.First).Seconds()/float64(t.Tokens)
	if expected := p.at(n); p.w > 1 && expected > 0 {
		y = min(max(y, expected/outlier), expected*outlier)
	}
	k := paceKeeps
	p.w, p.n, p.y, p.nn, p.ny = k*p.w+1, k*p.n+x, k*p.y+y, k*p.nn+x*x, k*p.ny+x*y
	if p.tokens == 0 {
		p.tokens, p.requests = float64(t.Tokens), float64(n)
	}
	p.tokens += (float64(t.Tokens) - p.tokens) / 32
	p.requests += (float64(n) - p.requests) / 32
	p.fit()
}

// fit draws the line. Where all answers came at one load it cannot be known
// how much load matters; then a request more is taken to cost a twentieth.
func (p *pace) fit() {
	mean, spread := p.y/p.w, p.nn/p.w-(p.n/p.w)*(p.n/p.w)
	per := mean / 20 / (1 + p.n/p.w/20)
	if spread > 0.5 {
		per = (p.ny/p.w - mean*p.n/p.w) / spread
	}
	p.per = min(max(per, 0), mean)
	p.alone = max(mean-p.per*p.n/p.w, mean/outlier)
}

// at is seconds a token with n requests at once; 0 when unknown.
func (p *pace) at(n int) float64 {
	if p.w == 0 {
		return 0
	}
	return p.alone + p.per*float64(n-1)
}

// slowness compares a worker with its model: the time that the model's usual
// answer would take on it with n requests at once, over what it takes usually.
// A worker that has answered little counts as an average one, and one that is
// nobody knows the tokens of is judged by its load and its first answers.
func (o *Offer) slowness(n int) float64 {
	usual := &o.pool.pace
	if usual.w == 0 {
		load, first := 1+float64(n-1)/float64(o.Limit), 1.0
		if o.pace.first > 0 && usual.first > 0 {
			first = min(2, max(0.7, math.Sqrt(o.pace.first/usual.first)))
		}
		return load * load * first
	}
	tokens, typical := usual.tokens, usual.at(int(math.Round(usual.requests)))
	usually := usual.first + tokens*typical
	own := &o.pace
	trust := own.w / (own.w + paceTrusts)
	first := usual.first
	if own.first > 0 {
		first += trust * (own.first - usual.first)
	}
	// Others' speed says little about how this one fills: its limit says more.
	guess := typical * (1 + float64(n-1)/float64(o.Limit)) / (1 + 0.5*usual.requests/float64(o.Limit))
	each := guess + trust*(own.at(n)-guess)
	return (first + tokens*each) / usually
}
