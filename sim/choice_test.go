package sim

import (
	"fmt"
	"os"
	"time"

	library "github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/ton"
)

type libraryMessage = library.Message

var empty = cell.BeginCell().EndCell()

// choose draws what happens next.
func (e *economy) choose() func() {
	type option struct {
		weight int
		do     func()
	}
	var list []option
	may := func(weight int, do func()) { list = append(list, option{weight, do}) }
	calls := e.chain.pending()
	if debugPending {
		for _, q := range calls {
			e.note("%6d    pending %s %s", e.step, q.node.name, q.what)
		}
	}
	if len(calls) > 0 {
		may(60, func() { e.answer(calls[e.r.IntN(len(calls))]) })
	}
	if ready := e.chain.ready(); len(ready) > 0 {
		may(40, func() {
			i := ready[e.r.IntN(len(ready))]
			m := e.chain.transit[i]
			e.tell("%s hears from %s", e.called(m.To), e.called(m.From))
			e.chain.deliver(i)
		})
	}
	if !e.chain.stalled {
		may(12, func() { e.seal() })
	}
	may(12, func() { e.rest(time.Duration(1+e.r.IntN(3000)) * time.Millisecond) })
	may(6, func() { e.rest(time.Duration(1+e.r.IntN(60_000)) * time.Millisecond) })
	may(10, e.ask)
	if len(e.requests) > 0 {
		may(40, func() { e.advance(e.requests[e.r.IntN(len(e.requests))]) })
	}
	may(6, func() { e.clients[e.r.IntN(len(e.clients))].moves(e.r) })
	may(3, func() { e.workers[e.r.IntN(len(e.workers))].moves(e.r) })
	may(10, e.mail)
	may(6, func() {
		c, h := e.clients[e.r.IntN(len(e.clients))], e.houses[e.r.IntN(len(e.houses))]
		if c.program != nil {
			c.connect(h)
		}
		c.polls(h)
	})
	if e.climate.liars {
		may(3, e.lie)
		may(4, func() { e.defraud(e.houses[e.r.IntN(len(e.houses))]) })
	}
	e.troubles(may)
	sum := 0
	for _, o := range list {
		sum += o.weight
	}
	n := e.r.IntN(sum)
	for _, o := range list {
		if n -= o.weight; n < 0 {
			return o.do
		}
	}
	panic("no choice")
}

func (e *economy) seal() {
	e.chain.seal()
	e.tell("block %d", e.chain.head.Seqno)
	if err := e.book.check(); err != nil {
		e.broken("%v", err)
	}
}

// answer answers a question to the chain.
func (e *economy) answer(q *call) {
	if q.node.cut || e.climate.chain && e.r.IntN(25) == 0 {
		e.tell("%s %s: nobody answers", q.node.name, q.what)
		e.chain.done(q, nil, fmt.Errorf("no server: %w", ton.ErrUnreachable))
		return
	}
	if q.send != nil {
		e.external(q)
		return
	}
	v, err := q.answer()
	e.tell("%s %s", q.node.name, q.what)
	e.chain.done(q, v, err)
}

func (e *economy) external(q *call) {
	m, err := ton.ParseMessage(q.send)
	e.must(err)
	e.book.sent(q.node, m)
	if e.climate.chain {
		switch x := (lateExternal{q.node.name, q.send}); e.r.IntN(8) {
		case 0:
			e.tell("%s %s, in vain", q.node.name, q.what)
			e.chain.done(q, nil, nil)
			return
		case 1:
			e.tell("%s %s, which takes its time", q.node.name, q.what)
			e.chain.late = append(e.chain.late, x)
			e.chain.done(q, nil, fmt.Errorf("no server: %w", ton.ErrUnreachable))
			return
		case 2: // twice
			e.chain.late = append(e.chain.late, x)
		}
	}
	err = e.chain.external(q.send)
	e.tell("%s %s: %v", q.node.name, q.what, err)
	e.chain.done(q, nil, err)
}

// mail hands out a payment that is under way, or loses it.
func (e *economy) mail() {
	n := e.r.IntN(len(e.clients) + len(e.workers))
	box := &e.clients[n%len(e.clients)].mail
	read := e.clients[n%len(e.clients)].reads
	if n >= len(e.clients) {
		w := e.workers[n-len(e.clients)]
		box, read = &w.mail, w.reads
	}
	if len(*box) == 0 {
		return
	}
	i := e.r.IntN(len(*box))
	m := (*box)[i]
	if e.r.IntN(4) > 0 { // else it comes again
		*box = append((*box)[:i], (*box)[i+1:]...)
	}
	if e.r.IntN(4) > 0 { // else it is lost
		read(m)
	}
}

// debugPending puts all questions that wait into the story, at each step.
var debugPending = os.Getenv("SIM_PENDING") != ""
