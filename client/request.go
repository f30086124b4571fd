package client

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/model"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// Paths that travel to a worker.
const (
	pathChat           = "/v1/chat/completions"
	pathCompletions    = "/v1/completions"
	pathTranscriptions = "/v1/audio/transcriptions"
	pathModels         = "/v1/models"
)

func isInference(path string) bool {
	return path == pathChat || path == pathCompletions || path == pathTranscriptions
}

// retryAfter is what we suggest when the network is busy.
const retryAfter = time.Second

// margin is the part of the remaining time that the next hop gets, so that its
// timer strikes before ours and we can pass its reason on.
const margin = 0.95

// request is one inference request on its way.
type request struct {
	path     string
	options  openai.Options
	wishes   tl.CocoonWishes
	needs    openai.Facts
	prompt   int64             // tokens of the question, by estimate
	begins   [sha256.Size]byte // hash of the conversation's beginning, if familiar
	familiar bool
	query    []byte // boxed http.request; nil once an answer has begun
	memory   int64  // taken from the client's budget for query
	start    time.Time
	deadline time.Time
	key      string // of whom asks, as the tally names it
	tried    []*link
	client   *Client
	opener   *fieldcrypt.Opener // of the answer, if the request was encrypted here
	origin   *origin            // nil unless a broken stream may be resumed

	// Of a request for the rest of an answer.
	rest   bool      // it is one
	begun  bool      // and of a chat, with a message that is begun
	shun   []string  // workers that broke off
	before coin.Nano // what earlier parts cost
}

// newRequest reads and rewrites a request. Body must not change while the
// request is in use.
func (c *Client) newRequest(path string, h http.Header, body []byte) (*request, *openai.Error) {
	mode, err := c.encryption(h)
	if err != nil {
		return nil, err
	}
	options, forward, err := openai.ParseOptions(h, body)
	if err != nil {
		return nil, err
	}
	asked := forward
	if !options.HasMaxTokens {
		options.MaxTokens = int64(c.cfg.MaxTokens)
		if c.cfg.Tally.Limits() != (ledger.Limits{}) {
			forward = withLimit(path, forward, options.MaxTokens)
		}
	}
	if !options.HasMaxCoefficient {
		options.MaxCoefficient = c.cfg.MaxCoefficient
	}
	if options.Timeout == 0 {
		options.Timeout = c.cfg.Timeout
	}
	options.MaxCoefficient = ceiling(options.Provider, c.cfg.Registry.Root(), options.MaxCoefficient)
	rq := &request{path: path, options: options, start: c.cfg.Now(), client: c}
	if rq.wishes, err = wishes(options.Provider); err != nil {
		return nil, err
	}
	rq.deadline = rq.start.Add(options.Timeout)
	if !c.cfg.NoAffinity && !options.Encrypted {
		rq.begins, rq.familiar = beginning(path, rq.model(), forward)
	}
	rq.readNeeds(path, asked)
	rq.mayResume(mode, h, forward)
	if forward, err = rq.seal(mode, h, forward); err != nil {
		rq.origin.release(c)
		return nil, err
	}
	if err := rq.encode(h, forward); err != nil {
		rq.origin.release(c)
		return nil, err
	}
	return rq, nil
}

// withLimit writes the limit that is reserved into the request, where spending
// is limited: otherwise the answer could cost more than was set aside.
func withLimit(path string, body []byte, limit int64) []byte {
	if path == pathTranscriptions {
		return body
	}
	doc, err := openai.ParseObject(body)
	if err != nil {
		return body
	}
	doc.Set("max_tokens", strconv.AppendInt(nil, limit, 10))
	return doc.Bytes()
}

// encode writes the query. Like the reference it is always a POST without
// query string; unlike it, only headers that the engine needs go along: the
// others name the caller, and their keys are for this gateway.
func (rq *request) encode(h http.Header, body []byte) *openai.Error {
	q := tl.HTTPRequest{Method: http.MethodPost, URL: rq.path, HTTPVersion: "HTTP/1.1", Payload: body}
	for _, name := range rq.client.forwarded {
		for _, value := range h[name] {
			q.Headers = append(q.Headers, tl.HTTPHeader{Name: name, Value: value})
		}
	}
	if rq.begun {
		q.Headers = append(q.Headers, tl.HTTPHeader{Name: tl.HeaderContinue, Value: "1"})
	}
	q.Headers = append(q.Headers, tl.HTTPHeader{Name: "Content-Length", Value: strconv.Itoa(len(body))})
	size := q.SizeTL()
	if int64(size) > 1<<24-frameReserve/2 {
		return openai.TooLarge(rq.client.cfg.MaxBody, int64(len(body)))
	}
	if !rq.client.memory.take(int64(size)) {
		return outOfMemory()
	}
	rq.memory = int64(size)
	rq.query = q.AppendTL(make([]byte, 0, size))
	return nil
}

func outOfMemory() *openai.Error {
	return openai.Unavailable(openai.CodeRateLimit, retryAfter, "this gateway holds as much as it may; try again in a moment")
}

// release forgets the query: it cannot be sent again.
func (rq *request) release() {
	rq.client.memory.give(rq.memory)
	rq.query, rq.memory = nil, 0
}

func (rq *request) left() time.Duration { return rq.deadline.Sub(rq.client.cfg.Now()) }

// model is what is asked of a proxy: a revision, if the caller pinned one.
func (rq *request) model() string { return cmp.Or(rq.options.Pin, rq.options.Model) }

// fulfilled says whether an answer is of the revision that was asked for, as
// the worker names it. Errors may be anybody's.
func (rq *request) fulfilled(head *tl.HTTPResponse) bool {
	return rq.options.Pin == "" || head.StatusCode >= 400 || model.Pins(rq.options.Pin, header(head, headerModel))
}

// headerModel is how a worker names the model that answered, with its commit
// and hash.
const headerModel = "X-Cocoon-Model"

// message is the query in the words that the link's version knows.
func (rq *request) message(l *link, id tl.Int256, left time.Duration) tl.Object {
	q := &tl.ClientRunQueryEx{
		ModelName:        rq.model(),
		Query:            rq.query,
		MaxCoefficient:   rq.options.MaxCoefficient,
		MaxTokens:        int32(rq.options.MaxTokens),
		Timeout:          left.Seconds() * margin,
		RequestID:        id,
		MinConfigVersion: int32(l.root.Version),
		Flags:            1,
		EnableDebug:      rq.options.Debug,
	}
	if l.version >= versionKeys { // older parsers take the key for garbage behind the message
		q.Flags |= 2
		q.PublicKey = rq.options.ReceiverPublicKey
	}
	if l.facts && rq.needs != (openai.Facts{}) {
		return &tl.CocoonRunNeeding{Needs: factsMessage(rq.needs), Query: *rq.wished(q, l)}
	}
	if l.market && (rq.wishful() || rq.familiar || rq.options.Explain || len(rq.shun) > 0) {
		return rq.wished(q, l)
	}
	if l.version > 0 {
		return q
	}
	return &tl.ClientRunQuery{
		ModelName: q.ModelName, Query: q.Query, MaxCoefficient: q.MaxCoefficient, MaxTokens: q.MaxTokens,
		Timeout: q.Timeout, RequestID: q.RequestID, MinConfigVersion: q.MinConfigVersion,
	}
}

// forwardList is which headers travel, in canonical spelling.
func forwardList(more []string) ([]string, error) {
	list := []string{"Content-Type", "Accept"}
	for _, name := range more {
		name = textproto.CanonicalMIMEHeaderKey(name)
		switch name {
		case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Accept-Encoding", "":
			return nil, fmt.Errorf("header %q cannot be forwarded", name)
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list, nil
}
