package builtin

import (
	"errors"
	"fmt"
	"math"
)

// Limits of a model's shape. They keep sums of sizes far from overflow; what a
// file claims beyond its own bytes costs nothing, since every matrix must be
// there in full.
const (
	maxWidth   = 1 << 16
	maxLayers  = 1 << 10
	maxContext = 1 << 13 // positions kept; longer windows are cut to this
)

// Model is a loaded model. It is read-only and safe for concurrent use.
type Model struct {
	name     string
	dim, ff  int // width of the stream and of the feed-forward layer
	heads    int
	kvHeads  int
	headDim  int
	context  int
	eps      float32
	freq     []float64 // angle per position of each rotated pair
	embed    tensor
	output   tensor
	norm     []float32
	layers   []layer
	tokens   *tokenizer
	template template
}

// layer holds one block's weights: attention, then feed-forward.
type layer struct {
	attnNorm, ffnNorm []float32
	q, k, v, out      tensor
	gate, up, down    tensor
}

// Load reads a GGUF file of the llama architecture with f32, f16 or q8_0
// weights and a byte-level BPE vocabulary. The model keeps using file, which
// must not change. A file that asks for anything this runtime does not do is
// refused rather than computed wrongly.
func Load(file []byte) (*Model, error) {
	g, err := parse(file)
	if err != nil {
		return nil, fmt.Errorf("builtin: %w", err)
	}
	m, err := newModel(g)
	if err != nil {
		return nil, fmt.Errorf("builtin: %w", err)
	}
	return m, nil
}

// Name is the model's name in the API, from general.name.
func (m *Model) Name() string { return m.name }

// Context is the longest prompt and answer together, in tokens.
func (m *Model) Context() int { return m.context }

func newModel(g *gguf) (*Model, error) {
	m := &Model{name: g.text("general.name")}
	if m.name == "" {
		m.name = "gguf"
	}
	if err := m.readShape(g); err != nil {
		return nil, err
	}
	w := &weights{g: g}
	m.readWeights(w)
	if err := w.finish(); err != nil {
		return nil, err
	}
	var err error
	if m.tokens, err = newTokenizer(g); err != nil {
		return nil, err
	}
	if n := len(m.tokens.bytes); n != m.embed.rows {
		return nil, fmt.Errorf("vocabulary has %d tokens, token_embd.weight %d rows; want the same", n, m.embed.rows)
	}
	m.template = findTemplate(m.tokens)
	return m, nil
}

func (m *Model) readShape(g *gguf) error {
	if a := g.text("general.architecture"); a != "llama" {
		return fmt.Errorf("architecture %q, want \"llama\"", a)
	}
	if s := g.text("llama.rope.scaling.type"); s != "" && s != "none" {
		return fmt.Errorf("llama.rope.scaling.type %q, want none", s)
	}
	number := func(key string, fallback, high int) int { return g.number("llama."+key, fallback, 1, high) }
	m.dim, m.ff = number("embedding_length", 0, maxWidth), number("feed_forward_length", 0, maxWidth)
	m.heads = number("attention.head_count", 0, maxWidth)
	m.kvHeads = number("attention.head_count_kv", m.heads, maxWidth)
	m.context = min(number("context_length", 0, math.MaxInt32), maxContext)
	layers := number("block_count", 0, maxLayers)
	if m.dim*m.ff*m.heads*m.kvHeads*m.context*layers == 0 || m.dim%m.heads != 0 || m.heads%m.kvHeads != 0 || m.dim/m.heads%2 != 0 {
		return fmt.Errorf("shape: width %d, feed-forward %d, heads %d, key heads %d, layers %d, context %d; want all above 0 and even heads of equal width",
			m.dim, m.ff, m.heads, m.kvHeads, layers, m.context)
	}
	m.headDim, m.layers = m.dim/m.heads, make([]layer, layers)
	return m.readConstants(g)
}

func (m *Model) readConstants(g *gguf) error {
	m.eps = g.float("llama.attention.layer_norm_rms_epsilon", 1e-5)
	base := float64(g.float("llama.rope.freq_base", 10000))
	turned := g.number("llama.rope.dimension_count", m.headDim, 1, maxWidth)
	if !(m.eps > 0 && m.eps < 1) || !(base >= 1 && base < 1e12) || turned != m.headDim {
		return fmt.Errorf("constants: norm epsilon %g, rope base %g over %d of %d; want (0, 1), [1, 1e12) and all", m.eps, base, turned, m.headDim)
	}
	m.freq = make([]float64, m.headDim/2)
	for i := range m.freq {
		m.freq[i] = math.Pow(base, -float64(2*i)/float64(m.headDim))
	}
	return nil
}

func (m *Model) readWeights(w *weights) {
	kv := m.kvHeads * m.headDim
	m.embed = w.matrix("token_embd.weight", 0, m.dim)
	m.output = m.embed // tied, unless the file has its own
	if _, ok := w.g.tensors["output.weight"]; ok {
		m.output = w.matrix("output.weight", m.embed.rows, m.dim)
	}
	m.norm = w.vector("output_norm.weight", m.dim)
	for i := range m.layers {
		name := func(s string) string { return fmt.Sprintf("blk.%d.%s.weight", i, s) }
		m.layers[i] = layer{
			attnNorm: w.vector(name("attn_norm"), m.dim),
			ffnNorm:  w.vector(name("ffn_norm"), m.dim),
			q:        w.matrix(name("attn_q"), m.dim, m.dim),
			k:        w.matrix(name("attn_k"), kv, m.dim),
			v:        w.matrix(name("attn_v"), kv, m.dim),
			out:      w.matrix(name("attn_output"), m.dim, m.dim),
			gate:     w.matrix(name("ffn_gate"), m.ff, m.dim),
			up:       w.matrix(name("ffn_up"), m.ff, m.dim),
			down:     w.matrix(name("ffn_down"), m.dim, m.ff),
		}
		if w.err != nil {
			return
		}
	}
}

// weights hands out a file's tensors, once each. The first error sticks.
type weights struct {
	g    *gguf
	used int
	err  error
}

// matrix returns a tensor of that shape; rows 0 accepts any.
func (w *weights) matrix(name string, rows, cols int) tensor {
	t, ok := w.g.tensors[name]
	if w.err == nil && (!ok || t.cols != cols || rows != 0 && t.rows != rows) {
		w.err = fmt.Errorf("tensor %q is %d x %d, want %d x %d", name, t.cols, t.rows, cols, rows)
	}
	w.used++
	return t
}

// vector returns a tensor of one row, widened.
func (w *weights) vector(name string, n int) []float32 {
	t := w.matrix(name, 1, n)
	if w.err != nil {
		return nil
	}
	out := make([]float32, n)
	t.widen(out, 0)
	return out
}

// finish refuses files with tensors that nobody asked for, such as biases or
// rope factors: leaving them out would give wrong answers.
func (w *weights) finish() error {
	if w.err == nil && w.used != len(w.g.tensors) {
		w.err = errors.New("file has tensors that a plain llama model does not (biases, experts or rope factors)")
	}
	return w.err
}
