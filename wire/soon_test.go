package wire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// What may wait leaves with the next message, in order, or alone after a
// moment; the end of the connection does not lose it.
func TestSendSoon(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*Conn)
		wait time.Duration // until it has arrived
		more int           // packets that come with it
	}{
		{"alone", func(*Conn) {}, restLimit, 0},
		{"two alone", func(c *Conn) { time.Sleep(restLimit / 2); c.SendSoon(blob(5)) }, restLimit, 1},
		{"before another", func(c *Conn) { c.Send(blob(5)) }, 0, 1},
		{"twice, before another", func(c *Conn) { c.SendSoon(blob(5)); c.Send(blob(9)) }, 0, 2},
		{"before the end", func(c *Conn) { c.CloseAfterFlush(nil) }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newInbox()
				near, _ := connected(t, pipe, newInbox(), h, Config{})
				start := time.Now()
				if err := near.SendSoon(blob(1)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if len(h.packets) != 0 {
					t.Error("it left at once")
				}
				c.then(near)
				for i := range c.more + 1 {
					if got := len(<-h.packets); got != len(tl.Marshal(blob(i*4+1))) {
						t.Errorf("packet %d has %d bytes, want %d", i, got, len(tl.Marshal(blob(i*4+1))))
					}
				}
				if took := time.Since(start); took != c.wait {
					t.Errorf("it took %v, want %v", took, c.wait)
				}
			})
		})
	}
}

// A rest that was cut short leaves no timer behind that hurries a later one
// before its time, and a closed connection takes nothing.
func TestSendSoonAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox()
		near, _ := connected(t, pipe, newInbox(), h, Config{})
		near.SendSoon(blob(1))
		near.Send(blob(1))
		time.Sleep(restLimit / 2)
		start := time.Now()
		near.SendSoon(blob(1))
		for range 3 {
			<-h.packets
		}
		if took := time.Since(start); took != restLimit {
			t.Errorf("the second rest took %v, want %v", took, restLimit)
		}
		near.Close(nil)
		wantErr(t, near.SendSoon(blob(1)), ErrClosed)
	})
}
