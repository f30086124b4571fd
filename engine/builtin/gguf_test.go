package builtin

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

func TestKindsAgree(t *testing.T) {
	models := tinyModels(t)
	want, _ := say(t, newSequence(models["f32"]), job{prompt: []int32{1, 2, 3}, maxTokens: 20, sampling: sampling{topP: 1}})
	for name, m := range models {
		got, _ := say(t, newSequence(m), job{prompt: []int32{1, 2, 3}, maxTokens: 20, sampling: sampling{topP: 1}})
		if got != want {
			t.Errorf("%s says %q, f32 says %q from the same weights", name, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(*tinyFile)
		names string // what the error must name
	}{
		{"other architecture", func(f *tinyFile) { f.set("general.architecture", "gpt2") }, "architecture"},
		{"no architecture", func(f *tinyFile) { f.set("general.architecture", nil) }, "architecture"},
		{"no width", func(f *tinyFile) { f.set("llama.embedding_length", nil) }, "width 0"},
		{"huge width", func(f *tinyFile) { f.set("llama.embedding_length", uint32(1<<31)) }, "width 0"},
		{"width as text", func(f *tinyFile) { f.set("llama.embedding_length", "32") }, "width 0"},
		{"other width", func(f *tinyFile) { f.set("llama.embedding_length", uint32(64)) }, "token_embd.weight"},
		{"heads do not divide", func(f *tinyFile) { f.set("llama.attention.head_count", uint32(5)) }, "heads 5"},
		{"odd heads", func(f *tinyFile) { f.set("llama.attention.head_count", uint32(32)) }, "heads 32"},
		{"key heads do not divide", func(f *tinyFile) { f.set("llama.attention.head_count_kv", uint32(3)) }, "key heads 3"},
		{"too many layers", func(f *tinyFile) { f.set("llama.block_count", uint32(3)) }, "blk.2.attn_norm.weight"},
		{"too few layers", func(f *tinyFile) { f.set("llama.block_count", uint32(1)) }, "tensors that"},
		{"no context", func(f *tinyFile) { f.set("llama.context_length", uint32(0)) }, "context 0"},
		{"negative epsilon", func(f *tinyFile) { f.set("llama.attention.layer_norm_rms_epsilon", float32(-1)) }, "epsilon"},
		{"rope base", func(f *tinyFile) { f.set("llama.rope.freq_base", float32(0)) }, "rope base"},
		{"partial rope", func(f *tinyFile) { f.set("llama.rope.dimension_count", uint32(4)) }, "rope base"},
		{"rope scaling", func(f *tinyFile) { f.set("llama.rope.scaling.type", "yarn") }, "scaling"},
		{"alignment", func(f *tinyFile) { f.set("general.alignment", uint32(24)) }, "alignment"},
		{"sentencepiece", func(f *tinyFile) { f.set("tokenizer.ggml.model", "llama") }, "tokenizer.ggml.model"},
		{"other splitting", func(f *tinyFile) { f.set("tokenizer.ggml.pre", "gpt-2") }, "tokenizer.ggml.pre"},
		{"no tokens", func(f *tinyFile) { f.set("tokenizer.ggml.tokens", []string{}) }, "0 tokens"},
		{"fewer types", func(f *tinyFile) { f.set("tokenizer.ggml.token_type", []int32{1}) }, "1 token types"},
		{"a merge of nothing", func(f *tinyFile) { f.set("tokenizer.ggml.merges", []string{"th"}) }, "merge 0"},
		{"an unknown merge", func(f *tinyFile) { f.set("tokenizer.ggml.merges", []string{"x y"}) }, "merge 0"},
		{"unknown kind", func(f *tinyFile) { f.tensors[0].kind = 12 }, "kind 12"},
		{"missing tensor", func(f *tinyFile) { f.tensors = f.tensors[1:] }, "token_embd.weight"},
		{"tensor twice", func(f *tinyFile) { f.tensors = append(f.tensors, f.tensors[1]) }, "twice"},
		{"a bias", func(f *tinyFile) { f.tensors = append(f.tensors, tinyTensor{"blk.0.attn_q.bias", 32, 1, f32}) }, "biases"},
		{"key twice", func(f *tinyFile) { f.meta = append(f.meta, f.meta[0]) }, "twice"},
	} {
		f := newTinyFile(q8)
		c.edit(f)
		if m, err := Load(f.bytes()); err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: Load = %v, %v; want an error about %q", c.name, m, err, c.names)
		}
	}
}

func TestCutFiles(t *testing.T) {
	file := newTinyFile(f16).bytes()
	for n := 0; n < len(file); n += 1 + n/50 {
		if _, err := Load(file[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes load as a model", n, len(file))
		}
	}
}

// Counts that promise far more than the file holds must cost nothing.
func TestPromisesCostNothing(t *testing.T) {
	header := binary.LittleEndian.AppendUint32([]byte(ggufMagic), 3)
	huge := bytes.Repeat([]byte{0xff}, 8)
	for name, tail := range map[string][]byte{
		"tensors":  append(append([]byte{}, huge...), huge...),
		"metadata": append(make([]byte, 8), huge...),
		"key":      append(append(make([]byte, 8), 1, 0, 0, 0, 0, 0, 0, 0), huge...),
		"array": append(append(make([]byte, 8), 1, 0, 0, 0, 0, 0, 0, 0,
			1, 0, 0, 0, 0, 0, 0, 0, 'k', typeArray, 0, 0, 0, typeString, 0, 0, 0), huge...),
	} {
		file := append(bytes.Clone(header), tail...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Load(file)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: loads", name)
		}
		allocated := after.TotalAlloc - before.TotalAlloc
		if allocated > 64<<10 {
			t.Errorf("%s: refusing %d bytes allocates %d", name, len(file), allocated)
		}
	}
}

func FuzzGGUF(f *testing.F) {
	// One layer only: mutations should hit the header, not the weights.
	small := newTinyFile(q8).set("llama.block_count", uint32(1))
	small.tensors = small.tensors[:len(small.tensors)-9]
	if _, err := Load(small.bytes()); err != nil {
		f.Fatal(err)
	}
	f.Add(small.bytes())
	small.tensors = small.tensors[1:2]
	for _, key := range []string{"tokens", "token_type", "merges"} {
		small.set("tokenizer.ggml."+key, nil)
	}
	f.Add(small.bytes())
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Load(file)
		if err != nil {
			return
		}
		seq := newSequence(m)
		tokens := m.tokens.encode(m.begin(), "the and 12")
		tokens = tokens[:min(len(tokens), m.context-1, 4)]
		if len(tokens) == 0 {
			return
		}
		logits, err := seq.prefill(t.Context(), tokens)
		if err != nil {
			t.Fatal(err)
		}
		j := &job{prompt: tokens, maxTokens: 2, logprobs: true, top: 3, sampling: sampling{temperature: 1, topP: 0.9}}
		if _, _, err := seq.answer(t.Context(), j, 0, logits, func(piece) error { return nil }); err != nil {
			t.Fatal(err)
		}
	})
}
