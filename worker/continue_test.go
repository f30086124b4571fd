package worker

import (
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// The rest of another's answer is taken only for engines that are known to go
// on, and the answer says so; a caller's own continue_final_message is his affair.
func TestRestOfAnAnswer(t *testing.T) {
	for owner, knows := range map[string]bool{"vllm": true, "sglang": true, "llamacpp": true, "cocoon": true, "library": false, "organization_owner": false, "somebody": false} {
		s := start(t, newProxy(t), enginetest.Fast(), nil)
		s.engine.SetOwner(owner)
		h := s.connected()
		body := chat(`,"continue_final_message":true,"add_generation_prompt":false`)
		a := h.run(query(post(pathChat, body, tl.HeaderContinue, "1")))
		switch {
		case knows && (a.status != 200 || a.header[tl.HeaderContinues] != "1"):
			t.Errorf("%s: status %d, code %d %q, header %v; want an answer that says it goes on", owner, a.status, a.code, a.text, a.header)
		case !knows && (a.status != 0 || a.code != wire.CodeError || !strings.Contains(a.text, "go on") || s.engine.Count() != 0):
			t.Errorf("%s: status %d, code %d %q; want a refusal that another worker may better", owner, a.status, a.code, a.text)
		}
		asked := s.engine.Requests()
		if knows && (len(asked) != 1 || asked[0].Header.Get(tl.HeaderContinue) != "") {
			t.Errorf("%s: the engine sees the mark", owner)
		}
		if a := h.run(query(post(pathChat, body))); a.status != 200 || a.header[tl.HeaderContinues] != "" {
			t.Errorf("%s: without the mark: status %d, header %v", owner, a.status, a.header)
		}
	}
}
