package openai

import "testing"

func TestHeaders(t *testing.T) {
	for _, x := range []struct {
		text        string
		name, value bool
	}{
		{"", false, true}, {"X-Cocoon_1!#$%&'*+.^`|~", true, true}, {"two words", false, true}, {"a:b", false, true}, {"tab\there", false, true},
		{"a\r\nb", false, false}, {"a\nb", false, false}, {"nul\x00", false, false}, {"del\x7f", false, false}, {"Grüße", false, true}, {"latin \xe9", false, true},
	} {
		if IsHeaderName(x.text) != x.name || IsHeaderName([]byte(x.text)) != x.name {
			t.Errorf("%q as a name: %v, want %v", x.text, !x.name, x.name)
		}
		if IsHeaderValue(x.text) != x.value || IsHeaderValue([]byte(x.text)) != x.value {
			t.Errorf("%q as a value: %v, want %v", x.text, !x.value, x.value)
		}
	}
}
