package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	// maxTimeout bounds what a proxy may ask for.
	maxTimeout = 24 * time.Hour
	// hopShare of the remaining time is what each hop leaves the next one, so
	// that the one before can still tell its caller (roles.md §14).
	hopShare = 0.95
)

// job is one request on its way through the worker. It runs on a goroutine of
// its own and nobody else touches it.
type job struct {
	w       *Worker
	s       *session
	query   *tl.ProxyRunQueryEx
	started time.Time
	debug   bool

	admitted bool               // occupies a slot and its id
	request  *request           // nil until it has passed the rules
	meter    *meter             // nil until the engine has answered
	sealer   *fieldcrypt.Sealer // nil unless the request came encrypted
	envelope *envelope          // then set with meter
	retried  bool               // asked again without stream_options
	status   int                // the engine's
	replied  time.Time
	begun    bool // the proxy has a first answer; errors go into the body now
	ok       bool // a complete answer of the engine
	reported bool // the last message says what it cost
	out      int64
	told     time.Time // last progress
}

// begin admits a request, on the goroutine that reads the connection. An error
// is the proxy's fault and ends the connection.
func (s *session) begin(q *tl.ProxyRunQueryEx) error {
	if _, empty := q.SignedPayment.(*tl.ProxySignedPaymentEmpty); !empty {
		if _, err := s.account.pay(q.SignedPayment); err != nil {
			return err
		}
	}
	j := &job{w: s.w, s: s, query: q, started: s.w.cfg.Now(), debug: q.Flags&1 != 0 && q.EnableDebug}
	s.w.stats.begin(len(q.Query))
	if s.runs(q.RequestID) { // before it can be refused: the refusal would end the one that runs
		s.w.stats.end(j)
		return errInUse
	}
	if bad := s.admit(q); bad != nil {
		j.fail(bad)
		s.w.stats.end(j)
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	err := s.enlist(q.RequestID, cancel)
	if err != nil {
		s.w.slots.free()
		s.w.slots.end()
		return err
	}
	j.admitted = true
	s.w.crew.run(s.w.live, &s.w.background, func() {
		defer s.ended()
		defer s.w.slots.end()
		defer j.leave()
		defer cancel(nil)
		j.run(ctx)
	})
	return nil
}

// leave books the request and makes room for the next one, before the proxy can
// know that there is some.
func (j *job) leave() {
	if !j.admitted {
		return
	}
	j.admitted = false
	j.w.stats.end(j)
	if book := j.w.cfg.Book; book != nil && j.meter != nil && j.reported {
		book.Worked(j.s.account.contract, j.w.model, j.tokens().TotalTokensUsed)
		j.s.judge()
	}
	j.s.delist(j.query.RequestID)
	j.w.slots.free()
}

// last sends the last message of the answer.
func (j *job) last(o tl.Object) {
	j.reported = true
	j.leave()
	j.s.c.Send(o)
}

// admit checks what needs no look at the request itself, and takes a slot.
func (s *session) admit(q *tl.ProxyRunQueryEx) *refusal {
	s.mu.Lock()
	floor := s.floor
	s.mu.Unlock()
	switch {
	case q.Coefficient < int64(floor) || q.Coefficient > maxCoefficient:
		return &refusal{wire.CodeError, fmt.Sprintf("worker: coefficient is %d, want %d to %d", q.Coefficient, floor, maxCoefficient)}
	case s.w.refusing():
		return &refusal{wire.CodeNotReady, "worker: takes no requests now"}
	case s.owing() != nil: // it was told, and news travels
		return &refusal{wire.CodeNotReady, "worker: waits for what it has earned"}
	case s.distrusted() != nil: // likewise
		return &refusal{wire.CodeNotReady, "worker: takes no more requests here"}
	case !(q.Timeout > 0): // also when it is no number
		return &refusal{wire.CodeTimeout, "worker: no time left"}
	case !s.w.slots.take():
		return &refusal{wire.CodeError, "worker: too many active queries"}
	}
	return nil
}

var errInUse = errors.New("request id is in use")

func (s *session) runs(id tl.Int256) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id] != nil
}

// enlist makes a request one that can be cancelled. Its id must be new: two
// answers under one id cannot be told apart.
func (s *session) enlist(id tl.Int256, cancel context.CancelCauseFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[id] != nil {
		return errInUse
	}
	s.jobs[id] = cancel
	s.running++
	return nil
}

func (s *session) delist(id tl.Int256) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, id)
}

// run takes the request through the worker. Whatever happens, the proxy gets
// exactly one end, unless it is gone.
func (j *job) run(ctx context.Context) {
	budget := time.Duration(math.Min(j.query.Timeout*hopShare*float64(time.Second), float64(maxTimeout)))
	ctx, cancel := context.WithTimeoutCause(ctx, budget, errTimeout)
	defer cancel()
	var in tl.HTTPRequest
	if err := tl.Unmarshal(j.query.Query, &in); err != nil {
		j.fail(badRequest("%v", err))
		return
	}
	if bad := j.unseal(&in); bad != nil {
		j.fail(bad)
		return
	}
	request, bad := readRequest(&in, j.w.model, j.w.cfg.ForwardCredentials)
	if bad != nil {
		j.fail(bad)
		return
	}
	j.request = request
	if request.goesOn && !j.w.continues(ctx) {
		j.fail(&refusal{wire.CodeError, "worker: its engine is not known to go on with what another has begun"})
		return
	}
	response, err := j.ask(ctx)
	if err != nil {
		j.broken(ctx)
		return
	}
	defer response.Body.Close()
	j.relay(ctx, response)
}

var errTimeout = errors.New("the request ran out of time")

// broken ends a request that cannot be completed. Before the first answer the
// code tells the proxy whether another worker is worth a try; after it the
// caller finds an error event at the end of the body.
func (j *job) broken(ctx context.Context) {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errLost):
		return // nobody is left to tell
	case errors.Is(cause, errCancelled):
		j.breakOff(&refusal{wire.CodeCancelled, "worker: cancelled"}, nil)
	case errors.Is(cause, errTimeout):
		j.breakOff(&refusal{wire.CodeTimeout, "worker: timeout"},
			openai.Timeout("the engine did not finish in time; the answer is incomplete"))
	case errors.Is(cause, errShutdown):
		j.breakOff(&refusal{wire.CodeNotReady, "worker: shutting down"},
			openai.BadGateway(openai.CodeConnectionLost, "the worker is shutting down; the answer is incomplete"))
	default:
		j.breakOff(&refusal{wire.CodeNotReady, "worker: engine failed"},
			openai.BadGateway(openai.CodeConnectionLost, "the engine broke off; the answer is incomplete"))
	}
}

// breakOff ends the answer with r, or with e inside the body if it has begun;
// a caller who left needs no event.
func (j *job) breakOff(r *refusal, e *openai.Error) {
	if !j.begun {
		j.fail(r)
		return
	}
	var last []byte
	if e != nil {
		last = j.abort(e)
	}
	j.end(last)
}
