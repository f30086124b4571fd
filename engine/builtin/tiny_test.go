package builtin

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// tinyFile is a GGUF file under construction: a random llama of a few thousand
// weights with a vocabulary of single bytes, a few merges and ChatML's control
// tokens.
type tinyFile struct {
	meta    []metaEntry
	tensors []tinyTensor
}

type metaEntry struct {
	key string
	v   any
}

type tinyTensor struct {
	name       string
	cols, rows int
	kind       kind
}

// tinyShape is big enough for two heads that share keys and a q8_0 block.
const (
	tinyDim, tinyFF, tinyHeads, tinyKV, tinyLayers, tinyContext = 32, 64, 4, 2, 2, 64
)

var tinyMerges = []string{"t h", "th e", "i n", "Ġ a", "a n", "an d"}

func newTinyFile(k kind) *tinyFile {
	var tokens []string
	for _, r := range byteLetter {
		tokens = append(tokens, string(r))
	}
	tokens = append(tokens, "th", "the", "in", "Ġa", "an", "and", "<|bos|>", "<|im_start|>", "<|im_end|>")
	types := make([]int32, len(tokens))
	for i := range types {
		types[i] = typeNormal
	}
	bos := len(tokens) - 3
	for i := bos; i < len(tokens); i++ {
		types[i] = typeControl
	}
	f := &tinyFile{meta: []metaEntry{
		{"general.architecture", "llama"}, {"general.name", "tiny"},
		{"llama.embedding_length", uint32(tinyDim)}, {"llama.feed_forward_length", uint32(tinyFF)},
		{"llama.attention.head_count", uint32(tinyHeads)}, {"llama.attention.head_count_kv", uint32(tinyKV)},
		{"llama.block_count", uint32(tinyLayers)}, {"llama.context_length", uint32(tinyContext)},
		{"llama.rope.freq_base", float32(10000)}, {"llama.attention.layer_norm_rms_epsilon", float32(1e-5)},
		{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", "qwen2"},
		{"tokenizer.ggml.tokens", tokens}, {"tokenizer.ggml.token_type", types}, {"tokenizer.ggml.merges", tinyMerges},
		{"tokenizer.ggml.bos_token_id", uint32(bos)}, {"tokenizer.ggml.eos_token_id", uint32(bos + 2)}, {"tokenizer.ggml.add_bos_token", true},
	}}
	f.tensors = []tinyTensor{{"token_embd.weight", tinyDim, len(tokens), k}, {"output_norm.weight", tinyDim, 1, f32}}
	for i := range tinyLayers {
		p := "blk." + string(rune('0'+i)) + "."
		kv := tinyDim / tinyHeads * tinyKV
		f.tensors = append(f.tensors,
			tinyTensor{p + "attn_norm.weight", tinyDim, 1, f32}, tinyTensor{p + "ffn_norm.weight", tinyDim, 1, f32},
			tinyTensor{p + "attn_q.weight", tinyDim, tinyDim, k}, tinyTensor{p + "attn_k.weight", tinyDim, kv, k},
			tinyTensor{p + "attn_v.weight", tinyDim, kv, k}, tinyTensor{p + "attn_output.weight", tinyDim, tinyDim, k},
			tinyTensor{p + "ffn_gate.weight", tinyDim, tinyFF, k}, tinyTensor{p + "ffn_up.weight", tinyDim, tinyFF, k},
			tinyTensor{p + "ffn_down.weight", tinyFF, tinyDim, k})
	}
	return f
}

// set replaces a metadata value; nil removes it.
func (f *tinyFile) set(key string, v any) *tinyFile {
	for i := range f.meta {
		if f.meta[i].key == key {
			f.meta[i].v = v
			return f
		}
	}
	f.meta = append(f.meta, metaEntry{key, v})
	return f
}

func (f *tinyFile) bytes() []byte {
	le := binary.LittleEndian
	text := func(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }
	var meta []byte
	entries := 0
	for _, e := range f.meta {
		if e.v == nil {
			continue
		}
		entries++
		meta = appendValue(text(meta, e.key), e.v)
	}
	out := le.AppendUint32([]byte(ggufMagic), 3)
	out = append(le.AppendUint64(le.AppendUint64(out, uint64(len(f.tensors))), uint64(entries)), meta...)
	rng := rand.New(rand.NewPCG(1, 2))
	var data []byte
	for _, t := range f.tensors {
		out = le.AppendUint32(text(out, t.name), 2)
		out = le.AppendUint64(le.AppendUint64(out, uint64(t.cols)), uint64(t.rows))
		out = le.AppendUint64(le.AppendUint32(out, uint32(t.kind)), uint64(len(data)))
		data = t.append(data, rng)
		data = append(data, make([]byte, -len(data)&31)...)
	}
	out = append(out, make([]byte, -len(out)&31)...)
	return append(out, data...)
}

func appendValue(b []byte, v any) []byte {
	le := binary.LittleEndian
	switch v := v.(type) {
	case uint32:
		return le.AppendUint32(le.AppendUint32(b, typeU32), v)
	case float32:
		return le.AppendUint32(le.AppendUint32(b, typeF32), math.Float32bits(v))
	case bool:
		return append(le.AppendUint32(b, typeBool), map[bool]byte{true: 1}[v])
	case string:
		return append(le.AppendUint64(le.AppendUint32(b, typeString), uint64(len(v))), v...)
	case []string:
		b = le.AppendUint64(le.AppendUint32(le.AppendUint32(b, typeArray), typeString), uint64(len(v)))
		for _, s := range v {
			b = append(le.AppendUint64(b, uint64(len(s))), s...)
		}
		return b
	case []int32:
		b = le.AppendUint64(le.AppendUint32(le.AppendUint32(b, typeArray), typeI32), uint64(len(v)))
		for _, n := range v {
			b = le.AppendUint32(b, uint32(n))
		}
		return b
	}
	panic("no such value")
}

// append writes random weights; every kind gets nearly the same ones.
func (t tinyTensor) append(b []byte, rng *rand.Rand) []byte {
	le := binary.LittleEndian
	for i := range t.rows * t.cols {
		q := int8(rng.IntN(255) - 127)
		const scale = 1.0 / 256 // an f16 of 0x1c00
		if t.kind == q8 && i%q8Block == 0 {
			b = le.AppendUint16(b, 0x1c00)
		}
		switch t.kind {
		case q8:
			b = append(b, byte(q))
		case f32:
			b = le.AppendUint32(b, math.Float32bits(float32(q)*scale))
		case f16:
			b = le.AppendUint16(b, toHalf(float32(q)*scale))
		}
	}
	return b
}

// toHalf is exact for the few values the tiny model uses.
func toHalf(f float32) uint16 {
	if f == 0 {
		return 0
	}
	bits := math.Float32bits(f)
	return uint16(bits>>16&0x8000) | uint16((bits>>23&0xff)-112)<<10 | uint16(bits>>13&0x3ff)
}

func tinyModel(t testing.TB, k kind) *Model {
	t.Helper()
	m, err := Load(newTinyFile(k).bytes())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tinyModels(t testing.TB) map[string]*Model {
	return map[string]*Model{"f32": tinyModel(t, f32), "f16": tinyModel(t, f16), "q8_0": tinyModel(t, q8)}
}

// say generates a whole answer.
func say(t testing.TB, seq *sequence, j job) (string, string) {
	t.Helper()
	logits, err := seq.prefill(t.Context(), j.prompt)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, finish, err := seq.answer(t.Context(), &j, 0, logits, func(p piece) error {
		out.WriteString(p.text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), finish
}
