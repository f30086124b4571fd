package devnet

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
)

// From the caller to the engine and back: a revision is asked for, found, and named.
func TestRevisionCanBePinned(t *testing.T) {
	n, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Engine: enginetest.New(t, enginetest.Fast()).URL})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	full := n.Info().FullModel
	revision := full[:strings.LastIndex(full, ":")]
	for asked, want := range map[string]int{full: 200, revision: 200, "fake/model": 200, "fake/model@other": 404, full[:len(full)-1] + "1": 404} {
		body := `{"model":"` + asked + `","max_tokens":9,"messages":[{"role":"user","content":"Hello!"}]}`
		res, err := http.Post(n.Info().BaseURL+"/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want || want == 200 && res.Header.Get("X-Cocoon-Model") != full {
			t.Errorf("%s: status %d of model %q, want %d of %s", asked, res.StatusCode, res.Header.Get("X-Cocoon-Model"), want, full)
		}
	}
}
