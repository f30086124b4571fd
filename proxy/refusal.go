package proxy

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// refusal is how a request fails: the network's code, and what the caller reads.
type refusal struct {
	code int32
	*openai.Error
}

// Retry soon: a place becomes free within seconds.
const retrySoon = 2 * time.Second

func stopping(why string) *refusal {
	return &refusal{wire.CodeNotReady, openai.Unavailable(openai.CodeNoProxy, retrySoon, "%s; use another proxy or try again", why)}
}

// unbooked ends an answer whose price could not be stored. Whether it was is
// found out when the ledger is opened again, and then for both sides alike.
func unbooked() *refusal {
	return &refusal{wire.CodeFailure, &openai.Error{Status: 500, Type: openai.TypeServer, Code: openai.CodeInternal, Message: "the proxy could not store what the answer cost; use another proxy"}}
}

func badRequest(format string, args ...any) *refusal {
	return &refusal{wire.CodeProtocol, openai.BadRequest("", openai.CodeInvalidValue, format, args...)}
}

func unpaid(format string, args ...any) *refusal {
	return &refusal{wire.CodeError, openai.PaymentRequired(format, args...)}
}

func timedOut() *refusal {
	return &refusal{wire.CodeTimeout, openai.Timeout("timeout in proxy: no complete answer within the request's time; raise timeout or ask for less")}
}

func cancelled() *refusal {
	return &refusal{wire.CodeCancelled, &openai.Error{Status: openai.StatusClientClosed, Type: openai.TypeInvalidRequest, Code: openai.CodeCancelled, Message: "the caller cancelled the request"}}
}

func workerLost() *refusal {
	return &refusal{wire.CodeNotReady, openai.BadGateway(openai.CodeConnectionLost, "the worker was lost before it had finished")}
}

// badAnswer is about the worker, not about the request: another proxy may do better.
func badAnswer() *refusal {
	return &refusal{wire.CodeNotReady, openai.BadGateway(openai.CodeBadAnswer, "the worker broke the protocol")}
}

func queueFull() *refusal {
	return &refusal{wire.CodeNotReady, openai.TooManyRequests(retrySoon, "all workers are busy and the queue is full; try again")}
}

// limited turns a client's limit into what the caller reads.
func limited(err error) *refusal {
	e := openai.TooManyRequests(retrySoon, "this proxy's limit for a client is reached: %v", err)
	var l *market.LimitError
	if errors.As(err, &l) {
		what := map[string]string{"requests": "%g requests a minute", "tokens": "%g tokens a minute", "concurrent": "%g requests at a time"}[l.What]
		e.Message = fmt.Sprintf("this proxy lets a client have "+what+"; slow down, or use more proxies", l.Limit)
		e.RetryAfter = max(l.RetryAfter, time.Second)
	}
	return &refusal{wire.CodeNotReady, e}
}

func tooLarge(limit int) *refusal {
	return &refusal{wire.CodeError, openai.TooLarge(int64(limit), -1)}
}

// longestRetry is the latest that a caller is told to come back.
const longestRetry = time.Minute

// unserved turns a decision of the market into what the caller reads: why not,
// and what would do.
func (r *request) unserved(d market.Decision) *refusal {
	wait := min(max(r.p.market.Wait(r.model, r.ceiling), retrySoon), longestRetry)
	switch d.Verdict {
	case market.UnknownModel:
		return &refusal{wire.CodeProtocol, openai.ModelNotFound(clip(d.Model))}
	case market.TooDear:
		return &refusal{wire.CodeNotReady, openai.PriceAboveCeiling(int32(min(d.Cheapest, math.MaxInt32)), int32(min(d.Ceiling, math.MaxInt32)))}
	case market.Busy:
		text := ""
		if d.Cheapest > d.Ceiling {
			text = fmt.Sprintf(", or now with max_coefficient %d", d.Cheapest)
		}
		return &refusal{wire.CodeNotReady, openai.TooManyRequests(wait, "all workers of the model that the request allows are busy, %d of %d offers are free; try again in about %s%s", d.Free, d.Offers, wait.Round(time.Second), text)}
	}
	if why := r.lacking(d); why != "" {
		// The request's own fault, so that nobody repeats it, in the network's words for "ask elsewhere".
		return &refusal{wire.CodeNotReady, openai.BadRequest("", openai.CodeNoWorker, "%s", why)}
	}
	if r.shutsOut(d) {
		return &refusal{wire.CodeNotReady, openai.Unavailable(openai.CodeNoWorker, retrySoon, "%d workers serve the model '%s' and provider allows none of them; name others or allow fallbacks", d.Offers, clip(d.Model))}
	}
	return &refusal{wire.CodeNotReady, openai.Unavailable(openai.CodeNoWorker, retrySoon, "no worker serves the model '%s' now; try again", clip(d.Model))}
}

// shutsOut says that there are workers and the caller's wishes allow none of them.
func (r *request) shutsOut(d market.Decision) bool {
	return d.Verdict == market.NoWorker && d.Offers > 0 && (len(r.wishes.Only)+len(r.wishes.Ignore) > 0 || r.wishes.NoFallbacks)
}

// noPlace turns the queue's no into what the caller reads.
func (r *request) noPlace(err error) *refusal {
	var late *market.LateError
	if !errors.As(err, &late) {
		full := queueFull()
		full.RetryAfter = min(max(r.p.market.Wait(r.model, r.ceiling)/2, retrySoon), longestRetry)
		return full
	}
	wait := min(max(late.Wait-late.Left, retrySoon), longestRetry)
	return &refusal{wire.CodeNotReady, openai.TooManyRequests(wait, "all workers are busy and the queue takes about %s, the request has %s; raise timeout or try again", late.Wait.Round(time.Second), late.Left.Round(time.Second))}
}

// workerRefused turns a worker's error into what the caller reads. 621 is the
// worker's verdict on the request itself; its text names what is wrong.
func workerRefused(code int32, text string) *refusal {
	if text = clip(text); text == "" {
		text = "the worker gave no reason"
	}
	switch code {
	case wire.CodeProtocol:
		return &refusal{code, openai.BadRequest("", openai.CodeInvalidValue, "%s", text)}
	case wire.CodeTimeout:
		return &refusal{code, openai.Timeout("%s", text)}
	case wire.CodeNotReady:
		return &refusal{code, openai.Unavailable(openai.CodeNoWorker, retrySoon, "%s", text)}
	case wire.CodeCancelled:
		return cancelled()
	case wire.CodeError:
		return &refusal{code, openai.BadGateway(openai.CodeBadAnswer, "%s", text)}
	}
	return &refusal{wire.CodeFailure, openai.BadGateway(openai.CodeBadAnswer, "%s", text)}
}

// engineSays is an engine's error whose own words are lost.
func engineSays(status int32) *refusal {
	e := openai.BadGateway(openai.CodeBadAnswer, "the worker's engine answered with status %d", status)
	if status < http.StatusInternalServerError && status != http.StatusTooManyRequests {
		e.Status, e.Type = int(status), openai.TypeInvalidRequest
		return &refusal{wire.CodeProtocol, e}
	}
	return &refusal{wire.CodeNotReady, e}
}

// clip keeps a peer's text at a length fit for an error.
func clip(s string) string { return s[:min(len(s), 1000)] }

// head is the refusal as the head of an HTTP answer. Reference clients die
// of most other forms; see wire.md section 4.5.
func (f *refusal) head(start, now time.Time) []byte {
	h := tl.HTTPResponse{HTTPVersion: "HTTP/1.1", StatusCode: int32(f.StatusCode()), Reason: http.StatusText(f.StatusCode())}
	add := func(name, value string) { h.Headers = append(h.Headers, tl.HTTPHeader{Name: name, Value: value}) }
	if h.Reason == "" {
		h.Reason = "Error"
	}
	add("Content-Type", "application/json")
	add("Transfer-Encoding", "chunked")
	add(headerError, strconv.Itoa(int(f.code)))
	if f.RetryAfter > 0 {
		add("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	add("X-Cocoon-Proxy-Start", unixText(start))
	add("X-Cocoon-Proxy-End", unixText(now))
	return tl.Marshal(&h)
}
