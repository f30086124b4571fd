package openai

import (
	"slices"
	"testing"
)

func TestElements(t *testing.T) {
	for text, want := range map[string][]string{
		`[]`: nil, `[ ]`: nil, `[1]`: {"1"}, "[ {\"a\":[1,2]} ,\n\"x,]\" , null ]": {`{"a":[1,2]}`, `"x,]"`, "null"}, `[[],[[]]]`: {"[]", "[[]]"},
		``: nil, `7`: nil, `{"a":1}`: nil, `[`: nil, `[1,`: {"1"}, `[1 2`: {"1", "2"}, `[x]`: nil,
	} {
		var got []string
		for e := range Elements([]byte(text)) {
			got = append(got, string(e))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for range Elements([]byte(`[1,2]`)) {
		break
	}
}
