package builtin

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const maxVocab = 1 << 18

// tokenizer is a byte-level BPE vocabulary. Text becomes bytes, bytes are
// merged pair by pair, the earliest learned pair first. Text never becomes a
// control token, so no message can end its turn or begin another's.
type tokenizer struct {
	bytes   [][]byte // of each token; nil for control tokens
	control map[string]int32
	single  [256]int32 // the token of each byte
	merges  map[[2]int32]merge
	digits  int // longest run of digits in a word
	longest int // bytes in the longest token
	bos     int32
	addBOS  bool
	ends    []int32 // tokens that end an answer
}

type merge struct{ rank, into int32 }

// Token types in tokenizer.ggml.token_type.
const (
	typeNormal  = 1
	typeControl = 3
)

func newTokenizer(g *gguf) (*tokenizer, error) {
	if m := g.text("tokenizer.ggml.model"); m != "gpt2" {
		return nil, fmt.Errorf("tokenizer.ggml.model is %q, want \"gpt2\" (byte-level BPE)", m)
	}
	pre := g.text("tokenizer.ggml.pre")
	t := &tokenizer{control: map[string]int32{}, merges: map[[2]int32]merge{}, digits: digitRun[pre]}
	if t.digits == 0 {
		return nil, fmt.Errorf("tokenizer.ggml.pre is %q, want \"qwen2\" or \"llama-bpe\"", pre)
	}
	ids, err := t.readTokens(g)
	if err != nil {
		return nil, err
	}
	if err := t.readMerges(g.texts("tokenizer.ggml.merges"), ids); err != nil {
		return nil, err
	}
	return t, t.readEnds(g)
}

func (t *tokenizer) readTokens(g *gguf) (map[string]int32, error) {
	tokens, types := g.texts("tokenizer.ggml.tokens"), g.meta["tokenizer.ggml.token_type"]
	if len(tokens) == 0 || len(tokens) > maxVocab || types.count != len(tokens) {
		return nil, fmt.Errorf("tokenizer: %d tokens and %d token types, want as many of both, up to %d", len(tokens), types.count, maxVocab)
	}
	ids := make(map[string]int32, len(tokens))
	t.bytes = make([][]byte, len(tokens))
	for i, s := range tokens {
		ids[s] = int32(i)
		if kind, _ := types.integer(i); kind == typeControl {
			t.control[s] = int32(i)
			continue
		}
		t.bytes[i] = fromLetters(s)
		t.longest = max(t.longest, len(t.bytes[i]))
	}
	for b := range 256 {
		id, ok := ids[string(byteLetter[b])]
		if !ok {
			return nil, fmt.Errorf("tokenizer: no token for byte %d, want all 256 bytes", b)
		}
		t.single[b] = id
	}
	return ids, nil
}

func (t *tokenizer) readMerges(merges []string, ids map[string]int32) error {
	for rank, s := range merges {
		left, right, ok := strings.Cut(s, " ")
		a, okA := ids[left]
		b, okB := ids[right]
		into, okInto := ids[left+right]
		if !ok || !okA || !okB || !okInto {
			return fmt.Errorf("tokenizer: merge %d does not join two tokens into a third", rank)
		}
		if _, twice := t.merges[[2]int32{a, b}]; !twice {
			t.merges[[2]int32{a, b}] = merge{int32(rank), into}
		}
	}
	return nil
}

func (t *tokenizer) readEnds(g *gguf) error {
	for _, name := range [...]string{"<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>"} {
		if id, ok := t.control[name]; ok {
			t.ends = append(t.ends, id)
		}
	}
	last := len(t.bytes) - 1
	if _, ok := g.meta["tokenizer.ggml.eos_token_id"]; ok {
		t.ends = append(t.ends, int32(g.number("tokenizer.ggml.eos_token_id", 0, 0, last)))
	}
	if len(t.ends) == 0 {
		return errors.New("tokenizer: no token ends an answer, want tokenizer.ggml.eos_token_id")
	}
	if v := g.meta["tokenizer.ggml.add_bos_token"]; v.kind == typeBool && len(v.raw) == 1 {
		t.addBOS = v.raw[0] != 0
	}
	_, known := g.meta["tokenizer.ggml.bos_token_id"]
	t.bos = int32(g.number("tokenizer.ggml.bos_token_id", 0, 0, last))
	t.addBOS = t.addBOS && known
	return nil
}

// ended says whether token ends an answer. Any control token does: none has a
// text to show.
func (t *tokenizer) ended(token int32) bool {
	return t.bytes[token] == nil || slices.Contains(t.ends, token)
}

// encode appends the tokens of text to dst.
func (t *tokenizer) encode(dst []int32, text string) []int32 {
	split(text, t.digits, func(word string) { dst = t.encodeWord(dst, word) })
	return dst
}

// joint is a place between two pieces of a word that could be merged.
type joint struct {
	merge
	left         int
	first, other int32 // the pieces when the joint was seen
}

type joints []joint

func (j joints) Len() int      { return len(j) }
func (j joints) Swap(a, b int) { j[a], j[b] = j[b], j[a] }
func (j joints) Less(a, b int) bool {
	return j[a].rank < j[b].rank || j[a].rank == j[b].rank && j[a].left < j[b].left
}
func (j *joints) Push(x any) { *j = append(*j, x.(joint)) }
func (j *joints) Pop() any {
	old := *j
	last := old[len(old)-1]
	*j = old[:len(old)-1]
	return last
}

// encodeWord merges from a queue of joints, so that a word of n bytes costs
// n log n even if somebody sends a megabyte without a space.
func (t *tokenizer) encodeWord(dst []int32, word string) []int32 {
	piece, next, prev := make([]int32, len(word)), make([]int, len(word)), make([]int, len(word))
	var queue joints
	offer := func(i int) {
		if i < 0 || next[i] >= len(word) {
			return
		}
		if m, ok := t.merges[[2]int32{piece[i], piece[next[i]]}]; ok {
			heap.Push(&queue, joint{m, i, piece[i], piece[next[i]]})
		}
	}
	for i := range len(word) {
		piece[i], next[i], prev[i] = t.single[word[i]], i+1, i-1
	}
	for i := range len(word) {
		offer(i)
	}
	for len(queue) > 0 {
		j := heap.Pop(&queue).(joint)
		r := next[j.left]
		if piece[j.left] != j.first || r >= len(word) || piece[r] != j.other {
			continue // one of the two was merged elsewhere meanwhile
		}
		piece[j.left], piece[r] = j.into, -1
		next[j.left] = next[r]
		if next[r] < len(word) {
			prev[next[r]] = j.left
		}
		offer(prev[j.left])
		offer(j.left)
	}
	for i := 0; i < len(word); i = next[i] {
		dst = append(dst, piece[i])
	}
	return dst
}

// byteLetter is the visible letter that stands for each byte in vocabulary
// files (GPT-2's table): printable Latin-1 for itself, the rest from U+0100 on.
var byteLetter = func() (table [256]rune) {
	next := rune(256)
	for b := range table {
		printable := b >= '!' && b <= '~' || b >= 0xa1 && b != 0xad
		if table[b] = rune(b); !printable {
			table[b] = next
			next++
		}
	}
	return table
}()

var letterByte = func() map[rune]byte {
	m := map[rune]byte{}
	for b, r := range byteLetter {
		m[r] = byte(b)
	}
	return m
}()

// fromLetters turns a vocabulary entry into its bytes. Letters outside the
// table, which only added tokens have, stand for themselves. Never nil.
func fromLetters(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if b, ok := letterByte[r]; ok {
			out = append(out, b)
		} else {
			out = append(out, string(r)...)
		}
	}
	return out
}
