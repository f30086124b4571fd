package contract_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// TestHistories plays random histories: deposits, charges, payouts, refunds,
// closings, new generations, lies, waits of months, all of it with too little
// money now and then, brought by anybody, in any order and again, on a chain
// that in most of them loses, repeats and delays messages. After every step
// the book is compared with the chain:
//
//   - a proxy's contract has at least deposits + balance + stake, but for rent;
//     each of the three is what the payments in and out make it;
//   - what a worker's counter says times the fee is paid, owed or under way;
//   - what a client paid in is used, paid back, in its balance or under way;
//   - a claim that is refused comes back, and is taken back;
//   - counters and states never fall, nobody does what they may not;
//   - all coins are there: accounts, fees, messages under way.
//
// In the end everybody leaves and gets what is theirs.
//
// COCOON_HISTORIES is how many to play, COCOON_SEED the first one's seed: the
// same seed is the same history. Ten thousand take some minutes:
//
//	COCOON_HISTORIES=10000 go test -run TestHistories ./contract
func TestHistories(t *testing.T) {
	count, first := setting(t, "COCOON_HISTORIES", defaultHistories), setting(t, "COCOON_SEED", 1)
	var wg sync.WaitGroup
	seeds := make(chan uint64)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			s := newStage(t)
			for seed := range seeds {
				if h, err := s.play(seed); err != nil {
					t.Errorf("seed %d: %v\n%s\nCOCOON_SEED=%d COCOON_HISTORIES=1 plays it again", seed, err, h.story.String(), seed)
				}
			}
		})
	}
	for i := range count {
		if t.Failed() {
			break
		}
		seeds <- first + i
	}
	close(seeds)
	wg.Wait()
}

// defaultHistories take some ten seconds of one processor.
var defaultHistories uint64 = 200

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	v, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return v
}

// stage is a chain with nobody on it, to which every history returns.
type stage struct {
	t     *testing.T
	chain *localnet.Chain
	empty *localnet.Snapshot
	now   *history
	// tamper, if set, changes messages between contracts behind the book's back.
	tamper func(*cell.Cell) *cell.Cell
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t}
	var err error
	s.chain, err = localnet.New(localnet.Config{
		Seed: [32]byte{1, 2, 3}, Now: func() time.Time { return start },
		Route: func(m *cell.Cell) []*cell.Cell {
			if s.tamper != nil {
				m = s.tamper(m)
			}
			return s.now.route(m)
		},
	})
	if err != nil {
		t.Error(err)
		return s
	}
	if s.empty, err = s.chain.Snapshot(); err != nil {
		t.Error(err)
	}
	return s
}

func (s *stage) play(seed uint64) (*history, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	h := &history{seed: seed, rng: rng, chain: s.chain, book: newBook()}
	s.now = h
	if err := s.chain.Restore(s.empty); err != nil {
		return h, err
	}
	total, err := s.chain.Total()
	if err != nil {
		return h, err
	}
	h.book.begun = total
	if err := h.prepare(); err != nil {
		return h, fmt.Errorf("before it began: %w", err)
	}
	if rng.IntN(4) > 0 {
		h.faults = 0.15
	}
	return h, h.run(60)
}

// A seed that fails is played again, on another chain and after other
// histories, and must fail again.
func TestTheSameSeedIsTheSameHistory(t *testing.T) {
	a, b := newStage(t), newStage(t)
	if _, err := b.play(99); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(3) {
		once, err := a.play(seed)
		again, err2 := b.play(seed)
		if err != nil || err2 != nil || once.story.String() != again.story.String() {
			t.Errorf("seed %d, %v: \n%s\nand again, %v:\n%s", seed, err, once.story.String(), err2, again.story.String())
		}
	}
}

// A book that could not be wrong would prove nothing. Here one message between
// contracts is changed on its way, by a single nano or a single bit, and the
// book must notice in most histories that have such a message.
func TestHistoriesNoticeWhatIsNotRight(t *testing.T) {
	for name, change := range map[string]func(contract.Body) bool{
		"a claim of a worker": func(b contract.Body) bool {
			r, ok := b.(*contract.WorkerRequest)
			return ok && r.Part != nil && bump(&r.Part.Worker)
		},
		"a demand of a client": func(b contract.Body) bool {
			r, ok := b.(*contract.ClientRequest)
			return ok && r.Part != nil && bump(&r.Part.Amount)
		},
		"a payment": func(b contract.Body) bool { p, ok := b.(*contract.PaidOut); return ok && p.QueryID != 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			noticed, done := 0, false
			s.tamper = func(m *cell.Cell) *cell.Cell {
				if done {
					return m
				}
				changed, ok := tampered(m, change)
				done = ok
				return changed
			}
			for seed := range uint64(10) {
				done = false
				if _, err := s.play(seed); err != nil {
					noticed++
				}
			}
			if noticed < 5 {
				t.Errorf("noticed in %d of 10 histories, want most", noticed)
			}
		})
	}
}

func bump(v *coin.Nano) bool {
	*v++
	return *v > 1
}

// tampered is the message after the change, if there was anything to change.
// A payment loses a nano.
func tampered(c *cell.Cell, change func(contract.Body) bool) (*cell.Cell, bool) {
	var m tlb.InternalMessage
	if err := tlb.Parse(&m, c); err != nil || m.Bounced {
		return c, false
	}
	body := bodyOf(&m)
	if body == nil || !change(body) {
		return c, false
	}
	if _, pays := body.(*contract.PaidOut); pays {
		m.Amount = amount(nano(m.Amount) - 1)
	}
	m.Body = cellOf(body)
	again, err := tlb.ToCell(&m)
	if err != nil {
		return c, false
	}
	return again, true
}
