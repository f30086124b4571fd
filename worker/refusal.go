package worker

import (
	"fmt"

	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// refusal is an error that the proxy is told in the network's own form. Codes
// are those of the wire room: 621 blames the request, 602 the moment, 651 and
// 652 the engine, so that a proxy knows whether another worker may do better.
type refusal struct {
	code int32
	text string
}

func (r *refusal) Error() string { return r.text }

// badRequest blames the request. The prefix is the network's (wire.md §5.4).
// Names in it are the caller's and may be of any length.
func badRequest(format string, args ...any) *refusal {
	return &refusal{wire.CodeProtocol, "worker: invalid http request: " + clip(fmt.Sprintf(format, args...), 300)}
}

// answerError is the message that ends a request which has no answer yet.
// Reference proxies crash on one without final info, so it always has some.
func answerError(id tl.Int256, r *refusal, info tl.ProxyQueryFinalInfo) *tl.ProxyQueryAnswerErrorEx {
	return &tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: r.code, Error: r.text, Flags: flagFinal, FinalInfo: info}
}

// clip keeps what a peer chose from filling an error text.
func clip(text string, limit int) string {
	if len(text) > limit {
		return text[:limit] + "…"
	}
	return text
}
