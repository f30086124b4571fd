package market

// turn is a waiter's place in a treap ordered by whose turn it is.
type turn struct {
	tag         float64 // when, in rounds
	serial      uint64  // among equals
	chance      uint64
	left, right *Waiter
	size        int
	richest     uint32 // highest ceiling of all below and its own
}

func (w *Waiter) before(x *Waiter) bool {
	return w.tag < x.tag || w.tag == x.tag && w.serial < x.serial
}

func sizeOf(w *Waiter) int {
	if w == nil {
		return 0
	}
	return w.size
}

func (w *Waiter) sum() *Waiter {
	w.size, w.richest = 1+sizeOf(w.left)+sizeOf(w.right), w.MaxCoefficient
	if w.left != nil {
		w.richest = max(w.richest, w.left.richest)
	}
	if w.right != nil {
		w.richest = max(w.richest, w.right.richest)
	}
	return w
}

// withTurn puts w among those below t.
func withTurn(t, w *Waiter) *Waiter {
	switch {
	case t == nil:
		return w.sum()
	case w.chance > t.chance:
		w.left, w.right = splitTurns(t, w)
		return w.sum()
	case w.before(t):
		t.left = withTurn(t.left, w)
	default:
		t.right = withTurn(t.right, w)
	}
	return t.sum()
}

// splitTurns parts those before w from those after it.
func splitTurns(t, w *Waiter) (before, after *Waiter) {
	switch {
	case t == nil:
		return nil, nil
	case w.before(t):
		before, t.left = splitTurns(t.left, w)
		return before, t.sum()
	}
	t.right, after = splitTurns(t.right, w)
	return t.sum(), after
}

// withoutTurn takes w out.
func withoutTurn(t, w *Waiter) *Waiter {
	switch {
	case t == w:
		t = joinTurns(w.left, w.right)
		w.left, w.right = nil, nil
		return t
	case w.before(t):
		t.left = withoutTurn(t.left, w)
	default:
		t.right = withoutTurn(t.right, w)
	}
	return t.sum()
}

func joinTurns(a, b *Waiter) *Waiter {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.chance > b.chance:
		a.right = joinTurns(a.right, b)
		return a.sum()
	}
	b.left = joinTurns(a, b.left)
	return b.sum()
}

// rank is how many come before w.
func rank(t, w *Waiter) (n int) {
	for t != nil {
		if t.before(w) {
			n += sizeOf(t.left) + 1
			t = t.right
			continue
		}
		t = t.left
	}
	return n
}

// nextTurn is the first after w, nil for the very first, who accepts the price.
func nextTurn(t, w *Waiter, price uint32) *Waiter {
	if t == nil || t.richest < price {
		return nil
	}
	if w != nil && !w.before(t) {
		return nextTurn(t.right, w, price)
	}
	if x := nextTurn(t.left, w, price); x != nil {
		return x
	}
	if t.MaxCoefficient >= price {
		return t
	}
	return nextTurn(t.right, w, price)
}

// lastTurn is whoever comes last.
func lastTurn(t *Waiter) *Waiter {
	for t != nil && t.right != nil {
		t = t.right
	}
	return t
}
