package market

import (
	"container/list"
	"time"
)

const (
	// probeShare of requests go to an offer that has waited for work.
	probeShare = 0.02
	// An offer that answered less often than paceTrusts, or got no work for so long, is worth a probe …
	probeAfter = 5 * time.Minute
	// … if it is not much dearer than usual: nobody shall live on probes.
	probePrice = 1.2
	// probeLooks bounds how many of those that wait are looked at for one request.
	probeLooks = 4
)

// idlers are a model's offers by when they last got work: those of whom little is known, and the others.
type idlers struct{ unknown, known list.List }

// wait is the list that the offer belongs to.
func (i *idlers) wait(o *Offer) *list.List {
	if o.pace.start.w < paceTrusts {
		return &i.unknown
	}
	return &i.known
}

func (i *idlers) add(o *Offer)   { o.waits = i.wait(o); o.idle = o.waits.PushFront(o) }
func (i *idlers) leave(o *Offer) { o.waits.Remove(o.idle) }

// works notes that the offer has got work.
func (i *idlers) works(o *Offer) {
	if to := i.wait(o); to != o.waits {
		o.waits.Remove(o.idle)
		o.waits, o.idle = to, to.PushBack(o)
		return
	}
	o.waits.MoveToBack(o.idle)
}

// probe sometimes finds an offer whose pace nobody knows, or knows any more:
// the one that has waited longest. What is known of the others says nothing about it.
func (m *Market) probe(p *pool, q *query, now time.Time) *Offer {
	if p.without&Probes != 0 || q.w.Sort != Balanced || q.w.NoFallbacks || m.rand.Float64() >= probeShare {
		return nil
	}
	for range min(probeLooks, p.idle.unknown.Len()) {
		o := p.idle.unknown.Front().Value.(*Offer)
		if p.worthProbe(o, q) {
			return o
		}
		p.idle.unknown.MoveToBack(o.idle)
	}
	for range min(probeLooks, p.idle.known.Len()) {
		o := p.idle.known.Front().Value.(*Offer)
		if now.Sub(o.lastAt) < probeAfter {
			return nil // and all behind got work later
		}
		if p.worthProbe(o, q) {
			return o
		}
		p.idle.known.MoveToBack(o.idle)
	}
	return nil
}

func (p *pool) worthProbe(o *Offer, q *query) bool {
	price := float64(o.Coefficient)
	return o.free() && o.failures == 0 && o.Coefficient <= q.w.MaxCoefficient && price <= probePrice*p.price(price) && q.accepts(o)
}
