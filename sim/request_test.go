package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/ledger"
)

// request is one question on its way: asked, served by a worker, booked, answered.
type request struct {
	id       int
	client   *client
	house    *house
	page     *page
	worker   *worker
	stage    stage
	account  string // of the client's contract
	tokens   int64  // what the client allows
	need     int64
	used     int64
	spend    *ledger.Spend
	hold     *ledger.Hold
	deadline time.Time
	begun    time.Time
}

type stage int

const (
	asked stage = iota
	serving
	answered // booked, and the answer is on its way
)

const patience = 2 * time.Minute

// beyond is how many times what was set aside both the client and the proxy
// believe of a request at the most, as ledger.Most is above ledger.Need.
const beyond = 2

// ask begins a request at a proxy that seems to work.
func (e *economy) ask() {
	c, h := e.clients[e.r.IntN(len(e.clients))], e.houses[e.r.IntN(len(e.houses))]
	if h.unhealthy() != "" {
		return
	}
	p := h.page()
	d := e.client(p.contracts, c)
	key := d.Address.StringRaw()
	tokens := []int64{100, 10_000, 1_000_000, 5_000_000, 20_000_000, 60_000_000}[e.r.IntN(6)]
	need, err := ledger.Need(tokens, 200, 1000)
	e.must(err)
	if c.program == nil {
		c.tally.Adopt(key, 0, 0)
	} else if !c.program.connected(h) || c.program.client.Afford(d.Address, need) != nil {
		return
	}
	spend, err := c.counts().Reserve(ledger.Spending{Account: key, Price: p.contracts.Params.PricePerToken, Estimate: need, Most: beyond * need, Until: c.now().Add(patience + time.Minute)})
	if err != nil {
		e.tell("%s may not ask: %v", c.name, err)
		return
	}
	c.count(key).unsure += beyond * need
	e.lastID++
	r := &request{id: e.lastID, client: c, house: h, page: p, account: key, tokens: tokens, need: need, spend: spend, begun: time.Now(), deadline: time.Now().Add(patience)}
	e.requests = append(e.requests, r)
	e.tell("%s asks %s for at most %d tokens: request %d", c.name, e.names[p.contracts.Proxy.Address.StringRaw()], need, r.id)
}

// advance takes a request one stage on.
func (e *economy) advance(r *request) {
	switch r.stage {
	case asked:
		e.admit(r)
	case serving:
		e.serve(r)
	case answered:
		e.hear(r)
	}
}

// over ends a request for the client: it knows the cost, or does not.
func (e *economy) over(r *request, known bool, used int64, format string, args ...any) {
	own := r.client.count(r.account)
	if known {
		own.unsure, own.used = own.unsure-beyond*r.need, own.used+used
	}
	switch {
	case r.spend == nil: // the client's process that asked is gone
	case known:
		r.spend.End(used)
	default:
		r.spend.Lost()
	}
	e.tell("request %d %s", r.id, fmt.Sprintf(format, args...))
	for i, o := range e.requests {
		if o == r {
			e.requests = append(e.requests[:i], e.requests[i+1:]...)
			break
		}
	}
	e.counts["requests ended"]++
}

// admit is the proxy's part before a worker is chosen.
func (e *economy) admit(r *request) {
	if why := r.house.unhealthy(); why != "" || r.house.page() != r.page {
		e.over(r, true, 0, "is refused: %s", why)
		return
	}
	_, err := r.house.ledger.OpenClient(r.client.account())
	if err == nil {
		r.hold, err = r.house.ledger.Reserve(r.client.account(), r.need)
	}
	if err != nil {
		var short *ledger.BalanceError
		if !errors.As(err, &short) && !errors.Is(err, ledger.ErrClosing) {
			e.broken("%s refuses request %d: %v", r.house.name, r.id, err)
		}
		e.counts["requests refused"]++
		e.over(r, true, 0, "is refused: %v", err)
		return
	}
	if r.house.old {
		e.mustKnow(r.house, r.page)
	}
	for _, a := range r.house.ledger.Clients() {
		if a.Wallet == r.client.account() && a.Available() < 0 {
			e.broken("%s sets %d tokens aside for %s, who lacks %d of them", r.house.name, r.need, r.client.name, -a.Available())
		}
	}
	r.worker = e.workers[e.r.IntN(len(e.workers))]
	if !r.worker.takes(r.house) {
		r.release()
		e.over(r, true, 0, "finds no worker")
		return
	}
	r.stage = serving
	e.tell("%s gives request %d to %s", r.house.name, r.id, r.worker.name)
}

// release gives the hold back, unless the process that made it is gone.
func (r *request) release() {
	if r.hold != nil {
		r.house.ledger.Release(r.hold)
	}
	r.hold = nil
}

// serve is the worker's part, and the booking.
func (e *economy) serve(r *request) {
	if r.hold == nil || !r.house.alive() { // the proxy has died, the client hears nothing
		e.over(r, false, 0, "is lost with its proxy")
		return
	}
	used := 1 + e.r.Int64N(r.need)
	report := used
	switch n := e.r.IntN(20); {
	case n == 0:
		r.release()
		e.over(r, true, 0, "fails: %s dies before the first byte", r.worker.name)
		return
	case n == 1:
		used = used / 2
		report = used
	case n < 6 && r.worker.lies: // and no more than the proxy believes of such a request
		report = used * []int64{2, 10, 1000}[e.r.IntN(3)]
	}
	e.settle(r, used, report)
}

// settle books what the worker reports.
func (e *economy) settle(r *request, used, report int64) {
	l, c, w := r.house.ledger, r.client.account(), r.worker.account()
	_, err := l.OpenWorker(w)
	booked := int64(0)
	if err == nil {
		booked, err = l.Settle(r.hold, w, min(report, beyond*r.need))
	}
	hold := r.hold
	r.hold = nil
	switch {
	case errors.Is(err, ledger.ErrSpent) || errors.Is(err, ledger.ErrAccount): // the generation has changed under it
		l.Release(hold)
		e.over(r, true, 0, "is void: %v", err)
		return
	case err != nil:
		l.Release(hold)
		r.page.perhaps[c] += report
		r.page.perhaps[w] += report
		e.tell("%s cannot book request %d: %v", r.house.name, r.id, err)
		e.over(r, false, 0, "is lost with its proxy's disk")
		return
	}
	if e.r.IntN(8) == 0 { // the worker answers twice
		if again, err := l.Settle(hold, w, report); again != 0 || !errors.Is(err, ledger.ErrSpent) {
			e.broken("%s books request %d twice: %d tokens, %v", r.house.name, r.id, again, err)
		}
	}
	for _, a := range l.Clients() {
		if a.Wallet == c && a.Used.DB-a.Charged > a.Stake {
			e.broken("%s lends %s %d tokens: %d used, %d charged, and a stake of %d", r.house.name, r.client.name, a.Used.DB-a.Charged, a.Used.DB, a.Charged, a.Stake)
		}
	}
	into := r.page.booked
	if r.house.old { // it may have to be forgotten
		into = r.page.perhaps
	}
	into[c] += booked
	into[w] += booked
	at := e.worker(r.page.contracts, r.worker).Address
	r.worker.served[at.StringRaw()] += used
	if p := r.worker.program; p != nil && p.alive() {
		p.worker.Worked(at, "a model", report)
	}
	r.stage, r.used = answered, used
	if r.worker.lies {
		r.used = min(report, beyond*r.need) // nobody can tell
	}
	e.counts["requests booked"]++
	e.counts["booked for "+r.client.name]++
	e.counts["booked by "+r.worker.name]++
	e.tell("%s books %d of %d tokens for request %d", r.house.name, booked, report, r.id)
	e.post(r)
}

// post hands the newest payments to both sides.
func (e *economy) post(r *request) {
	if s, err := r.house.ledger.ClientStatus(r.client.account()); err == nil && r.house.page() == r.page {
		r.client.mail = append(r.client.mail, &mail{page: r.page, payment: s.Payment, db: s.DB, max: s.Max, at: time.Now()})
	}
	if s, err := r.house.ledger.WorkerStatus(r.worker.account()); err == nil && r.house.page() == r.page {
		if r.house.lies && e.r.IntN(4) > 0 {
			return // and hopes that the worker goes on
		}
		r.worker.mail = append(r.worker.mail, &mail{page: r.page, payment: s.Payment, db: s.DB, max: s.Max, at: time.Now()})
	}
}

// hear ends a request at the client.
func (e *economy) hear(r *request) {
	if e.r.IntN(12) == 0 {
		e.over(r, false, 0, "is answered, and nobody hears it")
		return
	}
	e.over(r, true, r.used, "is answered: %d tokens", r.used)
}

// expire ends what has waited too long, as everybody's timers do.
func (e *economy) expire() {
	for _, r := range append([]*request{}, e.requests...) {
		if time.Now().Before(r.deadline) {
			continue
		}
		if r.house.alive() {
			r.release()
		}
		e.over(r, false, 0, "has run out of time")
	}
}
