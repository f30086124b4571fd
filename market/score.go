package market

import (
	"math"
	"time"
)

// What matters how much.
const (
	// weightOfTime is how much dearer than usual a worker may be that needs no time at all, and the
	// same for those who look at the price first.
	weightOfTime      = 1.0
	weightOfTimeCheap = 0.05
	// weightOfOthers is how much the time that a request takes from those that run beside it counts of its
	// own. Without it a worker that claims more places than it can fill earns by filling them.
	weightOfOthers = 1.0
	// weightOfLast is what the last free place of a worker costs, times the usual price, those before it less by the
	// fourth power: whoever can pay for another leaves it to those who cannot.
	weightOfLast       = 0.25
	weightOfPriceEager = 0.02 // what a price as is usual adds, in shares, for those who look at the time first
	// lostPenalty: a worker that loses the share q of its requests counts as worse by 1/(1-q)^lostPenalty.
	lostPenalty = 2
	worstShare  = 0.9 // of lost requests; more makes no difference
)

var unfit = scores{inf, inf, inf, inf}

// rate is the offer's marks for the usual request; infinite when it is not free.
func (o *Offer) rate(now time.Time) scores {
	limit := o.Limit
	if o.failures >= failuresToEject {
		if limit = 1; now.Before(o.retryAt) {
			limit = 0
		}
	}
	if o.gone || !o.Enabled || o.running >= limit {
		return unfit
	}
	slow, first, each := o.slowness(o.running+1, o.pool.usual())
	price, usual := o.costs()
	k := o.penalty()
	dear := 1 + weightOfPriceEager*price/usual
	return scores{
		Balanced:   float32(k * (price + weightOfTime*usual*slow)),
		Price:      float32(k * (price + weightOfTimeCheap*usual*slow)),
		Latency:    float32(k * first * dear),
		Throughput: float32(k * each * dear),
	}
}

// costs are the offer's price and what requests are usually served for.
func (o *Offer) costs() (own, usual float64) {
	own = math.Max(float64(o.Coefficient), 1)
	return own, o.pool.price(own)
}

// penalty is what failures make of a score: twice as much for each in a row, and more for a bad share.
func (o *Offer) penalty() float64 {
	kept := 1 - min(o.lost, worstShare)
	if o.pool.without&Success != 0 {
		kept = 1
	}
	return math.Ldexp(1/(kept*kept), min(o.failures, 20))
}

// price is what requests are usually served for, own where nobody knows.
func (p *pool) price(own float64) float64 {
	if p.paid == 0 {
		return own
	}
	return p.paid
}

// How much a request's own size counts.
const (
	// Who asks for much waits long, and a slow worker costs him more: time weighs as
	// the request's size over the usual, between these.
	leastSize, mostSize = 0.5, 3.0
	// cached is how much of the time to the first answer, as far as it comes from
	// the question's length, a worker saves that has seen its beginning.
	cached = 0.8
	// familiar is what it saves where that is not known.
	familiar = 0.9
)

// exactly is the offer's mark for this very request: [Balanced], with the
// question's length and the answer's limit, and where its caller is.
func (o *Offer) exactly(j job, familiarHere bool, region string) float64 {
	slow, first, each := o.slowness(o.running+1, j)
	slow = max(slow+o.away(region)/o.pool.usually(), 0)
	price, usual := o.costs()
	if familiarHere {
		if slope := o.pace.start.slope; slope > 0 && first > 0 {
			slow *= 1 - cached*min(first, slope*j.kilos)/(first+j.tokens*each)
		}
		slow *= familiar
	}
	return o.penalty() * (price + weightOfTime*usual*slow*j.weight)
}

// size is the request as far as it can be known beforehand.
func (p *pool) size(w *Want) job {
	usual := p.usual()
	j := usual
	if p.without&Size != 0 {
		return j
	}
	if w.PromptBytes > 0 {
		j.kilos = float64(w.PromptBytes) / 1024
	}
	if w.MaxTokens > 0 {
		j.tokens = min(j.tokens, float64(w.MaxTokens))
	}
	if p.pace.token.w > 0 {
		each := p.pace.token.at(max(p.pace.requests-1, 0))
		larger := (p.pace.start.at(j.kilos) + j.tokens*each) / (p.pace.start.at(usual.kilos) + usual.tokens*each)
		j.weight = min(max(larger, leastSize), mostSize) / max(larger, 1e-3)
	}
	return j
}
