package client

import (
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/tl"
)

func pinned(model string) string { return strings.Replace(chatBody, `"m"`, `"`+model+`"`, 1) }

// The proxy is asked for the revision, the engine for the model, and the
// answer says which it was.
func TestPinnedRevision(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		h := response200("application/json")
		h.Headers = append(h.Headers, tl.HTTPHeader{Name: "X-Cocoon-Model", Value: "m@4f1b:00ff"})
		s.head(q.RequestID, h)
		s.last(q.RequestID, smallAnswer)
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	for _, asked := range []string{"m", "m@4f1b", "m@4f1b:00ff"} {
		res, body := chat(t, c, pinned(asked))
		if res.StatusCode != 200 || body != smallAnswer || res.Header.Get("X-Cocoon-Model") != "m@4f1b:00ff" {
			t.Errorf("%s: status %d, header %q, body %s", asked, res.StatusCode, res.Header.Get("X-Cocoon-Model"), body)
		}
		q := p.seen()[len(p.seen())-1]
		var forwarded tl.HTTPRequest
		if err := tl.Unmarshal(q.Query, &forwarded); err != nil {
			t.Fatal(err)
		}
		if q.ModelName != asked || string(forwarded.Payload) != chatBody {
			t.Errorf("%s: the proxy was asked for %s, the engine %s", asked, q.ModelName, forwarded.Payload)
		}
	}
	if s := c.Snapshot(); s.Status.Running != 0 || s.Status.MemoryUsed != 0 {
		t.Errorf("left behind: %+v", s.Status)
	}
}

// An answer of another revision, or of nobody knows which, is not passed on.
func TestAnswerOfAnotherRevision(t *testing.T) {
	answers := map[string]string{"m@other": "m@4f1b:00ff", "m@4f1b:11": "m@4f1b:00ff", "m@4f1b": ""}
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		h := response200("application/json")
		if says := answers[q.ModelName]; says != "" {
			h.Headers = append(h.Headers, tl.HTTPHeader{Name: "x-cocoon-model", Value: says})
		}
		s.head(q.RequestID, h)
		s.last(q.RequestID, smallAnswer)
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	for asked := range answers {
		res, body := chat(t, c, pinned(asked))
		if code, message := apiError(t, body); res.StatusCode != 502 || code != "bad_answer" || !strings.Contains(message, "not of the model '"+asked+"'") {
			t.Errorf("%s: status %d, %s", asked, res.StatusCode, body)
		}
	}
	if s := c.Snapshot(); s.Status.Running != 0 || s.Status.MemoryUsed != 0 {
		t.Errorf("left behind: %+v", s.Status)
	}
}

// A proxy that knows no revisions refuses them with its word for a wrong
// request; the caller hears that there is no such model.
func TestProxyWithoutRevisions(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.send(&tl.ClientQueryAnswerErrorEx{RequestID: q.RequestID, ErrorCode: 621, Error: "unknown model"})
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	res, body := chat(t, c, pinned("m@4f1b"))
	if code, message := apiError(t, body); res.StatusCode != 404 || code != "model_not_found" || !strings.Contains(message, "m@4f1b") {
		t.Errorf("status %d, %s", res.StatusCode, body)
	}
}
