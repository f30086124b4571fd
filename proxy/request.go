package proxy

import (
	"errors"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	maxAttempts = 6         // workers that one request is given to at most
	newcomers   = 2         // the first of them may be such of whom nothing is known
	maxTimeout  = time.Hour // of a request
	// workerShare of the remaining time goes to the worker, so that its verdict comes before ours.
	workerShare = 0.95
)

// request is one question of a client, from admission to its last message.
//
//	waiting ─▶ sent ─▶ answering ─▶ settling ─▶ ended
//	   ▲        │ worker failed, time left
//	   └────────┘
//
// Only what is booked goes through settling, in which nothing but the ledger's
// answer is waited for. Every event takes mu, acts and, having released it, does what touches other
// requests (type later). Under mu the locks of tables, market, ledger and connections
// are taken, one at a time; none of them ever takes mu.
type request struct {
	p         *Proxy
	client    *client
	id        tl.Int256 // the client's
	model     string    // its base name
	pin       string    // the revision asked for, if one is
	ceiling   uint32
	debug     bool
	started   time.Time
	deadline  time.Time
	encrypted bool // only workers with room for its key will do
	longest   int  // answer in tokens that the client sets money aside for
	wishes    market.Wishes
	affinity  [16]byte
	needs     openai.Facts
	explain   bool // the client wants to know why this worker

	mu       sync.Mutex // guards all below
	state    state
	query    []byte    // until the first answer
	private  tl.Int256 // of the key that it is encrypted for, as long as query
	bound    bound     // of what it can cost
	hold     *ledger.Hold
	timer    *time.Timer      // the whole
	patience *time.Timer      // the queue
	waiter   *market.Waiter   // in the queue, for a worker or for a second one
	verdict  *market.Decision // why it waits; nil for the many that never do
	position int              // the client was told

	attempt          // at the worker that it was given to
	second  *attempt // at another one, because the first answer is late; nil most of the time
	hedge   *time.Timer
	tried   []*market.Offer
	failure *refusal // of the last worker
	doubted *attempt // that called the request wrong, until another has served it
	wrong   *refusal // its words
	given   bool     // to any worker: then payments follow

	firstAt  time.Time
	lastAt   time.Time // something of the answer came
	status   int32
	framing  openai.Framing
	tail     [2]byte // last bytes of the body
	progress tl.TokensUsed
	used     tl.TokensUsed // as reported, once it has ended
	busy     time.Duration // the worker's own time
	bytesIn  int
	bytesOut int

	shown bool // the client has the head of an answer
	gone  bool // the client has left, or has had its last: nothing can be sent
	muted bool // the client has cancelled: only the end is sent
}

// attempt is the question at one worker.
type attempt struct {
	worker   *worker
	workerID tl.Int256
	offer    *market.Offer
	decision market.Decision // why this offer
	sentAt   time.Time
	price    int64         // coefficient that the worker was sent
	limit    time.Duration // that the worker was given
	overdue  time.Time     // when another is asked; zero is never
}

type state int

const (
	waiting state = iota
	sent
	answering
	settling
	ended
)

// later is what an event leaves to be done without its request's lock.
type later struct {
	grants  []market.Grant
	dropped *market.Waiter
	match   string // model whose queue has grown
}

func (l *later) do(p *Proxy) {
	if l.dropped != nil {
		l.dropped.Ref.(*request).displaced(l.dropped)
	}
	if l.match != "" {
		l.grants = append(l.grants, p.market.Match(l.match)...)
	}
	p.serve(l.grants)
}

// serve gives those who waited their workers.
func (p *Proxy) serve(grants []market.Grant) {
	for _, g := range grants {
		g.Waiter.Ref.(*request).granted(g)
	}
}

// event runs f under the lock, unless the request has ended or is just being booked.
func (r *request) event(f func(l *later)) {
	var l later
	r.mu.Lock()
	if r.state < settling {
		f(&l)
	}
	r.mu.Unlock()
	l.do(r.p)
}

// run takes a question of a client that is ready. More and needs are nil, or what else
// the client says about it.
func (c *client) run(q *tl.ClientRunQueryEx, more *tl.CocoonRunQuery, needs *tl.CocoonFacts) {
	r := &request{p: c.p, client: c, id: q.RequestID, model: contract.BaseModel(q.ModelName), ceiling: uint32(q.MaxCoefficient),
		debug: q.Flags&1 != 0 && q.EnableDebug, started: c.p.now(), query: q.Query, bytesIn: len(q.Query), longest: int(q.MaxTokens)}
	if r.model != q.ModelName {
		r.pin = q.ModelName
	}
	r.event(func(l *later) {
		if !c.requests.add(r.id, r) { // under mu: whoever finds it there finds all of it
			r.state = ended
			c.p.log.Debug("client uses a request id twice, ignored", "client", c.text)
			return
		}
		why := r.takeWishes(more)
		if why == nil {
			why = r.takeNeeds(needs)
		}
		if why == nil {
			why = r.admit(q)
		}
		if why != nil {
			r.p.stats.rejected.Inc()
			r.state = ended
			clear(r.private[:])
			c.requests.remove(r.id)
			r.refuse(why)
			return
		}
		r.timer = time.AfterFunc(time.Until(r.deadline), r.expire)
		r.dispatch(l)
	})
}

// admit checks and reserves, in the order of wire.md section 4.4. What it has
// taken when it returns nil is given back by close.
func (r *request) admit(q *tl.ClientRunQueryEx) *refusal {
	p := r.p
	account, err := p.book.OpenClient(r.client.account)
	switch {
	case err != nil:
		return &refusal{wire.CodeNotReady, openai.Unavailable(openai.CodeInternal, retrySoon, "no room for another account now")}
	case q.MaxTokens < 0:
		return badRequest("max_tokens is %d, want 0 or more", q.MaxTokens)
	case account.Available() < int64(q.MaxTokens):
		return p.broke(account.Available(), int64(q.MaxTokens))
	case uint32(q.MinConfigVersion) > p.terms.Load().Version:
		return &refusal{wire.CodeError, openai.Unavailable(openai.CodeNoProxy, retrySoon, "active config version is too low: the proxy has %d, the client wants %d", p.terms.Load().Version, uint32(q.MinConfigVersion))}
	case account.State != ledger.Open:
		return &refusal{wire.CodeNotReady, openai.PaymentRequired("client is closing")}
	}
	if why := r.takeKey(q); why != nil {
		return why
	}
	switch {
	case !(q.Timeout > 0):
		return badRequest("timeout is %v, want more than 0 seconds", q.Timeout)
	case r.client.requests.len() > p.cfg.MaxPerClient:
		return &refusal{wire.CodeNotReady, openai.TooManyRequests(retrySoon, "%d requests run on this connection; wait for some", p.cfg.MaxPerClient)}
	}
	if err := checkRequest(q.Query); err != nil {
		return badRequest("proxy: not an HTTP request: %v", err)
	}
	r.deadline = time.Now().Add(time.Duration(min(q.Timeout, maxTimeout.Seconds()) * float64(time.Second)))
	if err := p.limits.Begin(r.client.account); err != nil {
		return limited(err)
	}
	why := r.take(q)
	if why != nil {
		p.limits.End(r.client.account, 0)
	}
	return why
}

// take takes everything that a running request occupies, or nothing.
func (r *request) take(q *tl.ClientRunQueryEx) *refusal {
	p := r.p
	need, err := ledger.Need(int64(q.MaxTokens), len(q.Query), int64(r.ceiling))
	if err != nil {
		return badRequest("%v", err)
	}
	if err := p.health(); err != nil { // those who came before the chain or the ledger forbade it are no exception
		return p.none(err)
	}
	if err := p.lends(r.client.account, need); err != nil {
		return awayed(err)
	}
	if why, ok := p.begin(); !ok {
		return stopping(why)
	}
	if !r.holdQuery() {
		r.letGoQuery()
		p.end()
		return queueFull()
	}
	r.bound = boundOf(q)
	if r.hold, err = p.book.Reserve(r.client.account, need); err != nil {
		r.letGoQuery()
		p.end()
		var short *ledger.BalanceError
		switch {
		case errors.As(err, &short):
			return p.broke(short.Available, short.Need)
		case errors.Is(err, ledger.ErrClosing):
			return unpaid("%v", err)
		}
		return p.none(err)
	}
	return nil
}

// largestShare of the bytes that may be held are one connection's, once half of them are taken:
// nobody shall crowd out the others with large questions.
const largestShare = 8

// holdQuery counts the question, and says whether there is room for it.
func (r *request) holdQuery() bool {
	n, limit := int64(len(r.query)), r.p.cfg.MaxHeld
	all, own := r.p.held.Add(n), r.client.held.Add(n)
	return all <= limit && (all <= limit/2 || own == n || own <= limit/largestShare)
}

func (r *request) letGoQuery() {
	r.p.held.Add(-int64(len(r.query)))
	r.client.held.Add(-int64(len(r.query)))
}
