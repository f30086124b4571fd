package market

import "maps"

// maxServed bounds what a model remembers of who served what: the latest so many,
// and at most as many before.
const maxServed = 4096

// servedBy remembers which offer served a digest last. Full, it forgets
// the older half at once, which costs less than to keep an order.
type servedBy struct{ now, before map[[16]byte]*Offer }

// note remembers.
func (s *servedBy) note(digest [16]byte, o *Offer) {
	if digest == ([16]byte{}) {
		return
	}
	if s.now == nil {
		s.now, s.before = map[[16]byte]*Offer{}, map[[16]byte]*Offer{}
	}
	if len(s.now) >= maxServed {
		s.now, s.before = s.before, s.now
		clear(s.now)
	}
	s.now[digest] = o
}

// forget lets go of an offer that has gone, and of all that hangs on it.
func (s *servedBy) forget(gone *Offer) {
	of := func(_ [16]byte, o *Offer) bool { return o == gone }
	maps.DeleteFunc(s.now, of)
	maps.DeleteFunc(s.before, of)
}

// by finds who served the request's beginning, if it is free and will do.
func (s *servedBy) by(q *query, without Facts) *Offer {
	if q.w.Affinity == ([16]byte{}) || without&Affinity != 0 {
		return nil
	}
	o := s.now[q.w.Affinity]
	if o == nil {
		o = s.before[q.w.Affinity]
	}
	if o == nil || o.gone || !o.free() || o.Coefficient > q.w.MaxCoefficient || !q.accepts(o) || o.score[Latency] > q.latest {
		return nil
	}
	return o
}
