package market

import (
	"math"
	"math/rand/v2"
)

// nearTie is how much worse than the best a score may be and still have a chance.
const nearTie = 1.05

// tree holds the offers of a model ordered by price, under a segment tree whose
// nodes know what is below them. Between the offers are gaps, so that one
// that comes, goes or changes its price moves few others:
//
//	offers    a - b c - - d -      by price; - is a gap
//	prices    7 7 8 9 9 9 9 9      of the offer, or of the last one before the gap: never falling
//	nodes[1]                       all
//	nodes[i]                       nodes[2i] and nodes[2i+1]
//	nodes[size+k]                  offers[k]
type tree struct {
	offers []*Offer
	prices []uint32
	nodes  []node
	size   int // of offers, a power of two
	len    int // offers that are no gaps
}

// node sums up what is below it. Two fill a cache line.
type node struct {
	score       scores // the lowest of each sort
	traits      traits // of any
	free, count int32
}

var nobody = node{score: scores{inf, inf, inf, inf}}

// most shifted for one insertion before all are spread anew.
const maxShift = 64

// scores are an offer's marks in each sort, the lower the better.
type scores [sorts]float32

var inf = float32(math.Inf(1))

func (o *Offer) node() node {
	n := node{score: o.score, traits: o.traits, count: 1}
	if o.free() {
		n.free = 1
	}
	return n
}

// place is the first place whose price is above c.
func (t *tree) place(c uint32) int {
	lo, hi := 0, len(t.prices)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); t.prices[mid] <= c {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// insert takes the offer in, behind all that cost as much.
func (t *tree) insert(o *Offer) {
	if t.len++; 4*t.len > 3*t.size {
		t.spread()
	}
	for {
		at := t.place(o.Coefficient)
		switch left, right := t.gap(at-1, -1), t.gap(at, 1); {
		case left >= 0 && (right < 0 || at-1-left <= right-at):
			t.shift(left, at-1, o)
			return
		case right >= 0:
			t.shift(right, at, o)
			return
		}
		t.spread()
	}
}

// gap finds the next place without an offer; -1 if none is near.
func (t *tree) gap(from, step int) int {
	for i, n := from, 0; i >= 0 && i < t.size && n < maxShift; i, n = i+step, n+1 {
		if t.offers[i] == nil {
			return i
		}
	}
	return -1
}

// shift moves the offers between a gap and a place towards the gap, and puts o in the place.
func (t *tree) shift(gap, place int, o *Offer) {
	lo, hi := gap, place
	if gap <= place {
		copy(t.offers[gap:place], t.offers[gap+1:place+1])
		copy(t.prices[gap:place], t.prices[gap+1:place+1])
	} else {
		lo, hi = place, gap
		copy(t.offers[place+1:gap+1], t.offers[place:gap])
		copy(t.prices[place+1:gap+1], t.prices[place:gap])
	}
	t.offers[place], t.prices[place] = o, o.Coefficient
	t.refresh(lo, hi)
}

// remove leaves a gap.
func (t *tree) remove(o *Offer) {
	t.offers[o.at] = nil
	t.len--
	t.climb(o.at, nobody)
	if 8*t.len < t.size && t.size > 16 {
		t.spread()
	}
}

// spread gives every offer new room on either side.
func (t *tree) spread() {
	old := t.offers
	size := 2
	for size < 2*t.len {
		size *= 2
	}
	t.size = size
	t.offers, t.prices = make([]*Offer, size), make([]uint32, size)
	t.nodes = make([]node, 2*size)
	n, total := 0, 0
	for _, o := range old {
		if o != nil {
			total++
		}
	}
	for _, o := range old {
		if o != nil {
			t.offers[n*size/total] = o
			n++
		}
	}
	last := uint32(0)
	for i, o := range t.offers {
		if o != nil {
			last = o.Coefficient
		}
		t.prices[i] = last
	}
	t.refresh(0, size-1)
}

// refresh recomputes the places lo to hi and all above them.
func (t *tree) refresh(lo, hi int) {
	for i := lo; i <= hi; i++ {
		if o := t.offers[i]; o != nil {
			o.at = i
			t.nodes[t.size+i] = o.node()
		} else {
			t.nodes[t.size+i] = nobody
		}
	}
	for lo, hi = (t.size+lo)/2, (t.size+hi)/2; lo > 0; lo, hi = lo/2, hi/2 {
		for i := lo; i <= hi; i++ {
			t.nodes[i] = t.sum(i)
		}
	}
}

func (t *tree) sum(i int) node {
	a, b := &t.nodes[2*i], &t.nodes[2*i+1]
	n := node{score: a.score, traits: a.traits | b.traits, free: a.free + b.free, count: a.count + b.count}
	for s, v := range b.score {
		if v < n.score[s] {
			n.score[s] = v
		}
	}
	return n
}

// update carries a changed score upwards.
func (t *tree) update(o *Offer) { t.climb(o.at, o.node()) }

func (t *tree) climb(at int, n node) {
	i := t.size + at
	t.nodes[i] = n
	for i /= 2; i > 0; i /= 2 {
		if n = t.sum(i); n == t.nodes[i] {
			return
		}
		t.nodes[i] = n
	}
}

// free is how many could take a request.
func (t *tree) free() int {
	if t.size == 0 {
		return 0
	}
	return int(t.nodes[1].free)
}

// count is how many offers are in the places before n.
func (t *tree) count(n int) int {
	sum, i := 0, 1
	for half := t.size / 2; n > 0 && i < t.size; half /= 2 {
		if i *= 2; n >= half {
			sum += int(t.nodes[i].count)
			n, i = n-half, i+1
		}
	}
	if n > 0 && t.size > 0 {
		sum += int(t.nodes[i].count)
	}
	return sum
}

// query is a look for an offer among the first places.
type query struct {
	t      *tree
	w      *Want
	n      int // places
	by     Sort
	needs  traits
	latest float32 // first answer foreseen, seconds
	skip   *Offer

	limit float32 // only what is better
	found int     // its place; -1 is none
}

// hopeless says that nothing below the node can do.
func (q *query) hopeless(n *node) bool {
	return n.score[q.by] >= q.limit || n.score[Latency] > q.latest || n.traits&q.needs != q.needs
}

func (q *query) accepts(o *Offer) bool {
	return o != q.skip && (q.w.plain() || q.w.accepts(o))
}

// best finds the place of the one with the lowest score below the limit; -1 if there is none.
func (q *query) best() int {
	if q.found = -1; q.n > 0 {
		q.search(1, 0, q.t.size)
	}
	return q.found
}

// search looks below node i, which covers places lo to hi, better half first.
func (q *query) search(i, lo, hi int) {
	for i < q.t.size {
		a, b, mid := &q.t.nodes[2*i], &q.t.nodes[2*i+1], int(uint(lo+hi)/2)
		left, right := !q.hopeless(a), mid < q.n && !q.hopeless(b)
		switch {
		case left && right && a.score[q.by] <= b.score[q.by]:
			q.search(2*i, lo, mid)
			i, lo = 2*i+1, mid
		case left && right:
			q.search(2*i+1, mid, hi)
			i, hi = 2*i, mid
		case left:
			i, hi = 2*i, mid
		case right:
			i, lo = 2*i+1, mid
		default:
			return
		}
	}
	if o := q.t.offers[lo]; o != nil && !q.hopeless(&q.t.nodes[i]) && q.accepts(o) {
		q.found, q.limit = lo, o.score[q.by]
	}
}

// near walks down to the place of any offer below the limit; -1 if there is none. Where both sides
// have one it tosses a coin, weighted by the free offers of each.
func (q *query) near(chance *rand.Rand) int {
	if q.n == 0 {
		return -1
	}
	return q.walk(1, 0, q.t.size, chance)
}

func (q *query) walk(i, lo, hi int, chance *rand.Rand) int {
	for i < q.t.size {
		a, b, mid := &q.t.nodes[2*i], &q.t.nodes[2*i+1], int(uint(lo+hi)/2)
		left, right := !q.hopeless(a), mid < q.n && !q.hopeless(b)
		switch {
		case left && right && toss(chance, a.free, b.free):
			if at := q.walk(2*i, lo, mid, chance); at >= 0 {
				return at
			}
			i, lo = 2*i+1, mid
		case left && right:
			if at := q.walk(2*i+1, mid, hi, chance); at >= 0 {
				return at
			}
			i, hi = 2*i, mid
		case left:
			i, hi = 2*i, mid
		case right:
			i, lo = 2*i+1, mid
		default:
			return -1
		}
	}
	if o := q.t.offers[lo]; o != nil && !q.hopeless(&q.t.nodes[i]) && q.accepts(o) {
		return lo
	}
	return -1
}

// toss is true for a in a+b cases.
func toss(chance *rand.Rand, a, b int32) bool {
	return uint64(chance.Uint32())*uint64(a+b)>>32 < uint64(a)
}

// freeFrom finds the cheapest free offer at place n or behind; nil if there is none.
func (t *tree) freeFrom(n int) *Offer {
	if n >= t.size {
		return nil
	}
	return t.leftmost(1, 0, t.size, n)
}

func (t *tree) leftmost(i, lo, hi, n int) *Offer {
	if hi <= n || t.nodes[i].free == 0 {
		return nil
	} else if i >= t.size {
		return t.offers[lo]
	}
	mid := (lo + hi) / 2
	if o := t.leftmost(2*i, lo, mid, n); o != nil {
		return o
	}
	return t.leftmost(2*i+1, mid, hi, n)
}

// would finds the cheapest offer that could serve the request if it had room,
// whatever its price.
func (t *tree) would(w *Want) *Offer {
	if t.size == 0 {
		return nil
	}
	return t.wouldBelow(1, 0, t.size, w, w.needs())
}

func (t *tree) wouldBelow(i, lo, hi int, w *Want, needs traits) *Offer {
	if t.nodes[i].count == 0 || t.nodes[i].traits&needs != needs {
		return nil
	}
	if i >= t.size {
		if o := t.offers[lo]; o.Enabled && w.accepts(o) {
			return o
		}
		return nil
	}
	mid := (lo + hi) / 2
	if o := t.wouldBelow(2*i, lo, mid, w, needs); o != nil {
		return o
	}
	return t.wouldBelow(2*i+1, mid, hi, w, needs)
}

// none says that no offer is of the revision asked for, whatever else it lacks.
func (t *tree) none(w *Want) bool {
	only := Want{Pin: w.Pin}
	return t.size == 0 || t.noneBelow(1, 0, t.size, &only, only.needs())
}

func (t *tree) noneBelow(i, lo, hi int, w *Want, needs traits) bool {
	if t.nodes[i].count == 0 || t.nodes[i].traits&needs != needs {
		return true
	}
	if i >= t.size {
		return !w.fits(t.offers[lo])
	}
	mid := (lo + hi) / 2
	return t.noneBelow(2*i, lo, mid, w, needs) && t.noneBelow(2*i+1, mid, hi, w, needs)
}
