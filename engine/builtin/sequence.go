package builtin

import "math"

// sequence is one conversation inside the model: the keys and values of the
// tokens so far, and room to compute the next. Not for concurrent use.
type sequence struct {
	m      *Model
	length int         // tokens so far
	keys   [][]float32 // per layer, length × (kvHeads × headDim)
	values [][]float32
	room   room
}

// room is scratch space for a batch of tokens.
type room struct {
	x, h, q, mixed []float32 // batch × dim
	k, v           []float32 // batch × (kvHeads × headDim)
	gate, up       []float32 // batch × ff
	scores         []float32 // one head's, over all positions
	sin, cos       []float32 // batch × headDim/2
	logits         []float32
}

// batch is how many prompt tokens are computed together. Each matrix row is
// then read and widened once for all of them.
const batch = 32

func newSequence(m *Model) *sequence {
	n := len(m.layers)
	s := &sequence{m: m, keys: make([][]float32, n), values: make([][]float32, n)}
	s.room.logits = make([]float32, m.embed.rows)
	s.makeRoom(1)
	return s
}

func (s *sequence) makeRoom(n int) {
	m, kv := s.m, s.m.kvHeads*s.m.headDim
	if len(s.room.x) >= n*m.dim {
		return
	}
	s.room = room{
		x: make([]float32, n*m.dim), h: make([]float32, n*m.dim), q: make([]float32, n*m.dim), mixed: make([]float32, n*m.dim),
		k: make([]float32, n*kv), v: make([]float32, n*kv),
		gate: make([]float32, n*m.ff), up: make([]float32, n*m.ff),
		scores: make([]float32, m.context),
		sin:    make([]float32, n*m.headDim/2), cos: make([]float32, n*m.headDim/2),
		logits: s.room.logits,
	}
}

// rewind forgets all tokens from position n on.
func (s *sequence) rewind(n int) {
	s.length = n
	kv := s.m.kvHeads * s.m.headDim
	for l := range s.keys {
		s.keys[l], s.values[l] = s.keys[l][:n*kv], s.values[l][:n*kv]
	}
}

// extend adds up to batch tokens and returns the logits of what follows the
// last one. They are valid until the next call. The caller keeps the length
// within the model's context.
func (s *sequence) extend(tokens []int32) []float32 {
	m, n := s.m, len(tokens)
	s.makeRoom(n)
	r := &s.room
	for i, t := range tokens {
		m.embed.widen(r.x[i*m.dim:][:m.dim], int(t))
	}
	s.turnAngles(n)
	for l := range m.layers {
		s.attend(l, n)
		s.feedForward(&m.layers[l], n)
	}
	s.length += n
	last := r.x[(n-1)*m.dim:][:m.dim]
	normalise(r.h[:m.dim], last, m.norm, m.eps)
	m.output.mul(r.logits, r.h[:m.dim], 1)
	return r.logits
}

func (s *sequence) turnAngles(n int) {
	half := len(s.m.freq)
	for i := range n {
		for j, f := range s.m.freq {
			sin, cos := math.Sincos(float64(s.length+i) * f)
			s.room.sin[i*half+j], s.room.cos[i*half+j] = float32(sin), float32(cos)
		}
	}
}

// turn rotates neighbouring pairs of every head by the position's angles.
func (s *sequence) turn(x []float32, heads, n int) {
	half := s.m.headDim / 2
	for i := range n {
		sin, cos := s.room.sin[i*half:][:half], s.room.cos[i*half:][:half]
		for range heads {
			for j := range half {
				a, b := x[2*j], x[2*j+1]
				x[2*j], x[2*j+1] = a*cos[j]-b*sin[j], a*sin[j]+b*cos[j]
			}
			x = x[2*half:]
		}
	}
}

// attend adds one layer's attention to the stream.
func (s *sequence) attend(l, n int) {
	m, r, w := s.m, &s.room, &s.m.layers[l]
	kv := m.kvHeads * m.headDim
	for i := range n {
		normalise(r.h[i*m.dim:][:m.dim], r.x[i*m.dim:], w.attnNorm, m.eps)
	}
	w.q.mul(r.q, r.h, n)
	w.k.mul(r.k, r.h, n)
	w.v.mul(r.v, r.h, n)
	s.turn(r.q, m.heads, n)
	s.turn(r.k, m.kvHeads, n)
	s.keys[l] = append(s.keys[l], r.k[:n*kv]...)
	s.values[l] = append(s.values[l], r.v[:n*kv]...)
	for i := range n {
		for head := range m.heads {
			at := i*m.dim + head*m.headDim
			s.look(r.mixed[at:][:m.headDim], r.q[at:][:m.headDim], l, head*m.kvHeads/m.heads, s.length+i+1)
		}
	}
	w.out.mul(r.h, r.mixed, n)
	add(r.x, r.h[:n*m.dim])
}

// look mixes the values of the first seen positions by how well their keys
// answer the query.
func (s *sequence) look(dst, query []float32, l, kvHead, seen int) {
	hd, kv := s.m.headDim, s.m.kvHeads*s.m.headDim
	scores, keys, values := s.room.scores[:seen], s.keys[l][kvHead*hd:], s.values[l][kvHead*hd:]
	scale, high := float32(1/math.Sqrt(float64(hd))), float32(math.Inf(-1))
	for p := range scores {
		scores[p] = dot(query, keys[p*kv:][:hd]) * scale
		high = max(high, scores[p])
	}
	var sum float32
	for p := range scores {
		scores[p] = float32(math.Exp(float64(scores[p] - high)))
		sum += scores[p]
	}
	clear(dst)
	for p, score := range scores {
		share := score / sum
		for j, v := range values[p*kv:][:hd] {
			dst[j] += share * v
		}
	}
}

// feedForward adds one layer's gated feed-forward network to the stream.
func (s *sequence) feedForward(w *layer, n int) {
	m, r := s.m, &s.room
	for i := range n {
		normalise(r.h[i*m.dim:][:m.dim], r.x[i*m.dim:], w.ffnNorm, m.eps)
	}
	w.gate.mul(r.gate, r.h, n)
	w.up.mul(r.up, r.h, n)
	for i, g := range r.gate[:n*m.ff] {
		r.up[i] *= g / (1 + float32(math.Exp(float64(-g))))
	}
	w.down.mul(r.h, r.up, n)
	add(r.x, r.h[:n*m.dim])
}

// normalise scales x to a mean square of one, then by the weights.
func normalise(dst, x, weight []float32, eps float32) {
	var squares float32
	for _, v := range x[:len(dst)] {
		squares += v * v
	}
	scale := 1 / float32(math.Sqrt(float64(squares/float32(len(dst))+eps)))
	for i := range dst {
		dst[i] = x[i] * scale * weight[i]
	}
}

func add(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}
