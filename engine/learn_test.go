package engine

import (
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/openai"
)

// What engines say of their models, as they write it, and what cannot be.
func TestFactsOf(t *testing.T) {
	for _, x := range []struct {
		name, body string
		want       openai.Facts
	}{
		{"vLLM", `{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"vllm","root":"/models/m","parent":null,"max_model_len":40960,"permission":[]}]}`, openai.Facts{Context: 40_960}},
		{"several names", `{"data":[{"id":"adapter","max_model_len":100},{"id":"m","max_model_len":8192}]}`, openai.Facts{Context: 8192}},
		{"another name alone", `{"data":[{"id":"/models/m","max_model_len":8192}]}`, openai.Facts{Context: 8192}},
		{"other names", `{"data":[{"id":"a","max_model_len":8192},{"id":"b"}]}`, openai.Facts{}},
		{"what it can do, too", `{"data":[{"id":"m","max_model_len":1024,"capabilities":["text"]}]}`, openai.Facts{Context: 1024, Can: openai.Told}},
		{"capabilities of another kind", `{"data":[{"id":"m","max_model_len":1024,"capabilities":["completion"]}]}`, openai.Facts{Context: 1024}},
		{"silent", `{"data":[{"id":"m","max_model_len":null}]}`, openai.Facts{}},
		{"endless", `{"data":[{"id":"m","max_model_len":1000000000000}]}`, openai.Facts{}},
		{"below nothing", `{"data":[{"id":"m","max_model_len":-1}]}`, openai.Facts{}},
		{"text", `{"data":[{"id":"m","max_model_len":"8192"}]}`, openai.Facts{}},
		{"no list", `{"data":{}}`, openai.Facts{}},
		{"no JSON", `loading`, openai.Facts{}},
	} {
		if got := factsOf([]byte(x.body), "m"); got != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, got, x.want)
		}
	}
}

func TestLearn(t *testing.T) {
	s := enginetest.New(t, enginetest.Fast())
	s.SetModel("m")
	s.SetContext(4096)
	client := Client(1)
	defer client.CloseIdleConnections()
	if f, err := Learn(t.Context(), s.URL, "m", client); err != nil || f.Context != 4096 {
		t.Errorf("%+v, %v", f, err)
	}
	s.SetDown(true)
	if _, err := Learn(t.Context(), s.URL, "m", client); err == nil {
		t.Error("an engine that does not answer taught something")
	}
}
