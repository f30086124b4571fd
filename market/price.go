package market

import (
	"math"
	"time"
)

// Cost is what a machine costs its owner, all in one currency.
type Cost struct {
	Watts         float64 // it draws at work
	PerKWh        float64 // price of electricity
	HardwareHour  float64 // price of the machine itself, per hour of work
	TokensHour    float64 // adjusted tokens at coefficient 1000 it can deliver in an hour
	MillionTokens float64 // what the network pays its owner for a million of them, at coefficient 1000
}

// Floor is the coefficient below which work is a loss, rounded up; 0 where the
// cost or the pay is unknown.
func (c Cost) Floor() uint32 {
	hour := c.Watts/1000*c.PerKWh + c.HardwareHour
	pays := c.TokensHour / 1e6 * c.MillionTokens
	if !(hour > 0) || !(pays > 0) {
		return 0
	}
	return uint32(min(math.Ceil(1000*hour/pays), math.MaxInt32))
}

// Pricing says how a [Pricer] moves. Zero fields get the values in brackets.
type Pricing struct {
	// Floor is the lowest coefficient, at least 1, and Ceiling the highest [4000: what
	// callers accept by default]. The protocol itself allows up to 2³¹-1.
	Floor, Ceiling uint32
	// Target is the share of places that should be taken [0.8]: above, demand is
	// high and the price rises; below, it falls. Within Slack of it [0.08] it stays.
	Target, Slack float64
	// Every is how long use is averaged before each move [15 s].
	Every time.Duration
	// Step is the largest move, as a share of the price [0.12]; it halves with each
	// turn of direction, down to a sixteenth, and grows again while the direction lasts.
	Step float64
}

func (p Pricing) filled() Pricing {
	p.Floor = max(p.Floor, 1)
	if p.Ceiling == 0 {
		p.Ceiling = 4000
	}
	p.Ceiling = min(max(p.Ceiling, p.Floor), math.MaxInt32)
	def := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&p.Target, 0.8)
	def(&p.Slack, 0.08)
	def(&p.Step, 0.12)
	if p.Every == 0 {
		p.Every = 15 * time.Second
	}
	return p
}

// Pricer follows demand with a worker's price. It has no clock: call Use whenever the
// number of running requests changes, and Next now and then, both with the same clock. Not for concurrent use.
type Pricer struct {
	Pricing
	price   float64
	step    float64
	upwards int // direction of the last move

	from, at time.Time // of the average, and of the last Use
	busy     float64   // share × seconds
	share    float64   // now
}

// NewPricer begins at a price, brought within floor and ceiling.
func NewPricer(p Pricing, coefficient uint32, now time.Time) *Pricer {
	p = p.filled()
	price := min(max(float64(coefficient), float64(p.Floor)), float64(p.Ceiling))
	return &Pricer{Pricing: p, price: price, step: p.Step, from: now, at: now}
}

// Use notes how many requests run from now on, and how many could.
func (p *Pricer) Use(running, limit int, now time.Time) {
	p.elapse(now)
	p.share = min(float64(running)/float64(max(limit, 1)), 1)
}

func (p *Pricer) elapse(now time.Time) {
	if since := now.Sub(p.at); since > 0 {
		p.busy += p.share * since.Seconds()
		p.at = now
	}
}

// Coefficient is the price now.
func (p *Pricer) Coefficient() uint32 { return uint32(math.Round(p.price)) }

// Next moves the price if it is time, and says whether it has changed.
func (p *Pricer) Next(now time.Time) (coefficient uint32, changed bool) {
	p.elapse(now)
	took := now.Sub(p.from)
	if took < p.Every {
		return p.Coefficient(), false
	}
	use := p.busy / took.Seconds()
	p.from, p.busy = now, 0
	before := p.Coefficient()
	p.move(use)
	return p.Coefficient(), p.Coefficient() != before
}

// move goes one step, the larger the farther use is from the target.
func (p *Pricer) move(use float64) {
	off := use - p.Target
	if math.Abs(off) <= p.Slack {
		return
	}
	upwards := 1
	if off < 0 {
		upwards = -1
	}
	if upwards == -p.upwards {
		p.step = max(p.step/2, p.Step/16)
	} else {
		p.step = min(p.step*1.25, p.Step)
	}
	p.upwards = upwards
	// How far off the target may be: up to 1 below it, up to the rest above.
	far := math.Abs(off) / p.Target
	if off > 0 {
		far = off / (1 - p.Target)
	}
	p.price *= math.Exp(float64(upwards) * p.step * min(1, far))
	p.price = min(max(p.price, float64(p.Floor)), float64(p.Ceiling))
}
