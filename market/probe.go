package market

import "time"

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

// probe sometimes finds an offer whose pace nobody knows, or knows any more:
// the one that has waited longest. What is known of the others says nothing about it.
func (m *Market) probe(p *pool, q *query, now time.Time) *Offer {
	if m.cfg.Without&Probes != 0 || q.w.Sort != Balanced || q.w.NoFallbacks || m.rand.Float64() >= probeShare {
		return nil
	}
	for range min(probeLooks, p.idle.Len()) {
		o := p.idle.Front().Value.(*Offer)
		if o.pace.start.w >= paceTrusts && now.Sub(o.lastAt) < probeAfter {
			return nil // and all behind got work later
		}
		if o.free() && o.failures == 0 && o.Coefficient <= q.w.MaxCoefficient && float64(o.Coefficient) <= probePrice*p.price(float64(o.Coefficient)) && q.w.accepts(o) {
			return o
		}
		p.idle.MoveToBack(o.idle)
	}
	return nil
}
