package openai

import (
	"slices"
	"strings"
	"testing"
)

func TestNeeds(t *testing.T) {
	long := strings.Repeat("word ", 12_000)
	for _, x := range []struct {
		name, body          string
		can                 Abilities
		leastTokens, tokens int64 // of the question, by estimate
		leastContext        int
		context             int // at most
	}{
		{"plain", `{"messages":[{"role":"user","content":"Hello, how are you?"}]}`, 0, 5, 12, 1, 10},
		{"limit", `{"messages":[{"role":"user","content":"Hi"}],"max_tokens":40000}`, 0, 1, 8, 40_000, 40_005},
		{"newer limit", `{"messages":[{"role":"user","content":"Hi"}],"max_completion_tokens":300}`, 0, 1, 8, 300, 305},
		{"long", `{"messages":[{"role":"user","content":"` + long + `"}]}`, 0, 12_000, 16_000, 8_000, 12_000},
		{"prompt", `{"prompt":"` + long + `"}`, 0, 12_000, 16_000, 8_000, 12_000},
		{"prompt in tokens", `{"prompt":[1,2,3]}`, 0, 3, 3, 3, 3},
		{"tools", `{"messages":[],"tools":[{"type":"function"}]}`, Tools, 1, 10, 1, 10},
		{"no tools", `{"messages":[],"tools":[]}`, 0, 0, 0, 0, 0},
		{"picture", `{"messages":[{"content":[{"type":"text","text":"What is it?"},{"type":"image_url","image_url":{"url":"data:` + long + `"}}]}]}`, Vision, 100, 1000, 1, 10},
		{"sound", `{"messages":[{"content":[{"type":"input_audio","input_audio":{}}]}]}`, Audio, 100, 1000, 0, 10},
		{"schema", `{"response_format":{"type":"json_schema","json_schema":{}}}`, Structured, 0, 0, 0, 0},
		{"object", `{"response_format":{"type":"json_object"}}`, 0, 0, 0, 0, 0},
		{"wide", `{"prompt":"` + strings.Repeat("語", 1000) + `"}`, 0, 900, 1500, 200, 1000},
		{"absurd limit", `{"max_tokens":9000000000000000000}`, 0, 0, 0, MaxContext, MaxContext},
		{"nonsense", `{"messages":{"a":[1]},"prompt":7,"tools":"x","max_tokens":-5,"response_format":[]}`, 0, 0, 0, 0, 0},
		{"no JSON", `hello`, 0, 0, 0, 0, 0},
	} {
		f, n := Needs([]byte(x.body))
		if f.Can != x.can || n < x.leastTokens || n > x.tokens || f.Context < x.leastContext || f.Context > x.context {
			t.Errorf("%s: %+v and %d tokens, want %v, %d to %d, and %d to %d", x.name, f, n, x.can, x.leastContext, x.context, x.leastTokens, x.tokens)
		}
	}
}

func TestAbilities(t *testing.T) {
	for _, x := range []struct {
		names string
		want  Abilities
		back  string
	}{
		{"", 0, ""},
		{"text", Told, "text"},
		{"tools,vision", Told | Tools | Vision, "tools,vision"},
		{"text,reasoning,audio,structured", Told | Reasoning | Audio | Structured, "structured,audio,reasoning"},
	} {
		var names []string
		if x.names != "" {
			names = strings.Split(x.names, ",")
		}
		got, err := ParseAbilities(names)
		if err != nil || got != x.want || strings.Join(got.Names(), ",") != x.back || got&^AllAbilities != 0 {
			t.Errorf("%s: %b, %v, named %v", x.names, got, err, got.Names())
		}
	}
	if _, err := ParseAbilities([]string{"tool"}); err == nil || !strings.Contains(err.Error(), "want text or tools") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestFactsAreBounded(t *testing.T) {
	good := []Facts{{}, {Context: MaxContext, Can: AllAbilities, Region: "eu-west-1"}}
	bad := []Facts{{Context: -1}, {Context: MaxContext + 1}, {Region: "EU"}, {Region: "a b"}, {Region: "a\x1b"}, {Region: strings.Repeat("a", MaxRegion+1)}}
	if slices.ContainsFunc(good, func(f Facts) bool { return f.Check() != nil }) {
		t.Errorf("refused: %+v", good)
	}
	for _, f := range bad {
		if f.Check() == nil {
			t.Errorf("believed: %+v", f)
		}
	}
}
