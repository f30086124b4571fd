package worker

import (
	"context"
	"strings"

	"github.com/opencocoon/cocoon/engine"
	"github.com/opencocoon/cocoon/tl"
)

// A client may ask for the rest of a chat's answer that another worker began:
// its last message is what is there, and continue_final_message asks the engine
// to write on. An engine that does not know the member would begin anew, and
// nobody could tell, so such a request is taken only if the engine is of a kind
// that knows it; the proxy gives it to another worker otherwise.

// goesOn says whether a request is for the rest of an answer.
func goesOn(headers []tl.HTTPHeader) bool {
	for _, h := range headers {
		if strings.EqualFold(h.Name, tl.HeaderContinue) {
			return true
		}
	}
	return false
}

// continuing are the engines that go on with a last message of the assistant
// when they are asked to in vLLM's words.
var continuing = map[string]bool{engine.VLLM: true, engine.SGLang: true, engine.LlamaCPP: true, engine.Builtin: true}

// continues asks the engine what it is: requests for the rest of an answer are
// rare, and the engine may be another one since the last.
func (w *Worker) continues(ctx context.Context) bool {
	info, err := engine.Probe(ctx, w.engine, w.http)
	return err == nil && continuing[info.Kind]
}
