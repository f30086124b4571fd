package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
)

// tick is the storm's only unit of time, so that cancels, answers, second
// workers, deaths, deadlines, drains and bookings fall into the same instants.
const tick = 250 * time.Millisecond

const (
	stormClients, stormAsks = 6, 60
	stormWorkers            = 5
	stormConcurrent         = 8 // requests that one client may run
)

// TestStorm lets everything happen to a proxy at once: hedging, cancels, wishes,
// limits, drains, price changes, workers of every version that answer, stall, lie
// and die, and a ledger that fails and is slow. Every request of a client that stays ends exactly
// once, no bill is above what was reported for it, and nothing is left over.
func TestStorm(t *testing.T) {
	ended, hedged, booked := int64(0), int64(0), int64(0)
	for seed := range stormSeeds() {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(c *Config) {
				c.Seed, c.QueueLimit, c.QueueWait, c.DrainLimit = seed, 6, 12*tick, 8*tick
				c.HedgeShare = []float64{0, 0.5, 3}[seed%3]
				c.Limits = market.Limits{Concurrent: stormConcurrent, Requests: 6000}
				c.Book = &moody{Book: c.Book, chance: rand.New(rand.NewPCG(seed, 7))}
			}, func(r *rig) {
				s := &storm{soak: soak{r: r, t: r.t}, reported: map[tl.Int256]int64{}, paid: map[tl.Int256]bool{}}
				for i := range stormWorkers {
					s.workers.Go(func() { s.work(i, rand.New(rand.NewPCG(seed, uint64(i)))) })
				}
				for i := range stormClients {
					s.clients.Go(func() { s.ask(i, rand.New(rand.NewPCG(seed, uint64(100+i)))) })
				}
				s.workers.Go(func() { s.operate(rand.New(rand.NewPCG(seed, 99))) })
				s.clients.Wait()
				s.over.Store(true)
				s.workers.Wait()
				s.calm()
				ended, hedged, booked = ended+s.ended.Load(), hedged+r.p.stats.hedged.Total(), booked+r.p.stats.booked.Total()
			})
		})
	}
	if ended < 700 || hedged < 30 || booked < 1000 {
		t.Errorf("%d requests ended, %d second workers, %d tokens booked: a breeze and no storm", ended, hedged, booked)
	}
}

// stormSeeds is how many storms there are: COCOON_STORMS, or few.
func stormSeeds() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("COCOON_STORMS"), 10, 32); err == nil {
		return max(n, 4)
	}
	return 4
}

// stormMost is what no answer in a storm can cost, whatever anybody says.
var stormMost = ledger.Most(unheard+1000, 1, 1000, 4000, ledger.Plain)

// moody is a ledger whose store fails now and then, and takes its time.
type moody struct {
	ledger.Book
	mu     sync.Mutex // guards the chance
	chance *rand.Rand
}

func (m *moody) Settle(h *ledger.Hold, owner string, used int64) (int64, error) {
	m.mu.Lock()
	mood, wait := m.chance.IntN(20), time.Duration(m.chance.IntN(4))*tick
	if mood == 0 {
		wait += bookingLimit
	}
	m.mu.Unlock()
	time.Sleep(wait)
	switch mood {
	case 1:
		m.Book.Release(h)
		return 0, errors.New("the disk is full")
	case 2:
		return 0, ledger.ErrAccount // was dropped to make room: it is opened again
	}
	return m.Book.Settle(h, owner, used)
}

type storm struct {
	soak
	mu       sync.Mutex // guards the rest
	reported map[tl.Int256]int64
	paid     map[tl.Int256]bool
}

// operate does what operators do, and looks whether the books are in order.
func (s *storm) operate(r *rand.Rand) {
	p := s.r.p
	for !s.over.Load() {
		time.Sleep(time.Duration(4+r.IntN(8)) * tick)
		switch r.IntN(4) {
		case 0:
			p.SetEnabled(false)
			time.Sleep(time.Duration(r.IntN(4)) * tick)
			p.SetEnabled(true)
		case 1:
			p.actDrain(context.Background(), nil)
			p.SetEnabled(true)
		case 2:
			p.drain("an update")()
		}
		p.look()
		s.inOrder()
	}
}

// inOrder is what holds at every moment.
func (s *storm) inOrder() {
	if err := s.r.book.Check(); err != nil {
		s.t.Error(err)
	}
	for _, c := range s.r.book.Clients() {
		if c.Reserved < 0 || c.Running < 0 || c.Available() < 0 {
			s.t.Errorf("client %s: %d reserved by %d requests, %d available", c.Wallet, c.Reserved, c.Running, c.Available())
		}
	}
	for _, m := range s.r.p.market.Models() {
		if m.Waiting > 6 {
			s.t.Errorf("%d requests wait, the limit is 6", m.Waiting)
		}
		for _, o := range m.Offers {
			if o.Running < 0 || o.Running > o.Limit {
				s.t.Errorf("%d requests run at a worker for %d", o.Running, o.Limit)
			}
		}
	}
	if held := s.r.p.held.Load(); held < 0 {
		s.t.Errorf("%d bytes of questions are held", held)
	}
}

// calm demands, after all, that both sides of the books are equal and that every client has all its places again.
func (s *storm) calm() {
	time.Sleep(2 * bookingLimit)
	synctest.Wait()
	s.r.sound()
	s.inOrder()
	used, earned := int64(0), int64(0)
	clients, workers := s.r.book.Everyone()
	for _, c := range clients {
		used += c.Used.Max
	}
	for _, w := range workers {
		earned += w.Earned.Max
	}
	if used != earned {
		s.t.Errorf("clients used %d tokens, workers earned %d", used, earned)
	}
	s.r.p.SetEnabled(true)
	for i := range stormClients {
		account := fmt.Sprintf("0:%064x", i+1)
		for n := range stormConcurrent {
			if err := s.r.p.limits.Begin(account); err != nil {
				s.t.Errorf("client %d has %d of its %d places: %v", i, n, stormConcurrent, err)
				break
			}
		}
	}
}

// count takes a payment message of either side: counters never go back, and nothing is paid twice or unasked.
type count struct{ db, max int64 }

func (c *count) grows(t *testing.T, who string, db, most int64) {
	if db < c.db || most < c.max || most < db {
		t.Errorf("%s was told of %d and %d tokens after %d and %d", who, db, most, c.db, c.max)
	}
	c.db, c.max = db, most
}

func (s *storm) report(id tl.Int256, tokens int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported[id] = max(s.reported[id], tokens)
	return tokens
}

func (s *storm) paidTo(m *tl.ProxyWorkerRequestPayment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paid[m.RequestID] {
		s.t.Errorf("%x was paid twice", m.RequestID[:4])
	}
	if s.paid[m.RequestID] = true; m.RequestTokens > s.reported[m.RequestID] {
		s.t.Errorf("%d tokens were paid of %d that were reported", m.RequestTokens, s.reported[m.RequestID])
	}
}

// work is a worker that connects again and again.
func (s *storm) work(n int, r *rand.Rand) {
	for !s.over.Load() {
		w := s.dial(s.r.workers)
		q := workerHello()
		q.Params.Flags |= tl.FlagExtensions
		q.Params.WorkerOwnerAddress = fmt.Sprintf("0:%064x", 0xabc0+n%3)
		q.Params.Coefficient, q.Params.MaxActiveRequests = int32(500*r.IntN(6)), int32(1+r.IntN(4))
		q.Params.MinProtoVersion, q.Params.MaxProtoVersion = 1, int32(1+r.IntN(4))
		steps := []tl.Object{q, &tl.WorkerCompareBalanceWithProxy{}, &tl.WorkerProxyHandshakeComplete{}, &tl.CocoonGetFeatures{Names: allFeatures}}
		deployed := r.IntN(3) == 0
		if deployed {
			steps = steps[:3]
		}
		ready := true
		for _, fn := range steps {
			if _, err := w.ask(fn); err != nil {
				ready = false // the proxy takes none now
				break
			}
		}
		if ready {
			s.serve(w, r, deployed)
		}
		w.conn.Close(nil)
		time.Sleep(time.Duration(1+r.IntN(8)) * tick)
	}
}

func (s *storm) serve(w *peer, r *rand.Rand, deployed bool) {
	var all sync.WaitGroup
	defer all.Wait()
	var told count
	life := time.After(time.Duration(20+r.IntN(200)) * tick)
	stops := map[tl.Int256]chan struct{}{}
	for !s.over.Load() {
		select {
		case o := <-w.in:
			switch m := o.(type) {
			case *tl.ProxyRunQueryEx:
				stop, chance := make(chan struct{}), rand.New(rand.NewPCG(r.Uint64(), 1))
				stops[m.RequestID] = stop
				all.Go(func() { s.answer(w, m.RequestID, stop, chance) })
			case *tl.CocoonCancelQuery:
				if deployed {
					s.t.Error("a deployed worker was sent what it does not know")
				}
				if stop := stops[m.RequestID]; stop != nil && r.IntN(4) > 0 {
					close(stop)
					delete(stops, m.RequestID)
				}
			case *tl.ProxyWorkerRequestPayment:
				told.grows(s.t, "a worker", m.DbTokens, m.MaxTokens)
				s.paidTo(m)
			}
		case <-w.conn.Done():
			return
		case <-life:
			return
		case <-time.After(8 * tick):
			w.conn.Send([]tl.Object{&tl.WorkerNewCoefficient{NewCoefficient: int32(500 * r.IntN(6))}, &tl.WorkerEnabledDisabled{Disabled: int32(r.IntN(4) / 3)}}[r.IntN(2)])
		}
	}
}

// answer does something about a request, and something else when it is told to stop.
func (s *storm) answer(w *peer, id tl.Int256, stop chan struct{}, r *rand.Rand) {
	wait := func() (stopped bool) {
		select {
		case <-stop:
			return true
		case <-w.conn.Done():
			return true
		case <-time.After(time.Duration(r.IntN(6)) * tick):
			return false
		}
	}
	fail := func(code int32, n int64) {
		w.conn.Send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: code, Flags: 1, FinalInfo: final(s.report(id, n))})
	}
	if wait() {
		fail(653, 0)
		return
	}
	switch r.IntN(12) {
	case 0:
		fail([]int32{0, 602, 621, 651, 652, 653}[r.IntN(6)], 5)
		return
	case 1:
		time.Sleep(time.Duration(r.IntN(200)) * tick) // hangs, and comes back
	case 2:
		w.conn.Send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(503, ""), Flags: 1, FinalInfo: final(s.report(id, 3))})
		return
	case 3:
		w.conn.Send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(s.report(id, 1<<40))})
	}
	w.conn.Send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(200, "", "Content-Type", "text/event-stream")})
	for i := range r.IntN(5) {
		if wait() {
			fail(653, int64(i))
			return
		}
		w.conn.Send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte("data: 1\n\n")})
		w.conn.Send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(s.report(id, int64(i)))})
	}
	if r.IntN(12) > 0 {
		w.conn.Send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Flags: 1, FinalInfo: final(s.report(id, []int64{0, 1, 40, 1 << 50}[r.IntN(4)]))})
	}
}

// ask is a client that sends its questions a few at a time, and sometimes leaves.
func (s *storm) ask(n int, r *rand.Rand) {
	wallet := fmt.Sprintf("0:%064x", n+1)
	for sent := 0; sent < stormAsks; {
		c := s.dial(s.r.clients)
		hello := clientHello()
		hello.Params.ClientOwnerAddress, hello.Params.Flags = wallet, 3|tl.FlagExtensions
		ready := true
		for _, fn := range []tl.Object{hello, &tl.ClientAuthorizeWithProxyShort{}, &tl.CocoonGetFeatures{Names: allFeatures}} {
			if _, err := c.ask(fn); err != nil {
				ready = false
			}
		}
		if !ready { // the proxy takes none now
			c.conn.Close(nil)
			time.Sleep(time.Duration(1+r.IntN(4)) * tick)
			continue
		}
		open := map[tl.Int256]bool{}
		for range 1 + r.IntN(8) {
			sent++
			id := requestID(1000*n + sent)
			open[id] = true
			c.conn.Send(s.question(id, r))
			if r.IntN(3) == 0 {
				time.AfterFunc(time.Duration(r.IntN(12))*tick, func() { c.conn.Send(&tl.CocoonCancelQuery{RequestID: id}) })
			}
		}
		if r.IntN(6) == 0 {
			time.Sleep(time.Duration(r.IntN(12)) * tick)
			c.conn.Close(nil) // and nobody waits for the rest
			continue
		}
		s.hear(c, open)
		c.conn.Close(nil)
		c.conn.Wait()
	}
}

func (s *storm) question(id tl.Int256, r *rand.Rand) tl.Object {
	q := limitedTo(1, "100")
	if r.IntN(2) == 0 {
		q = question(1)
	}
	q.RequestID, q.Timeout, q.MaxCoefficient = id, float64(1+r.IntN(60))*tick.Seconds(), int32(500*(1+r.IntN(8)))
	if r.IntN(2) == 0 {
		return q
	}
	some := []string{fmt.Sprintf("0:%064x", 0xabc0+r.IntN(3))}
	w := []tl.CocoonWishes{{Only: some}, {Ignore: some}, {Order: some}, {Order: some, NoFallbacks: true}, {Sort: int32(r.IntN(4))}, {MaxLatency: tick.Seconds()}}[r.IntN(6)]
	return &tl.CocoonRunQuery{ModelName: q.ModelName, Query: q.Query, MaxCoefficient: q.MaxCoefficient, MaxTokens: q.MaxTokens, Timeout: q.Timeout,
		RequestID: id, MinConfigVersion: q.MinConfigVersion, Flags: wantsWhy | wantsDebug, Wishes: w, Affinity: make([]byte, 16)}
}

// hear waits for the end of every open request, and for what follows.
func (s *storm) hear(c *peer, open map[tl.Int256]bool) {
	begun, costs, paid := map[tl.Int256]bool{}, map[tl.Int256]int64{}, map[tl.Int256]bool{}
	var told count
	quiet := 2 * time.Minute
	for {
		select {
		case o := <-c.in:
			switch m := o.(type) {
			case *tl.ClientQueryAnswerEx:
				if !open[m.RequestID] || begun[m.RequestID] {
					s.t.Error("an answer to nothing, or a second one")
				}
				begun[m.RequestID] = true
				s.end(open, costs, m.RequestID, m.Flags, &m.FinalInfo)
			case *tl.ClientQueryAnswerPartEx:
				if !open[m.RequestID] {
					s.t.Error("a part after the end")
				}
				s.end(open, costs, m.RequestID, m.Flags, &m.FinalInfo)
			case *tl.CocoonQueryProgress:
				if !open[m.RequestID] {
					s.t.Error("progress after the end")
				}
			case *tl.ProxyClientRequestPayment:
				told.grows(s.t, "a client", m.DbTokens, m.MaxTokens)
				if open[m.RequestID] || paid[m.RequestID] || m.RequestTokens != costs[m.RequestID] {
					s.t.Errorf("a payment of %d tokens for %d: open %v, again %v", m.RequestTokens, costs[m.RequestID], open[m.RequestID], paid[m.RequestID])
				}
				if paid[m.RequestID] = true; m.RequestTokens > stormMost {
					s.t.Errorf("%d tokens for an answer that costs %d at most", m.RequestTokens, stormMost)
				}
			}
			if len(open) == 0 {
				quiet = tick
			}
		case <-c.conn.Done():
			s.t.Errorf("the client was disconnected: %v", c.conn.Err())
			return
		case <-time.After(quiet):
			if len(open) > 0 {
				s.t.Errorf("%d requests never ended", len(open))
			}
			return
		}
	}
}

func (s *storm) end(open map[tl.Int256]bool, costs map[tl.Int256]int64, id tl.Int256, flags uint32, info *tl.ClientQueryFinalInfo) {
	if flags&1 != 0 {
		delete(open, id)
		costs[id] = info.TokensUsed.TotalTokensUsed
		s.ended.Add(1)
	}
}
