package proxy

import (
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// Keys are the private keys of field encryption (current.md section 3). The
// proxy reads nothing with them: it hands the right one to the worker.
//
//   - Private must return the private half of a public key, if it may be used
//     now, at once and without asking anybody.
//   - Count must say how many there are.
//   - Both must be safe for concurrent use.
type Keys interface {
	Private(public [32]byte) (private [32]byte, ok bool)
	Count() int
}

// versionKeys is the protocol version from which on messages have room for keys.
const versionKeys = 3

// takeKey finds the key for an encrypted question. It is kept with the question,
// until a worker has begun to answer: a key that expires meanwhile was good when
// the question came.
func (r *request) takeKey(q *tl.ClientRunQueryEx) *refusal {
	if q.Flags&2 == 0 || q.PublicKey == (tl.Int256{}) {
		return nil
	}
	var ok bool
	if keys := r.p.cfg.Keys; keys != nil {
		var private [32]byte
		private, ok = keys.Private(q.PublicKey)
		r.private = private
		clear(private[:])
	}
	if !ok {
		return &refusal{wire.CodeError, openai.BadRequest("receiver_public_key", openai.CodeInvalidValue, "unknown public key")}
	}
	r.encrypted = true
	return nil
}

// keyCount is how many keys encrypted requests may use now.
func (p *Proxy) keyCount() int {
	if p.cfg.Keys == nil {
		return 0
	}
	return p.cfg.Keys.Count()
}
