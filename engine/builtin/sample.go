package builtin

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// sampling is how a request wants its tokens chosen.
type sampling struct {
	temperature float64 // 0 takes the likeliest token
	topP        float64 // (0, 1]: share of the likeliest tokens to choose from
	seed        uint64
	frequency   float64 // subtracted per earlier use of a token
	presence    float64 // subtracted once if a token was used
	bias        map[int32]float64
}

// sampler picks tokens. Equal seeds and equal logits give equal picks. Not for
// concurrent use.
type sampler struct {
	sampling
	rng        *rand.Rand
	used       map[int32]int
	candidates []candidate
}

type candidate struct {
	token int32
	p     float64
}

func newSampler(s sampling, choice int) *sampler {
	return &sampler{sampling: s, rng: rand.New(rand.NewPCG(s.seed, uint64(choice))), used: map[int32]int{}}
}

// pick chooses the next token and changes logits on the way.
func (s *sampler) pick(logits []float32) int32 {
	for t, n := range s.used {
		logits[t] -= float32(s.frequency*float64(n) + s.presence)
	}
	for t, b := range s.bias {
		logits[t] += float32(b)
	}
	token := argmax(logits)
	if s.temperature > 0 {
		token = s.draw(logits, float64(logits[token]))
	}
	s.used[token]++
	return token
}

// again brings the sampler to where it was behind a token that an earlier
// request with the same seed has picked.
func (s *sampler) again(token int32) {
	if s.temperature > 0 {
		s.rng.Float64()
	}
	s.used[token]++
}

func argmax(logits []float32) (best int32) {
	for i, v := range logits {
		if v > logits[best] {
			best = int32(i)
		}
	}
	return best
}

func (s *sampler) draw(logits []float32, high float64) int32 {
	var sum float64
	s.candidates = s.candidates[:0]
	for i, v := range logits {
		p := math.Exp((float64(v) - high) / s.temperature)
		sum += p
		s.candidates = append(s.candidates, candidate{int32(i), p})
	}
	if s.topP < 1 {
		sum = s.trim(sum)
	}
	at := s.rng.Float64() * sum
	for _, c := range s.candidates {
		if at -= c.p; at < 0 {
			return c.token
		}
	}
	return s.candidates[0].token // rounding, or a model whose numbers are no numbers
}

// trim keeps the likeliest candidates that make up topP of all, and returns
// the sum of theirs. What is too small to belong to them is dropped before the
// costly sorting: the others fall short of 1-topP even together.
func (s *sampler) trim(sum float64) float64 {
	floor := sum * (1 - s.topP) / float64(len(s.candidates))
	first := s.candidates[0]
	s.candidates = slices.DeleteFunc(s.candidates, func(c candidate) bool { return c.p < floor })
	slices.SortFunc(s.candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.p, a.p), cmp.Compare(a.token, b.token))
	})
	var kept float64
	for i, c := range s.candidates {
		if kept += c.p; kept >= s.topP*sum {
			s.candidates = s.candidates[:i+1]
			break
		}
	}
	if len(s.candidates) == 0 {
		s.candidates = append(s.candidates, first)
	}
	return kept
}

// scored is a token with the natural logarithm of its probability.
type scored struct {
	token   int32
	logprob float64
}

// worstLogprob stands for "never", as in the API.
const worstLogprob = -9999

// score returns the logarithm of token's probability under untouched logits,
// and the n likeliest tokens, best first.
func score(logits []float32, token int32, n int) (scored, []scored) {
	high := float64(logits[argmax(logits)])
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - high)
	}
	norm := high + math.Log(sum)
	at := func(t int32) scored {
		lp := float64(logits[t]) - norm
		if !(lp >= worstLogprob) {
			lp = worstLogprob
		}
		return scored{t, min(lp, 0)}
	}
	var top []scored
	for t, v := range logits {
		if len(top) == n && (n == 0 || v <= logits[top[n-1].token]) {
			continue
		}
		i, _ := slices.BinarySearchFunc(top, v, func(s scored, v float32) int { return cmp.Compare(v, logits[s.token]) })
		for i < len(top) && logits[top[i].token] == v {
			i++
		}
		top = slices.Insert(top, i, at(int32(t)))[:min(len(top)+1, n)]
	}
	return at(token), top
}
