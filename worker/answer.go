package worker

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// How answers travel (wire.md §5.5): one proxy.queryAnswerEx with the head and
// perhaps the first bytes, then proxy.queryAnswerPartEx, the last with
// final_info; or one proxy.queryAnswerErrorEx in place of all.

const flagPrivateKey = 1 << 1 // runQueryEx: private_key

// send passes body bytes on, behind the head if they are the first. False
// means that ctx or the connection has ended.
func (j *job) send(ctx context.Context, r *http.Response, body []byte) bool {
	if !j.begun && len(body) == 0 {
		return true
	}
	for len(body) > 0 {
		if j.s.c.Room(ctx) != nil {
			return false
		}
		piece := body[:min(len(body), partSize)]
		if !j.begun && j.debug {
			piece = nil // the network's callers expect the head by itself then
		}
		if j.sendPiece(r, piece) != nil {
			return false
		}
		body = body[len(piece):]
	}
	if now := j.w.cfg.Now(); j.progressDue(now) {
		j.s.c.Send(&tl.CocoonQueryProgress{RequestID: j.query.RequestID, TokensUsed: j.tokens()})
	}
	return true
}

func (j *job) sendPiece(r *http.Response, piece []byte) error {
	j.out += int64(len(piece))
	if j.begun {
		return j.s.c.Send(&tl.ProxyQueryAnswerPartEx{RequestID: j.query.RequestID, Answer: piece})
	}
	j.begun = true
	head := j.head(r.StatusCode, callerHeader(r.Header), piece, false)
	return j.s.c.Send(&tl.ProxyQueryAnswerEx{RequestID: j.query.RequestID, Answer: head})
}

// finish sends the last bytes and what the answer costs.
func (j *job) finish(ctx context.Context, r *http.Response, last []byte) {
	if len(last) > partSize {
		if !j.send(ctx, r, last) {
			j.broken(ctx)
			return
		}
		last = nil
	}
	j.end(last)
}

// end is the last message of an answer that has begun.
func (j *job) end(last []byte) {
	j.out += int64(len(last))
	j.last(&tl.ProxyQueryAnswerPartEx{RequestID: j.query.RequestID, Answer: last, Flags: flagFinal, FinalInfo: j.finalInfo()})
}

// answerWhole sends a complete answer, as one message if it is short. With
// debug the reference client adds to the body but not to its length, so then
// the head goes alone (wire.md §4.5).
func (j *job) answerWhole(ctx context.Context, r *http.Response, body []byte) {
	if len(body) > partSize {
		j.finish(ctx, r, body)
		return
	}
	j.sendWhole(r.StatusCode, callerHeader(r.Header), body)
}

// answerWith sends an error of ours as an HTTP answer: nothing is owed for it.
func (j *job) answerWith(e *openai.Error) {
	j.meter = nil
	j.sendWhole(e.StatusCode(), []tl.HTTPHeader{{Name: "Content-Type", Value: "application/json"}}, e.JSON())
}

func (j *job) sendWhole(status int, header []tl.HTTPHeader, body []byte) {
	if j.debug {
		j.begun = true
		j.s.c.Send(&tl.ProxyQueryAnswerEx{RequestID: j.query.RequestID, Answer: j.head(status, header, nil, false)})
		j.end(body)
		return
	}
	j.begun, j.out = true, int64(len(body))
	j.last(&tl.ProxyQueryAnswerEx{RequestID: j.query.RequestID, Answer: j.head(status, header, body, true),
		Flags: flagFinal, FinalInfo: j.finalInfo()})
}

// fail ends a request that has no answer. It costs nothing.
func (j *job) fail(r *refusal) {
	j.meter = nil
	j.last(answerError(j.query.RequestID, r, j.finalInfo()))
}

// head is the http.response in front. The client chunks the body anew unless
// it is complete, and must be told which.
func (j *job) head(status int, header []tl.HTTPHeader, body []byte, complete bool) []byte {
	header = append(header, tl.HTTPHeader{Name: "X-Cocoon-Model", Value: j.w.cfg.Model}, tl.HTTPHeader{Name: "X-Cocoon-Worker-Start", Value: stamp(j.started)},
		tl.HTTPHeader{Name: "X-Cocoon-Worker-End", Value: stamp(j.w.cfg.Now())})
	if j.request != nil && j.request.goesOn {
		header = append(header, tl.HTTPHeader{Name: tl.HeaderContinues, Value: "1"})
	}
	if complete {
		header = append(header, tl.HTTPHeader{Name: "Content-Length", Value: strconv.Itoa(len(body))})
	} else {
		header = append(header, tl.HTTPHeader{Name: "Transfer-Encoding", Value: "chunked"})
	}
	return tl.Marshal(&tl.HTTPResponse{HTTPVersion: "HTTP/1.1", StatusCode: int32(status),
		Reason: http.StatusText(status), Headers: header, Payload: body})
}

// tokens is what the answer costs so far, in adjusted tokens.
func (j *job) tokens() tl.TokensUsed {
	if j.meter == nil {
		return tl.TokensUsed{}
	}
	return j.meter.price.adjust(j.meter.used())
}

func (j *job) finalInfo() tl.ProxyQueryFinalInfo {
	info := tl.ProxyQueryFinalInfo{TokensUsed: j.tokens()}
	now := j.w.cfg.Now()
	if j.s.version >= versionTimes {
		info.Flags |= flagTimes
		info.WorkerStartTime, info.WorkerEndTime = seconds(j.started), seconds(now)
	}
	if j.debug {
		info.Flags |= flagDebug
		info.WorkerDebug = j.debugText(now)
	}
	return info
}

// debugRecord is what a caller who asked for it learns about the worker. The
// first four members are the network's.
type debugRecord struct {
	Type         string   `json:"type"`
	Start        float64  `json:"start_time"`
	EngineHead   float64  `json:"answer_receive_start_at,omitempty"`
	End          float64  `json:"answer_receive_end_at"`
	EngineStatus int      `json:"engine_status,omitempty"`
	Estimated    bool     `json:"estimated"`
	Odd          []string `json:"odd,omitempty"`
	Retried      bool     `json:"asked_again_without_stream_options,omitempty"`
	Prompt       int64    `json:"prompt_tokens"`
	Cached       int64    `json:"cached_tokens"`
	Completion   int64    `json:"completion_tokens"`
	Reasoning    int64    `json:"reasoning_tokens"`
}

func (j *job) debugText(now time.Time) string {
	d := debugRecord{Type: "worker_stats", Start: seconds(j.started), End: seconds(now), EngineStatus: j.status, Retried: j.retried}
	if !j.replied.IsZero() {
		d.EngineHead = seconds(j.replied)
	}
	if j.meter != nil {
		u := j.meter.used()
		d.Prompt, d.Cached, d.Completion, d.Reasoning = u.Prompt, u.Cached, u.Completion, u.Reasoning
		d.Estimated, d.Odd = j.meter.estimated(), j.meter.odd.names()
	}
	text, _ := json.Marshal(d) // numbers and our own words: cannot fail
	return string(text)
}

// seconds is Unix time as the network writes it.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func stamp(t time.Time) string { return strconv.FormatFloat(seconds(t), 'f', 6, 64) }
