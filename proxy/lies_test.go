package proxy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// Everybody lies: workers answer for each other and for nobody, twice, with
// impossible counts, after the end; clients repeat ids, ask for the impossible,
// cancel in storms and vanish. The ledger balances at every moment, and in the
// end nothing is reserved and nothing runs.
func TestEverybodyLies(t *testing.T) {
	var given, answered, booked, refused int64 // over all seeds: liars get little done
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(c *Config) {
				c.QueueLimit, c.QueueWait, c.MaxPerClient, c.Seed = 4, 2*time.Second, 16, seed
				c.DrainLimit, c.HedgeShare = 3*time.Second, 3*float64(seed%2)
			}, func(r *rig) {
				l := &liars{r: r, soak: &soak{r: r, t: t}}
				var all sync.WaitGroup
				for i := range 3 {
					all.Go(func() { l.work(rand.New(rand.NewPCG(seed, uint64(i)))) })
				}
				for i := range 4 {
					all.Go(func() { l.ask(i, rand.New(rand.NewPCG(seed, uint64(50+i)))) })
				}
				all.Go(func() { l.administer(rand.New(rand.NewPCG(seed, 99))) })
				all.Wait()
				s := &r.p.stats
				given, answered, booked, refused = given+s.queries.Total(), answered+s.success.Total(), booked+s.booked.Total(), refused+s.rejected.Total()
			})
		})
	}
	if given < 100 || answered < 10 || booked == 0 || refused == 0 {
		t.Errorf("%d given, %d answered, %d tokens booked, %d refused: the liars did nothing", given, answered, booked, refused)
	}
}

type liars struct {
	r    *rig
	soak *soak
	mu   sync.Mutex
	ids  []tl.Int256 // of all that workers were ever given
}

const lieFor = 40 // actions of each

func (l *liars) note(id tl.Int256) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

func (l *liars) any(r *rand.Rand) tl.Int256 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ids) == 0 || r.IntN(10) == 0 {
		return requestID(r.IntN(50))
	}
	return l.ids[len(l.ids)-1-r.IntN(min(len(l.ids), 6))]
}

// administer changes contracts under everything that runs.
func (l *liars) administer(r *rand.Rand) {
	for version := uint32(2); version < 8; version++ {
		time.Sleep(time.Duration(3+r.IntN(10)) * time.Second)
		if err := l.r.book.Check(); err != nil {
			l.r.t.Error(err)
		}
		root := *testRoot(l.r.t)
		root.Version += version
		if r.IntN(3) == 0 {
			root.ParamsVersion = version
		}
		l.r.registry.Set(&root)
	}
}

func (l *liars) work(r *rand.Rand) {
	for range lieFor / 4 {
		w := l.soak.dial(l.r.workers)
		q := workerHello()
		q.Params.Flags |= tl.FlagExtensions
		q.Params.MaxActiveRequests = int32(1 + r.IntN(4))
		for _, fn := range []tl.Object{q, &tl.WorkerCompareBalanceWithProxy{}, &tl.WorkerProxyHandshakeComplete{}, &tl.CocoonGetFeatures{Names: allFeatures}} {
			if _, err := w.ask(fn); err != nil {
				break
			}
		}
		for range lieFor {
			select {
			case o := <-w.in:
				if q, ok := o.(*tl.ProxyRunQueryEx); ok {
					l.note(q.RequestID)
				}
			case <-time.After(time.Duration(r.IntN(100)) * time.Millisecond):
			}
			w.conn.Send(l.lie(r))
		}
		w.conn.Close(nil)
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
	}
}

func (l *liars) lie(r *rand.Rand) tl.Object {
	id := l.any(r)
	count := []int64{0, 1, 7, 900, -1, math.MinInt64, math.MaxInt64, math.MaxInt64 / 2}[r.IntN(8)]
	tokens := tl.TokensUsed{PromptTokensUsed: count, CompletionTokensUsed: count, TotalTokensUsed: count}
	info := tl.ProxyQueryFinalInfo{Flags: 3, TokensUsed: tokens, WorkerDebug: "{", WorkerStartTime: math.NaN(), WorkerEndTime: math.Inf(1)}
	status := []int32{200, 200, 200, 200, 200, 200, 404, 500, 502, 503, 100, 0, -5, 1 << 30}[r.IntN(14)]
	head := response(status, "x", "Content-Length", "5", "Transfer-Encoding", "chunked", "Content-Type", "text/event-stream")
	end := uint32(r.IntN(2))
	switch r.IntN(11) {
	case 0:
		return &tl.CocoonQueryProgress{RequestID: id, TokensUsed: tokens}
	case 1:
		return &tl.WorkerNewCoefficient{NewCoefficient: int32(r.IntN(6000))}
	case 2:
		return &tl.WorkerEnabledDisabled{Disabled: int32(r.IntN(2))}
	case 3:
		return &tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: []int32{0, 602, 621, 651, 652, 653, -1}[r.IntN(7)], Error: "\xff\r\n", Flags: end, FinalInfo: info}
	case 4:
		return &tl.ProxyQueryAnswer{RequestID: id, Answer: head, IsCompleted: end == 1, TokensUsed: tokens}
	case 5:
		return &tl.ProxyQueryAnswerPart{RequestID: id, Answer: []byte("p"), IsCompleted: end == 1, TokensUsed: tokens}
	case 6:
		return &tl.ProxyQueryAnswerError{RequestID: id, ErrorCode: 651, TokensUsed: tokens}
	case 7, 8:
		return &tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte("data: 1"), Flags: end, FinalInfo: info}
	}
	return &tl.ProxyQueryAnswerEx{RequestID: id, Answer: head, Flags: end, FinalInfo: info}
}

func (l *liars) ask(n int, r *rand.Rand) {
	for range lieFor / 4 {
		c := l.soak.dial(l.r.clients)
		hello := clientHello()
		hello.Params.ClientOwnerAddress, hello.Params.Flags = fmt.Sprintf("0:%064x", n%2+1), 3|tl.FlagExtensions
		for _, fn := range []tl.Object{hello, &tl.ClientAuthorizeWithProxyShort{}, &tl.CocoonGetFeatures{Names: allFeatures}} {
			if _, err := c.ask(fn); err != nil {
				break
			}
		}
		for range lieFor {
			q := question(r.IntN(12)) // ids repeat
			q.MaxTokens = []int32{0, 1, 100, math.MaxInt32, -1}[r.IntN(5)]
			q.MaxCoefficient = []int32{1000, 1000, 5000, 0, -1, math.MaxInt32}[r.IntN(6)]
			q.Timeout = []float64{0.001, 0.3, 2, 20, 1e300, -1, math.NaN(), 0}[r.IntN(8)]
			if r.IntN(10) == 0 {
				q.Query = []byte("nonsense")
			}
			if c.conn.Send(q); r.IntN(4) == 0 {
				c.conn.Send(&tl.CocoonRunQuery{ModelName: q.ModelName, Query: q.Query, MaxCoefficient: q.MaxCoefficient, MaxTokens: q.MaxTokens, Timeout: q.Timeout, RequestID: requestID(r.IntN(12)),
					MinConfigVersion: q.MinConfigVersion, Flags: int32(r.Uint32()), Affinity: make([]byte, r.IntN(40)),
					Wishes: tl.CocoonWishes{Sort: int32(r.IntN(8) - 2), MaxLatency: []float64{0, 1e300, math.NaN(), -1}[r.IntN(4)], Only: make([]string, r.IntN(2)), Ignore: make([]string, r.IntN(60)), NoFallbacks: r.IntN(2) == 0}})
			}
			for range r.IntN(4) {
				c.conn.Send(&tl.CocoonCancelQuery{RequestID: requestID(r.IntN(12))})
			}
			time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
		}
		c.conn.Close(nil)
	}
}
