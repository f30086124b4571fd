package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// session is one connection to a proxy and the requests that came through it.
type session struct {
	w       *Worker
	c       *wire.Conn
	address string
	born    time.Time

	// Set by the handshake before requests can come, then constant.
	version  int32
	extended bool
	explains bool // the proxy says why there is no work
	listens  bool // it wants to know what the worker can do
	account  *earnings
	root     *contract.Root // its prices hold while the connection lasts
	// progress is set a moment later; both ends then agreed on it.
	progress atomic.Bool

	mu   sync.Mutex // guards all below
	open bool       // handshake far enough for requests
	up   bool       // and complete
	owes error      // why the proxy gets no more work, nil if it does
	// unwanted is why it never will again, nil if it may.
	unwanted error
	running  int           // requests, to the very end
	quiet    chan struct{} // if not nil, closed when none runs
	said     struct {      // what the proxy knows of us
		disabled    bool
		coefficient int32
		facts       openai.Facts
	}
	floor int32   // lowest coefficient the proxy was ever told here
	known balance // what the proxy has said here, in order
	why   *Reasons
	jobs  map[tl.Int256]context.CancelCauseFunc
}

func newSession(w *Worker, c *wire.Conn, address string) *session {
	return &session{w: w, c: c, address: address, born: time.Now(), jobs: map[tl.Int256]context.CancelCauseFunc{}}
}

var (
	errCancelled = errors.New("cancelled by the caller")
	errLost      = errors.New("connection to the proxy lost")
)

// join makes the session one that hears news, just before it says in which
// state the worker is: what changes in between is told by ready.
func (s *session) join() (disabled bool, coefficient int32) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.sessions[s] = struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
	return s.w.idle != 0 || s.owes != nil || s.unwanted != nil, s.said.coefficient
}

// judge looks whether the proxy is behind with what it owes, and tells it that
// it gets no more work, or some again.
func (s *session) judge() {
	owes := s.account.behind()
	s.mu.Lock()
	before := s.owes
	s.owes = owes
	s.mu.Unlock()
	if (before == nil) == (owes == nil) {
		return
	}
	if owes != nil {
		s.w.cfg.Log.Warn("worker: no more work for a proxy that is behind", "proxy", s.address, "why", owes)
	} else {
		s.w.cfg.Log.Info("worker: the proxy has caught up", "proxy", s.address)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.tell(s.w.idle != 0, s.w.coefficient)
}

func (s *session) owing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owes
}

// ready ends the handshake, in which the proxy was told these two.
func (s *session) ready(disabled bool, coefficient int32) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.mu.Lock()
	s.up = true
	s.said.disabled, s.said.coefficient = disabled, coefficient
	s.mu.Unlock()
	s.tell(s.w.idle != 0, s.w.coefficient)
}

// tell sends what the proxy does not know yet. The caller holds w.mu.
func (s *session) tell(disabled bool, coefficient int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up {
		return
	}
	disabled = disabled || s.owes != nil || s.unwanted != nil
	if f := s.w.facts; s.listens && s.said.facts != f { // first, so that what comes is for it
		s.said.facts = f
		s.c.Send(&tl.CocoonFacts{Context: int32(f.Context), Capabilities: int32(f.Can), Region: f.Region})
	}
	if s.said.coefficient != coefficient {
		s.said.coefficient, s.floor = coefficient, min(s.floor, coefficient)
		s.c.Send(&tl.WorkerNewCoefficient{NewCoefficient: coefficient})
	}
	if s.said.disabled != disabled {
		s.said.disabled = disabled
		word := int32(0)
		if disabled {
			word = 1
		}
		s.c.Send(&tl.WorkerEnabledDisabled{Disabled: word})
	}
}

// Packet takes one message of a proxy. A known message that is wrong ends the
// connection; an unknown one is a newer peer's business.
func (w *Worker) Packet(c *wire.Conn, data []byte) {
	s := c.Data.(*session)
	o, err := tl.Decode(data)
	if errors.Is(err, tl.ErrUnknown) {
		return
	}
	if err == nil {
		err = s.packet(o)
	}
	if err != nil {
		c.Close(fmt.Errorf("worker: proxy %s: %w", s.address, err))
	}
}

func (s *session) packet(o tl.Object) error {
	if !s.isOpen() {
		return nil // as in the network: dropped before the handshake ends
	}
	switch m := o.(type) {
	case *tl.ProxyRunQueryEx:
		return s.begin(m)
	case *tl.ProxyRunQuery: // versions 0; answered in the newer form, as the network does
		return s.begin(&tl.ProxyRunQueryEx{Query: m.Query, SignedPayment: m.SignedPayment,
			Coefficient: m.Coefficient, Timeout: m.Timeout, RequestID: m.RequestID})
	case *tl.ProxyWorkerRequestPayment:
		err := s.paid(m.SignedPayment, m.DbTokens, m.MaxTokens)
		s.judge()
		return err
	case *tl.ProxySignedPayment:
		_, err := s.account.pay(m)
		s.account.report()
		s.judge()
		return err
	case *tl.CocoonCancelQuery:
		s.cancel(m.RequestID)
	}
	return nil
}

func (s *session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// paid books what the proxy says it owes.
func (s *session) paid(p tl.ProxySignedPaymentClass, db, most int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.account.take(s.known, p, db, most)
	s.known = known
	return err
}

// Query answers what a proxy may ask.
func (w *Worker) Query(c *wire.Conn, q *wire.Query) {
	switch tl.PeekID(q.Data) {
	case (*tl.CocoonGetFeatures)(nil).TLID():
		q.Answer(&tl.CocoonFeatures{Names: ourFeatures})
	case (*tl.WorkerChangeModel)(nil).TLID():
		// A proxy that may choose what runs here would decide what is
		// attested. The operator changes models.
		q.Fail(wire.CodeError, "worker: the model is changed by its operator only")
	default:
		q.Fail(0, "Lost promise")
	}
}

// Closed ends every request of the connection: nobody is left to answer to.
func (w *Worker) Closed(c *wire.Conn, err error) {
	s := c.Data.(*session)
	w.leave(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open, s.up = false, false
	for _, cancel := range s.jobs {
		cancel(errLost)
	}
}

func (w *Worker) leave(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sessions, s)
}

func (s *session) cancel(id tl.Int256) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.jobs[id]; cancel != nil {
		cancel(errCancelled)
	}
}

// endRequests tells all running requests to end for this reason.
func (w *Worker) endRequests(reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.sessions {
		s.mu.Lock()
		for _, cancel := range s.jobs {
			cancel(reason)
		}
		s.mu.Unlock()
	}
}

// pollPayments asks for the newest promise every 10 to 20 seconds.
func (s *session) pollPayments() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		<-s.c.Done()
	}()
	s.askWhy(ctx)
	for sleep(ctx, 10*time.Second+rand.N(10*time.Second)) {
		s.askWhy(ctx)
		if err := s.poll(ctx); err != nil && ctx.Err() == nil {
			s.c.Close(fmt.Errorf("worker: payment status of %s: %w", s.address, err))
			return
		}
	}
}

// poll forgives a proxy that does not answer this time; what it answers must
// hold.
func (s *session) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s.mu.Lock()
	known := s.known
	s.mu.Unlock()
	status, err := wire.Ask[tl.WorkerPaymentStatus](ctx, s.c, &tl.WorkerUpdatePaymentStatus{})
	if err != nil {
		s.w.cfg.Log.Warn("worker: no payment status", "proxy", s.address, "reason", err)
		return nil
	}
	got, err := s.account.take(known, status.SignedPayment, status.DbTokens, status.MaxTokens)
	s.judge()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = s.known.or(got) // packets behind the answer may have been read already
	return err
}
