package market

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// nearTie is how much worse than the best a score may be and still have a chance.
const nearTie = 1.05

// tree holds the offers of a model ordered by price, under a segment tree whose
// nodes know what is below them. Scores change with every request and cost
// O(log n); order changes seldom and makes the tree stale, to be sorted at the next use.
//
//	best[1]                      the best of all
//	best[i]                      the better of best[2i] and best[2i+1]
//	best[size+k]                 sorted[k], nil beyond the end
//	free[i]                      how many are free below i
type tree struct {
	sorted []*Offer
	best   []*Offer
	free   []int
	size   int
	stale  bool
}

func (t *tree) insert(o *Offer) {
	o.at = len(t.sorted)
	t.sorted = append(t.sorted, o)
	t.stale = true
}

func (t *tree) remove(o *Offer) {
	t.sorted = slices.DeleteFunc(t.sorted, func(x *Offer) bool { return x == o })
	t.stale = true
}

// sort brings the tree in order if it is not.
func (t *tree) sort() {
	if !t.stale {
		return
	}
	t.stale = false
	slices.SortFunc(t.sorted, func(a, b *Offer) int {
		return cmp.Or(cmp.Compare(a.Coefficient, b.Coefficient), cmp.Compare(a.serial, b.serial))
	})
	for t.size = 1; t.size < len(t.sorted); t.size *= 2 {
	}
	t.best, t.free = make([]*Offer, 2*t.size), make([]int, 2*t.size)
	for i, o := range t.sorted {
		o.at = i
		t.best[t.size+i], t.free[t.size+i] = o, o.free()
	}
	for i := t.size - 1; i > 0; i-- {
		t.sum(i)
	}
}

func (t *tree) sum(i int) {
	t.best[i] = better(t.best[2*i], t.best[2*i+1])
	t.free[i] = t.free[2*i] + t.free[2*i+1]
}

func better(a, b *Offer) *Offer {
	if a == nil || b != nil && b.score < a.score {
		return b
	}
	return a
}

// update carries a changed score upwards.
func (t *tree) update(o *Offer) {
	if t.stale {
		return
	}
	i := t.size + o.at
	t.free[i] = o.free()
	for i /= 2; i > 0; i /= 2 {
		t.sum(i)
	}
}

// within is the number of offers not dearer than the ceiling.
func (t *tree) within(ceiling uint32) int {
	n, _ := slices.BinarySearchFunc(t.sorted, ceiling, func(o *Offer, c uint32) int {
		if o.Coefficient <= c {
			return -1
		}
		return 1
	})
	return n
}

// pick finds one of the best among the first n offers that accept approves; nil if none is free.
func (t *tree) pick(n int, accept func(*Offer) bool, chance *rand.Rand) *Offer {
	if n == 0 {
		return nil
	}
	best := t.search(1, 0, t.size, n, accept, nil)
	if best == nil {
		return nil
	}
	return t.near(1, 0, t.size, n, best.score*nearTie, accept, chance)
}

// near walks down to any offer that is not above the limit. Where both sides
// have one it tosses a coin, weighted by the free offers of each.
func (t *tree) near(i, lo, hi, n int, limit float64, accept func(*Offer) bool, chance *rand.Rand) *Offer {
	o := t.best[i]
	if lo >= n || o == nil || o.score > limit {
		return nil
	}
	if hi-lo == 1 {
		if accept(o) {
			return o
		}
		return nil
	}
	mid := (lo + hi) / 2
	if chance.IntN(t.free[i]) < t.free[2*i] {
		if o := t.near(2*i, lo, mid, n, limit, accept, chance); o != nil {
			return o
		}
		return t.near(2*i+1, mid, hi, n, limit, accept, chance)
	}
	if o := t.near(2*i+1, mid, hi, n, limit, accept, chance); o != nil {
		return o
	}
	return t.near(2*i, lo, mid, n, limit, accept, chance)
}

// search looks below node i, which covers places lo to hi, for something better than what was found.
func (t *tree) search(i, lo, hi, n int, accept func(*Offer) bool, found *Offer) *Offer {
	o := t.best[i]
	if lo >= n || o == nil || math.IsInf(o.score, 1) || found != nil && found.score <= o.score {
		return found
	}
	if o.at < n && accept(o) {
		return o
	}
	if hi-lo == 1 {
		return found
	}
	mid := (lo + hi) / 2
	found = t.search(2*i, lo, mid, n, accept, found)
	return t.search(2*i+1, mid, hi, n, accept, found)
}

// freeFrom finds the cheapest free offer at place n or behind; nil if there is none.
func (t *tree) freeFrom(n int) *Offer {
	if n == len(t.sorted) {
		return nil
	}
	return t.leftmost(1, 0, t.size, n)
}

func (t *tree) leftmost(i, lo, hi, n int) *Offer {
	if o := t.best[i]; hi <= n || o == nil || math.IsInf(o.score, 1) {
		return nil
	} else if hi-lo == 1 {
		return o
	}
	mid := (lo + hi) / 2
	if o := t.leftmost(2*i, lo, mid, n); o != nil {
		return o
	}
	return t.leftmost(2*i+1, mid, hi, n)
}
