package worker

import (
	"crypto/rand"
	"strings"

	"github.com/opencocoon/cocoon/tl"
)

// answer is all that a proxy gets for one request.
type answer struct {
	status   int32
	header   map[string]string
	first    string   // payload of the first message
	parts    []string // and of the others
	code     int32    // of an error message
	text     string
	info     tl.ProxyQueryFinalInfo
	progress []tl.TokensUsed
}

func (a *answer) body() string { return a.first + strings.Join(a.parts, "") }

func newID() (id tl.Int256) {
	rand.Read(id[:])
	return id
}

func chat(members string) string {
	return `{"model":"fake/model","messages":[{"role":"user","content":"hi"}]` + members + `}`
}

func post(path, body string, headers ...string) *tl.HTTPRequest {
	r := &tl.HTTPRequest{Method: "POST", URL: path, HTTPVersion: "HTTP/1.1", Payload: []byte(body),
		Headers: []tl.HTTPHeader{{Name: "Content-Type", Value: "application/json"}}}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Headers = append(r.Headers, tl.HTTPHeader{Name: headers[i], Value: headers[i+1]})
	}
	return r
}

func query(r *tl.HTTPRequest) *tl.ProxyRunQueryEx {
	return &tl.ProxyRunQueryEx{Query: tl.Marshal(r), SignedPayment: &tl.ProxySignedPaymentEmpty{},
		Coefficient: 1000, Timeout: 60, RequestID: newID(), Flags: 3}
}

// run sends one request and collects its answer.
func (h *proxyConn) run(q *tl.ProxyRunQueryEx) *answer {
	h.p.t.Helper()
	h.send(q)
	return h.collect(q.RequestID)
}

func (h *proxyConn) send(o tl.Object) {
	h.p.t.Helper()
	if err := h.c.Send(o); err != nil {
		h.p.t.Fatal(err)
	}
}

// collect reads messages up to the end of one answer, insisting on the order
// that proxies insist on.
func (h *proxyConn) collect(id tl.Int256) *answer {
	h.p.t.Helper()
	a := &answer{}
	for {
		switch m := h.next().(type) {
		case *tl.ProxyQueryAnswerEx:
			h.mine(id, m.RequestID)
			if a.header != nil {
				h.p.t.Fatal("two first answers")
			}
			a.head(h, m.Answer)
			if m.Flags&1 != 0 {
				a.info = m.FinalInfo
				return a
			}
		case *tl.ProxyQueryAnswerPartEx:
			h.mine(id, m.RequestID)
			if a.header == nil {
				h.p.t.Fatal("part before the first answer")
			}
			a.parts = append(a.parts, string(m.Answer))
			if m.Flags&1 != 0 {
				a.info = m.FinalInfo
				return a
			}
		case *tl.ProxyQueryAnswerErrorEx:
			h.mine(id, m.RequestID)
			if m.Flags&1 == 0 {
				h.p.t.Fatal("error without final info: reference proxies crash")
			}
			a.code, a.text, a.info = m.ErrorCode, m.Error, m.FinalInfo
			return a
		case *tl.CocoonQueryProgress:
			h.mine(id, m.RequestID)
			a.progress = append(a.progress, m.TokensUsed)
		case *tl.WorkerEnabledDisabled, *tl.WorkerNewCoefficient:
		default:
			h.p.t.Fatalf("unexpected %T", m)
		}
	}
}

func (h *proxyConn) mine(want, got tl.Int256) {
	h.p.t.Helper()
	if got != want {
		h.p.t.Fatalf("answer for %x, want %x", got[:4], want[:4])
	}
}

func (a *answer) head(h *proxyConn, raw []byte) {
	h.p.t.Helper()
	var r tl.HTTPResponse
	if err := tl.Unmarshal(raw, &r); err != nil {
		h.p.t.Fatalf("first answer: %v", err)
	}
	a.status, a.first, a.header = r.StatusCode, string(r.Payload), map[string]string{}
	for _, x := range r.Headers {
		if _, twice := a.header[x.Name]; twice {
			h.p.t.Errorf("header %s twice", x.Name)
		}
		a.header[x.Name] = x.Value
	}
	if (a.header["Content-Length"] == "") == (a.header["Transfer-Encoding"] == "") {
		h.p.t.Errorf("headers %v, want a length or a transfer encoding: callers hang without", a.header)
	}
}
