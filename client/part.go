package client

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// part is one message about a running query, of whichever family: the legacy
// one of protocol version 0 and of old refusals, or the Ex one.
type part struct {
	id      tl.Int256
	first   bool   // data is a boxed http.response
	data    []byte // or raw body bytes
	end     bool   // nothing follows
	final   *tl.ClientQueryFinalInfo
	failure *failure
}

// readPart translates a message; ok is false if it is none about a query.
func readPart(object tl.Object) (p part, ok bool) {
	switch m := object.(type) {
	case *tl.ClientQueryAnswerEx:
		p = part{id: m.RequestID, first: true, data: m.Answer}
		p.finish(m.Flags, &m.FinalInfo)
	case *tl.ClientQueryAnswerPartEx:
		p = part{id: m.RequestID, data: m.Answer}
		p.finish(m.Flags, &m.FinalInfo)
	case *tl.ClientQueryAnswerErrorEx:
		p = part{id: m.RequestID, failure: refusedWith(m.ErrorCode, m.Error)}
		p.finish(m.Flags, &m.FinalInfo)
		p.end = true // with final info or, from some proxies, without
	case *tl.ClientQueryAnswer:
		p = part{id: m.RequestID, first: true, data: m.Answer}
		p.finishLegacy(m.IsCompleted, m.RequestTokensUsed)
	case *tl.ClientQueryAnswerPart:
		p = part{id: m.RequestID, data: m.Answer}
		p.finishLegacy(m.IsCompleted, m.RequestTokensUsed)
	case *tl.ClientQueryAnswerError:
		p = part{id: m.RequestID, failure: refusedWith(m.ErrorCode, m.Error)}
		p.finishLegacy(true, m.RequestTokensUsed)
	case *tl.ClientQueryAnswerPartError:
		p = part{id: m.RequestID, failure: refusedWith(m.ErrorCode, m.Error)}
		p.finishLegacy(true, m.RequestTokensUsed)
	default:
		return p, false
	}
	return p, true
}

func (p *part) finish(flags uint32, info *tl.ClientQueryFinalInfo) {
	if p.end = flags&1 != 0; p.end {
		p.final = info
	}
}

func (p *part) finishLegacy(completed bool, used tl.TokensUsed) {
	if p.end = completed; completed {
		p.final = &tl.ClientQueryFinalInfo{TokensUsed: used}
	}
}

const (
	maxHeaders     = 100
	maxHeaderBytes = 64 << 10
)

// readHead reads the HTTP head of an answer, which a worker or its engine may
// have written.
func readHead(data []byte) (*tl.HTTPResponse, *failure) {
	head := new(tl.HTTPResponse)
	if err := tl.Unmarshal(data, head); err != nil {
		return nil, badAnswer("the head of the answer is malformed")
	}
	if head.StatusCode < 200 || head.StatusCode > 599 {
		return nil, badAnswer(fmt.Sprintf("the answer has status %d, want 200 to 599", head.StatusCode))
	}
	size := 0
	for _, h := range head.Headers {
		size += len(h.Name) + len(h.Value)
	}
	if len(head.Headers) > maxHeaders || size > maxHeaderBytes {
		return nil, badAnswer("the head of the answer is too large")
	}
	if encoding := header(head, "Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, badAnswer("the answer is compressed though nobody asked") // and unpacks to who knows what
	}
	return head, nil
}

// header returns the first header of that name.
func header(head *tl.HTTPResponse, name string) string {
	for _, h := range head.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// failure is why a query got no whole answer.
type failure struct {
	as *openai.Error // what the caller is told
	// code is the network's error code, 0 if there was none.
	code int32
	// elsewhere says that another proxy may do better; lost, that it is worth
	// waiting for one.
	elsewhere, lost bool
}

func (f *failure) Error() string { return f.as.Error() }
func (f *failure) Unwrap() error { return f.as }

// refusedWith translates a refusal of the network. Texts are the peer's: the
// caller may see them, shortened; logs never do.
func refusedWith(code int32, text string) *failure {
	text = printable(text)
	f := &failure{code: code, elsewhere: goesElsewhere(code)}
	switch code {
	case wire.CodeTimeout:
		f.as = openai.Timeout("the network ran out of time: %s", text)
	case wire.CodeNotReady:
		f.as = openai.Unavailable(openai.CodeNoWorker, retryAfter, "no worker can take the request now: %s", text)
	case wire.CodeProtocol:
		f.as = openai.BadRequest("", openai.CodeInvalidValue, "the network refused the request: %s", text)
	default:
		f.as = openai.BadGateway(openai.CodeRefused, "the network failed the request (code %d): %s", code, text)
	}
	return f
}

// goesElsewhere tells refusals that are about the proxy from those about the
// request.
func goesElsewhere(code int32) bool {
	return code == wire.CodeNotReady || code == wire.CodeError || code == wire.CodeFailure
}

func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), 300)])
	if text = strings.TrimSpace(text); text == "" {
		return "no reason given"
	}
	return text
}

func connectionLost() *failure {
	return &failure{as: openai.BadGateway(openai.CodeConnectionLost, "the connection to the proxy was lost"), elsewhere: true, lost: true}
}

func badAnswer(why string) *failure {
	return &failure{as: openai.BadGateway(openai.CodeBadAnswer, "%s", why)}
}

func timedOut(position int32) *failure {
	if position > 0 {
		return &failure{as: openai.Timeout("no answer within the request's timeout; it was number %d in the proxy's queue", position)}
	}
	return &failure{as: openai.Timeout("no complete answer within the request's timeout")}
}

func slowReader(held int) *openai.Error {
	return &openai.Error{Status: 503, Type: openai.TypeServer, Code: openai.CodeSlowReader,
		Message: fmt.Sprintf("the answer came faster than it was read: %d bytes were waiting; read faster or ask for less", held)}
}
