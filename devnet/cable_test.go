package devnet

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// cable is a wire between a door of a proxy and those who dial it, which a
// test can cut: that is how a machine dies, without a word to the other side.
type cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards lines and down
	lines []*line
	down  bool // refuses new connections
	wg    sync.WaitGroup
}

// line is one connection through a cable.
type line struct {
	dialer, door net.Conn
	sent         atomic.Int64 // bytes from the door to the dialer since the last mark
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: to}
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cable) address() string { return c.listener.Addr().String() }

func (c *cable) accept() {
	for {
		dialer, err := c.listener.Accept()
		if err != nil {
			return
		}
		door, err := net.Dial("tcp", c.to)
		if err != nil {
			dialer.Close()
			continue
		}
		l := &line{dialer: dialer, door: door}
		if !c.add(l) {
			l.close()
			continue
		}
		c.wg.Go(func() { l.copy(door, dialer, nil) })
		c.wg.Go(func() { l.copy(dialer, door, &l.sent); c.remove(l) })
	}
}

func (c *cable) add(l *line) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.down {
		c.lines = append(c.lines, l)
	}
	return !c.down
}

func (c *cable) remove(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = slices.DeleteFunc(c.lines, func(o *line) bool { return o == l })
}

// copy moves bytes until either end is gone, then ends both.
func (l *line) copy(dst, src net.Conn, count *atomic.Int64) {
	defer l.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if count != nil {
			count.Add(int64(n))
		}
		if _, werr := dst.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

func (l *line) close() {
	l.dialer.Close()
	l.door.Close()
}

// mark forgets what the lines have carried so far.
func (c *cable) mark() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		l.sent.Store(0)
	}
}

// cutBusiest cuts the line that has carried most to its dialer since mark.
func (c *cable) cutBusiest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.lines) > 0 {
		slices.MaxFunc(c.lines, func(a, b *line) int { return int(a.sent.Load() - b.sent.Load()) }).close()
	}
}

// cut cuts all lines.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		l.close()
	}
}

// unplug cuts all lines and lets none through until plug.
func (c *cable) unplug() {
	c.setDown(true)
	c.cut()
}

func (c *cable) plug() { c.setDown(false) }

func (c *cable) setDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}
