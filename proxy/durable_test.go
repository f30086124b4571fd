package proxy

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
)

// gate is a store whose disk is slow, or broken, when the test wants it.
type gate struct {
	ledger.Memory
	asked chan struct{}
	let   chan error
}

// shut makes every further write wait for the test's word.
func (g *gate) shut() {
	g.asked, g.let = make(chan struct{}, 16), make(chan error)
	g.Fault = func(ledger.Record) error {
		g.asked <- struct{}{}
		return <-g.let
	}
}

func onGate(t *testing.T, f func(r *rig, g *gate)) {
	g := &gate{}
	inBubble(t, func(c *Config) {
		c.Book = newBook(t, ledger.Config{Store: g, Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Every: 1 << 60})
	}, func(r *rig) {
		r.book = r.p.book.(*ledger.Ledger)
		f(r, g)
	})
}

// nothing says that no message has come when everything has come to rest.
func (p *peer) nothing(what string) {
	p.r.t.Helper()
	synctest.Wait()
	select {
	case o := <-p.in:
		p.r.t.Errorf("%s: the proxy sent %T", what, o)
	default:
	}
}

// Booked means durable: while the disk has not answered, neither the last
// part nor a payment has left, and other answers of the same worker go on.
func TestLastPartWaitsForTheDisk(t *testing.T) {
	onGate(t, func(r *rig, g *gate) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		one := w.given().RequestID
		c.send(question(2))
		two := w.given().RequestID
		w.head(one)
		w.head(two)
		want[*tl.ClientQueryAnswerEx](c)
		want[*tl.ClientQueryAnswerEx](c)
		g.shut()
		w.end(one, 7)
		<-g.asked
		c.nothing("before the disk has answered")
		w.nothing("before the disk has answered")
		w.send(&tl.ProxyQueryAnswerPartEx{RequestID: two, Answer: []byte("more")})
		if part := want[*tl.ClientQueryAnswerPartEx](c); part.RequestID != requestID(2) || string(part.Answer) != "more" {
			t.Errorf("%+v, want a part of the other answer", part)
		}
		if used := r.book.Clients()[0].Used; used != (ledger.Levels{}) {
			t.Errorf("%+v are booked, want nothing yet", used)
		}
		g.let <- nil
		if last := want[*tl.ClientQueryAnswerPartEx](c); last.RequestID != requestID(1) || last.Flags&1 == 0 || last.FinalInfo.TokensUsed.TotalTokensUsed != 7 {
			t.Errorf("%+v, want the last part with 7 tokens", last)
		}
		if pay := want[*tl.ProxyClientRequestPayment](c); pay.RequestTokens != 7 || pay.DbTokens != 7 {
			t.Errorf("%+v, want a payment of 7 stored tokens", pay)
		}
		if pay := want[*tl.ProxyWorkerRequestPayment](w); pay.RequestTokens != 7 || pay.DbTokens != 7 {
			t.Errorf("%+v, want a payment of 7 stored tokens", pay)
		}
		close(g.let) // the disk is quick again
		w.end(two, 3)
	})
}

// A disk that does not answer at all keeps no client waiting: its answer ends
// with an error in time, once, and what it cost is booked when the disk is back.
func TestDiskHangs(t *testing.T) {
	onGate(t, func(r *rig, g *gate) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		one := w.given().RequestID
		c.send(question(2))
		two := w.given().RequestID
		w.head(one)
		first := want[*tl.ClientQueryAnswerEx](c)
		g.shut()
		w.end(one, 7)
		<-g.asked
		w.send(&tl.ProxyQueryAnswerEx{RequestID: two, Flags: 1, Answer: tl.Marshal(&tl.HTTPResponse{HTTPVersion: "HTTP/1.1", StatusCode: 200}),
			FinalInfo: tl.ProxyQueryFinalInfo{TokensUsed: tl.TokensUsed{TotalTokensUsed: 5}}})
		synctest.Wait()
		time.Sleep(bookingLimit)
		ends := map[tl.Int256]string{first.RequestID: ""}
		for range 3 { // a last part for the one, a head and a last part for the other
			switch m := c.next().(type) {
			case *tl.ClientQueryAnswerEx:
				ends[m.RequestID] = ""
			case *tl.ClientQueryAnswerPartEx:
				if _, begun := ends[m.RequestID]; !begun || m.Flags&1 == 0 {
					t.Errorf("%+v, want a last part behind a head", m)
				}
				ends[m.RequestID] = string(m.Answer)
			}
		}
		for id, text := range ends {
			if !strings.Contains(text, "could not store") {
				t.Errorf("the answer to %x ends with %q", id[:4], text)
			}
		}
		close(g.let)
		for range 2 {
			want[*tl.ProxyWorkerRequestPayment](w)
		}
		c.nothing("when the disk is back")
		if a := r.book.Clients()[0]; a.Used.DB != 12 || a.Reserved != 0 {
			t.Errorf("%+v, want 12 tokens used and none reserved", a)
		}
	})
}

// A disk that fails ends the answer with an error, costs nobody anything that
// was not stored, and stops the taking of work, said so at both doors.
func TestDiskFails(t *testing.T) {
	onGate(t, func(r *rig, g *gate) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		run := func(n int) *answered {
			c.send(question(n))
			id := w.given().RequestID
			w.head(id)
			w.end(id, 5)
			return c.answer(requestID(n), true)
		}
		run(1)
		want[*tl.ProxyWorkerRequestPayment](w)
		g.Fault = func(ledger.Record) error { return errors.New("no space left on device") }
		a := run(2)
		if a.paid.RequestTokens != 0 || a.paid.MaxTokens != 5 || a.final.TokensUsed.TotalTokensUsed != 0 {
			t.Errorf("paid %+v, told %+v, want nothing beyond the first 5 tokens", a.paid, a.final.TokensUsed)
		}
		if !strings.Contains(a.body, "could not store") {
			t.Errorf("the answer ends with %q", a.body)
		}
		if pay := want[*tl.ProxyWorkerRequestPayment](w); pay.RequestTokens != 0 || pay.MaxTokens != 5 {
			t.Errorf("the worker is told %+v", pay)
		}
		c.send(question(3))
		c.answer(requestID(3), false).refusedWith(t, 503, "651", "no_proxy")
		late := r.dial(r.clients, [32]byte{})
		_, err := late.ask(clientHello())
		late.refusedAndClosed("after the failure", err, 651, "not participating")
		var used, reserved int64
		for _, c := range r.book.Clients() { // the late one has an account too
			used, reserved = used+c.Used.Max, reserved+c.Reserved
		}
		if used != 5 || reserved != 0 {
			t.Errorf("%d tokens used and %d reserved, want 5 and none", used, reserved)
		}
	})
}
