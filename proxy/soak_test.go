package proxy

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// Clients that ask, cancel and leave; workers that answer, fail in every way
// they can, and die; a registry that changes. Whatever happens, every request
// of a client that stays ends exactly once, and the ledger balances.
func TestSoak(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(c *Config) {
				c.QueueLimit, c.QueueWait, c.Seed, c.CheckImages = 8, 5*time.Second, seed, true
			}, func(r *rig) {
				s := &soak{r: r, t: r.t}
				for i := range 4 {
					s.workers.Go(func() { s.work(rand.New(rand.NewPCG(seed, uint64(i)))) })
				}
				for i := range 6 {
					s.clients.Go(func() { s.ask(i, rand.New(rand.NewPCG(seed, uint64(100+i)))) })
				}
				stopChecking := make(chan struct{})
				s.workers.Go(func() { s.disturb(rand.New(rand.NewPCG(seed, 99)), stopChecking) })
				s.clients.Wait()
				close(stopChecking)
				s.over.Store(true)
				s.workers.Wait()
				if s.ended.Load() < 300 || s.failed.Load() == 0 {
					t.Errorf("%d requests ended well, %d failed: the soak did nothing", s.ended.Load(), s.failed.Load())
				}
			})
		})
	}
}

type soak struct {
	r                *rig
	t                *testing.T
	mu               sync.Mutex // guards rig's list of peers
	workers, clients sync.WaitGroup
	over             atomic.Bool
	ended, failed    atomic.Int64
}

func (s *soak) dial(d *door) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.dial(d, image)
}

// disturb checks the ledger now and then and touches the registry.
func (s *soak) disturb(r *rand.Rand, stop chan struct{}) {
	for version := uint32(4); ; version++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1+r.IntN(10)) * time.Second):
		}
		if err := s.r.book.Check(); err != nil {
			s.t.Error(err)
		}
		root := *testRoot(s.t)
		root.Version = version
		if r.IntN(8) == 0 {
			root.Models = nil
		}
		s.r.registry.Set(&root)
	}
}

// work is a worker that connects again and again until all is over.
func (s *soak) work(r *rand.Rand) {
	for !s.over.Load() {
		w := s.dial(s.r.workers)
		q := workerHello()
		q.Params.Flags |= tl.FlagExtensions
		q.Params.Coefficient, q.Params.MaxActiveRequests = int32(500+r.IntN(3000)), int32(1+r.IntN(3))
		q.Params.MinProtoVersion, q.Params.MaxProtoVersion = 1, int32(1+r.IntN(4))
		for _, fn := range []tl.Object{q, &tl.WorkerCompareBalanceWithProxy{}, &tl.WorkerProxyHandshakeComplete{}} {
			if _, err := w.ask(fn); err != nil {
				break // delisted at this moment
			}
		}
		if r.IntN(2) == 0 {
			w.ask(&tl.CocoonGetFeatures{Names: allFeatures})
		}
		s.serve(w, r)
		w.conn.Close(nil)
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	}
}

func (s *soak) serve(w *peer, r *rand.Rand) {
	for !s.over.Load() {
		select {
		case o := <-w.in:
			if q, ok := o.(*tl.ProxyRunQueryEx); ok && !s.answer(w, q, r) {
				return
			}
		case <-w.conn.Done():
			return
		case <-time.After(time.Second):
			if r.IntN(10) == 0 {
				w.conn.Send(&tl.WorkerNewCoefficient{NewCoefficient: int32(500 + r.IntN(4000))})
			}
		}
	}
}

// answer does something; false ends the connection.
func (s *soak) answer(w *peer, q *tl.ProxyRunQueryEx, r *rand.Rand) bool {
	id := q.RequestID
	fail := func(code int32, n int64) {
		w.conn.Send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: code, Error: "soak", Flags: 1, FinalInfo: final(n)})
	}
	time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
	switch r.IntN(14) {
	case 0:
		return false
	case 1:
		fail([]int32{0, 602, 621, 651, 652}[r.IntN(5)], 5)
		return true
	case 2:
		return true // silence
	case 3:
		w.conn.Send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte("early")})
		return true
	case 4:
		w.conn.Send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: []byte("nonsense")})
		return true
	case 5:
		w.conn.Send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(503, "")})
		return true
	}
	w.conn.Send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(200, "", "Content-Type", "text/event-stream")})
	for i := range r.IntN(5) {
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		w.conn.Send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte("data: 1\n\n")})
		w.conn.Send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(int64(i))})
		if r.IntN(30) == 0 {
			return false
		}
	}
	switch r.IntN(12) {
	case 0:
		fail(0, 3)
	case 1:
		w.conn.Send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(200, "")}) // a second head
	case 2:
	default:
		w.conn.Send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Flags: 1, FinalInfo: final(r.Int64N(200))})
	}
	return true
}

// ask is a client that sends a hundred questions, a few at a time, and counts the ends.
func (s *soak) ask(n int, r *rand.Rand) {
	wallet := fmt.Sprintf("0:%064x", n+1)
	for sent := 0; sent < 100; {
		c := s.dial(s.r.clients)
		hello := clientHello()
		hello.Params.ClientOwnerAddress, hello.Params.Flags = wallet, 3|tl.FlagExtensions
		for _, fn := range []tl.Object{hello, &tl.ClientAuthorizeWithProxyShort{}, &tl.CocoonGetFeatures{Names: allFeatures}} {
			if _, err := c.ask(fn); err != nil {
				s.t.Errorf("client: %v", err)
				return
			}
		}
		batch := 1 + r.IntN(5)
		open := map[tl.Int256]bool{}
		for range batch {
			sent++
			q := question(1000*n + sent)
			q.Timeout = float64(1 + r.IntN(20))
			q.MaxCoefficient = int32(500 + r.IntN(4000))
			open[q.RequestID] = true
			c.conn.Send(q)
			if r.IntN(8) == 0 {
				c.conn.Send(&tl.CocoonCancelQuery{RequestID: q.RequestID})
			}
		}
		if r.IntN(10) == 0 {
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			c.conn.Close(nil) // and nobody waits for the rest
			continue
		}
		s.collect(c, open)
		c.conn.Close(nil)
		c.conn.Wait()
	}
}

// collect waits for the end of every open request. A second end, a part after
// the end, or a request that never ends is a failure.
func (s *soak) collect(c *peer, open map[tl.Int256]bool) {
	for len(open) > 0 {
		select {
		case o := <-c.in:
			switch m := o.(type) {
			case *tl.ClientQueryAnswerEx:
				var h tl.HTTPResponse
				if !open[m.RequestID] || tl.Unmarshal(m.Answer, &h) != nil {
					s.t.Error("an answer to nothing")
				}
				if h.StatusCode != 200 {
					s.failed.Add(1)
				}
			case *tl.ClientQueryAnswerPartEx:
				if !open[m.RequestID] {
					s.t.Error("a part after the end")
				}
				if m.Flags&1 != 0 {
					delete(open, m.RequestID)
					s.ended.Add(1)
				}
			}
		case <-c.conn.Done():
			s.t.Errorf("the client was disconnected: %v", c.conn.Err())
			return
		case <-time.After(2 * time.Minute):
			s.t.Errorf("%d requests never ended", len(open))
			return
		}
	}
}
