package node

import (
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/openai"
)

// What an operator says of his machine is checked before anything starts.
func TestFactsSettings(t *testing.T) {
	for _, x := range []struct {
		set   func(*Worker)
		wrong string
		want  openai.Facts
	}{
		{func(*Worker) {}, "", openai.Facts{}},
		{func(w *Worker) {
			w.Capabilities, w.ContextLength, w.Region = []string{"tools", "vision"}, 32_768, "eu-west"
		}, "",
			openai.Facts{Context: 32_768, Can: openai.Told | openai.Tools | openai.Vision, Region: "eu-west"}},
		{func(w *Worker) { w.Capabilities = []string{"everything"} }, `capability "everything"`, openai.Facts{}},
		{func(w *Worker) { w.ContextLength = -1 }, "-1 tokens", openai.Facts{Context: -1}},
		{func(w *Worker) { w.Region = "Europe!" }, `region "Europe!"`, openai.Facts{Region: "Europe!"}},
	} {
		var w Worker
		x.set(&w)
		f, err := w.facts()
		text := w.Check().Error() // much is missing
		if f != x.want || (err != nil) != (x.wrong != "") || !strings.Contains(text, x.wrong) {
			t.Errorf("%+v, %v, in all %s", f, err, text)
		}
	}
	c := Client{Region: "Europe!"}
	if text := c.Check().Error(); !strings.Contains(text, `region "Europe!"`) {
		t.Errorf("client: %s", text)
	}
}
