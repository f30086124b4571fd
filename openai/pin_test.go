package openai

import (
	"net/http"
	"strings"
	"testing"
)

// A revision is asked for by the model's name; engines never see it.
func TestParseOptionsPin(t *testing.T) {
	for _, c := range []struct{ asked, model, pin string }{
		{"m", "m", ""}, {"qwen3:0.6b", "qwen3:0.6b", ""},
		{"m@4f1b", "m", "m@4f1b"}, {"a/m@4f1b:00ff", "a/m", "a/m@4f1b:00ff"}, {"m@", "m", "m@"}, {"m@a@b", "m", "m@a@b"},
	} {
		o, forward, err := ParseOptions(nil, []byte(`{"model":"`+c.asked+`","max_tokens":7,"messages":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		if o.Model != c.model || o.Pin != c.pin {
			t.Errorf("%s: model %q, pin %q, want %q and %q", c.asked, o.Model, o.Pin, c.model, c.pin)
		}
		if want := `{"model":"` + c.model + `","max_tokens":7,"messages":[]}`; string(forward) != want {
			t.Errorf("%s: forward = %s, want %s", c.asked, forward, want)
		}
	}
	if _, _, err := ParseOptions(nil, []byte(`{"model":"@4f1b"}`)); err == nil || err.Param != "model" {
		t.Errorf("a revision of no model: %v", err)
	}
}

// What a form asks for cannot be written anew, so it is not taken for granted.
func TestFormsCannotPin(t *testing.T) {
	h := http.Header{"Content-Type": {"multipart/form-data; boundary=B"}}
	form := "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm@4f1b\r\n--B--\r\n"
	if _, _, err := ParseOptions(h, []byte(form)); err == nil || !strings.Contains(err.Message, "cannot ask for a revision") {
		t.Errorf("a form that pins: %v", err)
	}
}
