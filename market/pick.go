package market

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencocoon/cocoon/model"
)

// Want is what a request asks for.
type Want struct {
	Model string
	// Pin is the revision asked for, as model.Pins reads it; empty is any.
	Pin string
	// MaxCoefficient is the dearest price accepted, in thousandths.
	MaxCoefficient uint32
	// MinVersion is the lowest protocol version of the worker that will do.
	MinVersion int32
	// Exclude lists the offers that have failed this request already.
	Exclude []*Offer
	// Client names who asks, for fair turns in the queue.
	Client string
}

// Verdict is the outcome of a decision.
type Verdict int

const (
	// Chosen means that an offer was picked.
	Chosen Verdict = iota
	// UnknownModel means that no worker has ever offered the model.
	UnknownModel
	// NoWorker means that no worker offers it now, or none that this request may use.
	NoWorker
	// Busy means that there are workers, and none is free.
	Busy
	// TooDear means that only dearer workers are free.
	TooDear
)

func (v Verdict) String() string {
	return [...]string{"chosen", "unknown model", "no worker", "busy", "too dear"}[v]
}

// Decision says what was decided and from what.
type Decision struct {
	Verdict Verdict
	Model   string
	// Offers are those of the model, Free those of them that could take a request, Within those that are cheap enough, free or not.
	Offers, Free, Within int
	// Ceiling is the dearest price accepted.
	Ceiling uint32
	// Coefficient, Running, Limit, Failures and Score are those of the chosen offer, before it got the request.
	Coefficient    uint32
	Running, Limit int
	Failures       int
	Score          float64
	// LastResort means that the chosen offer was set aside for failing, and there was no other.
	LastResort bool
	// Cheapest is the lowest price among those that were too dear, free ones first; 0 if there are none.
	Cheapest uint32
}

// String explains the decision in one line.
func (d Decision) String() string {
	from := fmt.Sprintf("%s: %d offers, %d free, %d at or below %d", d.Model, d.Offers, d.Free, d.Within, d.Ceiling)
	switch d.Verdict {
	case Chosen:
		how := "lowest score"
		if d.LastResort {
			how = "last resort"
		}
		return fmt.Sprintf("%s; chose the %s %.0f: price %d, %d of %d running, %d failures in a row", from, how, d.Score, d.Coefficient, d.Running, d.Limit, d.Failures)
	case TooDear:
		return fmt.Sprintf("%s; the cheapest free one costs %d", from, d.Cheapest)
	}
	return from + "; " + d.Verdict.String()
}

// Pick chooses an offer and gives it the request; the offer is nil if the
// verdict is anything but Chosen. Every offer picked must be given back by Done.
func (m *Market) Pick(w Want) (*Offer, Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pick(&w)
}

func (m *Market) pick(w *Want) (*Offer, Decision) {
	d := Decision{Model: cmp.Or(w.Pin, w.Model), Ceiling: w.MaxCoefficient}
	p, ok := m.models[w.Model]
	if !ok {
		d.Verdict = UnknownModel
		return nil, d
	}
	m.revive(p)
	t := &p.offers
	t.sort()
	d.Offers, d.Free, d.Within = len(t.sorted), p.free, t.within(w.MaxCoefficient)
	o := t.pick(d.Within, w.accepts, m.rand)
	if o == nil {
		if o = p.lastResort(w); o != nil {
			d.LastResort = true
		}
	}
	if o == nil {
		p.refuse(w, &d)
		return nil, d
	}
	d.Coefficient, d.Running, d.Limit, d.Failures, d.Score = o.Coefficient, o.running, o.Limit, o.failures, o.score
	o.running++
	m.rescore(o)
	return o, d
}

func (w *Want) accepts(o *Offer) bool {
	return o.Version >= w.MinVersion && w.fits(o) && !slices.Contains(w.Exclude, o)
}

// fits says whether the offer is of the revision asked for.
func (w *Want) fits(o *Offer) bool { return w.Pin == "" || model.Pins(w.Pin, o.FullModel) }

// lastResort tries an offer that rests after failing when every offer does:
// a request that may fail is better than one that must. It is used alone, so
// that a broken worker costs one request at a time.
func (p *pool) lastResort(w *Want) *Offer {
	if len(p.ejected) < len(p.offers.sorted) {
		return nil
	}
	var best *Offer
	for _, o := range p.ejected {
		if o.Enabled && o.running == 0 && o.Coefficient <= w.MaxCoefficient && w.accepts(o) && (best == nil || o.retryAt.Before(best.retryAt)) {
			best = o
		}
	}
	return best
}

// refuse finds out why nothing was picked. Waiting helps only if an offer that
// would do is merely busy, so that is looked at first.
func (p *pool) refuse(w *Want, d *Decision) {
	d.Verdict = NoWorker
	if w.Pin != "" && !slices.ContainsFunc(p.offers.sorted, w.fits) {
		d.Verdict = UnknownModel // nobody waits for a revision that no worker has
		return
	}
	if dear := p.offers.freeFrom(d.Within); dear != nil && w.fits(dear) {
		d.Verdict, d.Cheapest = TooDear, dear.Coefficient
	}
	for i, o := range p.offers.sorted {
		if !o.Enabled || !w.accepts(o) {
			continue
		}
		if i < d.Within {
			d.Verdict = Busy
		} else if d.Cheapest == 0 {
			d.Verdict, d.Cheapest = TooDear, o.Coefficient
		}
		return
	}
}
