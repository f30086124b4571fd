package proxy

import (
	"net/http"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// most is the highest total that is believed of a question, 0 if there is no
// bound: a question that names no limit may be answered at any length, and what
// bounds it is what its client can pay. Our clients always name one.
func most(q *tl.ClientRunQueryEx, t *terms) int64 {
	r := tl.NewReader(q.Query)
	r.Uint32("id")
	r.Bytes("method")
	r.Bytes("url")
	r.Bytes("http_version")
	h := http.Header{}
	for range r.Count("headers", 8) {
		name, value := r.Bytes("name"), r.Bytes("value")
		if http.CanonicalHeaderKey(string(name)) == "Content-Type" {
			h.Set("Content-Type", string(value))
		}
	}
	payload := r.Bytes("payload")
	if r.Err() != nil {
		return 0
	}
	options, _, err := openai.ParseOptions(h, payload)
	if err != nil || !options.HasMaxTokens {
		return 0
	}
	return ledger.Most(max(options.MaxTokens, int64(q.MaxTokens)), options.Answers(), len(q.Query), int64(uint32(q.MaxCoefficient)), t.Multipliers)
}

// believed is what is booked of a worker's report.
func (r *request) believed(report int64) int64 {
	if r.most == 0 || report <= r.most {
		return report
	}
	r.p.log.Warn("worker reports more than the question can cost", "worker", r.worker.text, "client", r.client.text, "reported", report, "believed", r.most)
	return r.most
}
