package client

import (
	"net/http"

	"github.com/opencocoon/cocoon/openai"
)

// A stream may break behind its first byte: its worker or proxy is lost, its
// engine fails or stands still. Where the caller allows it, another worker goes
// on, with what was delivered as the beginning of its answer. That is done here
// and not in the proxy, because nobody else may hold what was asked and
// answered; so it also works for encrypted requests, and when the proxy is what
// was lost. Each part is paid for what it delivered, and what was delivered is
// paid once more, as a part of the next one's prompt.

// maxResumes bounds how often one answer is gone on with.
const maxResumes = 2

// headerResumed names, behind an answer, the workers that went on with it.
const headerResumed = "X-Cocoon-Resumed"

// origin is what a request was made of, kept so that another can be made.
type origin struct {
	body   []byte
	header http.Header // what travels of it
	mode   string      // of encryption
	memory int64       // taken from the client's budget
	unfit  string      // why no other can be made; then the rest is empty
}

// mayResume keeps what is needed to go on with the answer, if the caller allows it.
func (rq *request) mayResume(mode string, h http.Header, body []byte) {
	c := rq.client
	allowed := c.cfg.Resume
	if p := rq.options.Provider; p != nil {
		// Who allows no fallbacks has to say so himself.
		if allowed = allowed && !p.NoFallbacks; p.HasResume {
			allowed = p.Resume
		}
	}
	if !allowed || !rq.options.Stream || rq.path == pathTranscriptions {
		return
	}
	o := &origin{mode: mode, header: http.Header{}}
	rq.origin = o
	if rq.options.Encrypted {
		o.unfit = "the app has encrypted it itself"
		return
	}
	if o.unfit = openai.CannotContinue(rq.path == pathChat, body); o.unfit != "" {
		return
	}
	if !c.memory.take(int64(len(body))) {
		o.unfit = "this gateway holds as much as it may"
		return
	}
	o.body, o.memory = body, int64(len(body))
	for _, name := range c.forwarded {
		if v := h[name]; v != nil {
			o.header[name] = v
		}
	}
}

// goesOn says whether another worker may go on with the answer, however little
// of it there is.
func (rq *request) goesOn() bool { return rq.rest || rq.origin != nil }

// release forgets it. It may be called again, and of nil.
func (o *origin) release(c *Client) {
	if o != nil {
		c.memory.give(o.memory)
		o.body, o.memory = nil, 0
	}
}
