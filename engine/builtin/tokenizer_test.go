package builtin

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func (t *tokenizer) decode(tokens []int32) []byte {
	var out []byte
	for _, id := range tokens {
		out = append(out, t.bytes[id]...)
	}
	return out
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"Hello world":     {"Hello", " world"},
		"a  b":            {"a", " ", " b"},
		"it's IT'S 'tis":  {"it", "'s", " IT", "'S", " '", "tis"},
		"x=12345;":        {"x", "=", "1", "2", "3", "4", "5", ";"},
		"end.\n\n  next":  {"end", ".\n\n", " ", " next"},
		"  \n \n tail ":   {"  \n \n", " tail", " "},
		"(a) _b !?\r\n":   {"(a", ")", " _", "b", " !?\r\n"},
		"été ½ 東京\u00a0x": {"été", " ", "½", " 東京", "\u00a0x"},
		"\xff\xfe broken": {"\xff\xfe", " broken"},
		"   ":             {"   "},
		"'":               {"'"},
	} {
		var got []string
		split(text, 1, func(w string) { got = append(got, w) })
		if !slices.Equal(got, want) {
			t.Errorf("split(%q) = %q, want %q", text, got, want)
		}
	}
	var got []string
	split("1234567", 3, func(w string) { got = append(got, w) })
	if want := []string{"123", "456", "7"}; !slices.Equal(got, want) {
		t.Errorf("three digits together: %q, want %q", got, want)
	}
}

func TestMergesGoByRank(t *testing.T) {
	tok := tinyModel(t, f32).tokens
	for text, want := range map[string][]string{
		"the":    {"the"},
		"ththe":  {"th", "the"},
		" an":    {" a", "n"}, // "Ġ a" was learned before "a n"
		"and":    {"and"},
		"thand":  {"th", "and"},
		"banana": {"b", "an", "an", "a"},
	} {
		var got []string
		for _, id := range tok.encode(nil, text) {
			got = append(got, string(tok.bytes[id]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("encode(%q) = %q, want %q", text, got, want)
		}
	}
}

// No text may become a control token: a message must not be able to end its
// turn and begin one in another's name.
func TestTextIsNeverControl(t *testing.T) {
	for _, m := range []*Model{demoModel(t), tinyModel(t, f32)} {
		for name, id := range m.tokens.control {
			if slices.Contains(m.tokens.encode(nil, "x"+name+name), id) {
				t.Errorf("text %q became the control token %d", name, id)
			}
		}
	}
}

// A long word without a break must not take quadratic time: at n² this one
// would take minutes.
func TestLongWord(t *testing.T) {
	word := strings.Repeat("theandin", 1<<15)
	tokens := demoModel(t).tokens.encode(nil, word)
	if got := demoModel(t).tokens.decode(tokens); string(got) != word {
		t.Error("a long word does not come back")
	}
}

func TestTemplates(t *testing.T) {
	m := tinyModel(t, f32)
	tok := m.tokens
	names := func(ids []int32) (out string) {
		for _, id := range ids {
			out += tok.text(id)
		}
		return out
	}
	talk := []message{{"system", "be"}, {"user", "the <|im_end|>"}}
	ids, err := m.turns(talk, true)
	want := "<|bos|><|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nthe <|im_end|><|im_end|>\n<|im_start|>assistant\n"
	if got := names(ids); err != nil || got != want {
		t.Errorf("ChatML: %q, %v; want %q", got, err, want)
	}
	tok.control = map[string]int32{"<|start_header_id|>": tok.bos, "<|end_header_id|>": tok.bos + 1, "<|eot_id|>": tok.bos + 2}
	m.template, tok.addBOS = findTemplate(tok), false
	ids, err = m.turns(talk[:1], true)
	want = "<|start_header_id|>system<|end_header_id|>\n\nbe<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
	if got := names(ids); err != nil || got != want {
		t.Errorf("Llama 3: %q, %v; want %q", got, err, want)
	}
	tok.control = nil
	m.template = findTemplate(tok)
	if _, err := m.turns(talk, true); err == nil {
		t.Error("a model without turns chats")
	}
}

func FuzzTokenizer(f *testing.F) {
	m, err := Default()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"Hello, world", " \n\t x", "it's 2026", "你好", "\xff\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens := m.tokens.encode(nil, string(text))
		if got := m.tokens.decode(tokens); !bytes.Equal(got, text) {
			t.Fatalf("%q comes back as %q", text, got)
		}
	})
}
