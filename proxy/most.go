package proxy

import (
	"net/http"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// unheard is how many tokens an answer may have beyond its bytes where the
// question names no limit: what a model thinks need not be in what it says.
const unheard = 64 << 10

// bound is what an answer can cost, as far as its question says.
type bound struct {
	named    bool  // the question names a limit; our clients' always do
	limit    int64 // tokens of an answer that the client sets money aside for
	answers  int64
	question int  // bytes
	whole    bool // the answer comes in one piece, as far as can be seen
	rest     bool // of an answer that another worker began
}

func boundOf(q *tl.ClientRunQueryEx) bound {
	b := bound{limit: int64(q.MaxTokens), answers: 1, question: len(q.Query), whole: true}
	r := tl.NewReader(q.Query)
	r.Uint32("id")
	r.Bytes("method")
	r.Bytes("url")
	r.Bytes("http_version")
	h := http.Header{}
	for range r.Count("headers", 8) {
		name, value := r.Bytes("name"), r.Bytes("value")
		switch http.CanonicalHeaderKey(string(name)) {
		case "Content-Type":
			h.Set("Content-Type", string(value))
		case tl.HeaderContinue:
			b.rest = true
		}
	}
	payload := r.Bytes("payload")
	if r.Err() != nil {
		return b
	}
	options, _, err := openai.ParseOptions(h, payload)
	if err != nil {
		return b
	}
	if b.whole = !options.Stream; !options.HasMaxTokens {
		return b
	}
	b.named, b.limit, b.answers = true, max(options.MaxTokens, b.limit), options.Answers()
	return b
}

// most is the highest total that is believed at the price that the worker was
// asked at. Of a question that names no limit, what was delivered is the bound:
// no token takes less than a byte.
func (r *request) most() int64 {
	b := r.bound
	if !b.named {
		b.limit = max(b.limit, int64(r.bytesOut)) + unheard
	}
	return ledger.Most(b.limit, b.answers, b.question, r.price, r.p.terms.Load().Multipliers)
}

// believed is what is booked of a worker's report. Errors cost nothing.
func (r *request) believed(report int64) int64 {
	if r.status >= http.StatusBadRequest {
		return 0
	}
	most := r.most()
	if report <= most {
		return report
	}
	r.p.log.Warn("worker reports more than the question can cost", "worker", r.worker.text, "client", r.client.text, "reported", report, "believed", most)
	return most
}

// charged is a report as the client is told of it: no more than was booked.
func charged(t tl.TokensUsed, booked int64) tl.TokensUsed {
	for _, n := range []*int64{&t.PromptTokensUsed, &t.CachedTokensUsed, &t.CompletionTokensUsed, &t.ReasoningTokensUsed, &t.TotalTokensUsed} {
		*n = min(*n, booked)
	}
	return t
}
