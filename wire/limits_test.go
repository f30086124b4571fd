package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// A silent peer gets one ping after 10 s from a dialer, none from a listener,
// and is left after 20 s or 60 s.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		h := newInbox()
		p := &rawPeer{t: t, nc: near}
		go func() {
			p.read(20)
			near.Write(openingFrame(idConnected, [8]byte{}))
		}()
		c, err := Client(t.Context(), far, h, Config{})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		start := time.Now()
		if got := p.frame(); string(got[:4]) != "\x7c\x62\xe9\xbb" || time.Since(start) != 10*time.Second {
			t.Errorf("%x after %v, want a ping after 10 s", got, time.Since(start))
		}
		wantErr(t, <-h.closed, ErrIdle)
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("left after %v, want 20 s", took)
		}
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after one ping: %v, want the end", err)
		}
		c.Wait()

		h = newInbox()
		_, p = facing(t, h, Config{})
		start = time.Now()
		wantErr(t, <-h.closed, ErrIdle)
		if took := time.Since(start); took != 60*time.Second {
			t.Errorf("listener left after %v, want 60 s", took)
		}
		if _, err := p.nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("listener sent something: %v", err)
		}
	})
}

// Two of us keep an idle connection up by pings alone.
func TestPingsKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := connected(t, pipe, newInbox(), newInbox(), Config{})
		time.Sleep(time.Hour)
		if c.Err() != nil || s.Err() != nil {
			t.Errorf("after an idle hour: %v, %v", c.Err(), s.Err())
		}
		c.Close(nil)
		c.Wait()
		if pings := c.outSeq - 1; pings < 359 || pings > 361 {
			t.Errorf("%d pings in an hour, want one each 10 s", pings)
		}
	})
}

// A ping measures the way there and back; what nobody asked for measures nothing.
func TestRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Duration
		c, p := facing(t, newInbox(), Config{OnRTT: func(d time.Duration) { told = append(told, d) }})
		answer := func(after time.Duration, id func([]byte) []byte) {
			c.Ping()
			ping := p.frame()
			time.Sleep(after)
			p.send(append(binary.LittleEndian.AppendUint32(nil, idPong), id(ping[4:12])...))
			synctest.Wait()
		}
		same := func(id []byte) []byte { return id }
		if c.RTT() != 0 {
			t.Errorf("%v before any ping", c.RTT())
		}
		for _, x := range []struct {
			after, want time.Duration
			id          func([]byte) []byte
		}{
			{80 * time.Millisecond, 80 * time.Millisecond, same},
			{40 * time.Millisecond, 40 * time.Millisecond, same},                                      // shorter counts at once
			{120 * time.Millisecond, 50 * time.Millisecond, same},                                     // longer an eighth
			{time.Microsecond, 50 * time.Millisecond, func([]byte) []byte { return make([]byte, 8) }}, // not the one that was asked
		} {
			answer(x.after, x.id)
			if got := c.RTT(); got.Round(time.Millisecond) != x.want {
				t.Errorf("after %v the round trip is %v, want %v", x.after, got, x.want)
			}
		}
		if len(told) != 3 {
			t.Errorf("told %v", told)
		}
	})
}

// Bytes that never complete a frame are no sign of life, the steady progress
// of a large one is.
func TestSlowSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox()
		_, p := facing(t, h, Config{})
		start := time.Now()
		talked := make(chan struct{})
		go func() { // one byte a second of a large frame
			defer close(talked)
			for _, b := range framed(1, make([]byte, 1<<20)) {
				if _, err := p.nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		wantErr(t, <-h.closed, ErrIdle)
		if took := time.Since(start); took != 60*time.Second {
			t.Errorf("left after %v", took)
		}
		<-talked

		h = newInbox()
		_, p = facing(t, h, Config{})
		message := outgoing{kind: idPacket, raw: make([]byte, 1<<20)}
		frame, _ := message.append(nil, 1, 1<<20, message.size(1<<20))
		start = time.Now()
		for part := range slicesOf(frame, progress) { // 17 parts in 8 minutes
			p.nc.Write(part)
			time.Sleep(30 * time.Second)
		}
		if got := <-h.packets; len(got) != 1<<20 || time.Since(start) < 5*time.Minute {
			t.Errorf("%d bytes after %v", len(got), time.Since(start))
		}
	})
}

func slicesOf(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			part := b[:min(n, len(b))]
			if b = b[len(part):]; !yield(part) {
				return
			}
		}
	}
}

// A peer that takes nothing is left, though it goes on sending.
func TestPeerThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox()
		c, p := facing(t, h, Config{Stall: 8 * time.Second})
		start := time.Now()
		if err := c.Send(blob(100)); err != nil {
			t.Fatal(err)
		}
		talked := make(chan struct{})
		go func() {
			defer close(talked)
			for {
				if _, err := p.nc.Write(framed(p.seq, unhex(t, "2c30d40b4d00000000000000"))); err != nil {
					return
				}
				p.seq++
				time.Sleep(time.Second)
			}
		}()
		wantErr(t, <-h.closed, ErrSlowPeer)
		if took := time.Since(start); took < 8*time.Second || took > 12*time.Second {
			t.Errorf("left after %v, limit 8 s", took)
		}
		<-talked
	})
}

// One that takes a little now and then is not.
func TestPeerThatTakesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox()
		c, p := facing(t, h, Config{Idle: time.Hour})
		want := tl.SizeBytes(0) + len(tl.Marshal(blob(1<<20)))
		if err := c.Send(blob(1 << 20)); err != nil {
			t.Fatal(err)
		}
		got := 0
		for got < want {
			n, err := p.nc.Read(make([]byte, 8<<10))
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			got += n
			time.Sleep(time.Second)
		}
	})
}

// What a slow reader costs is bounded, and it alone is disconnected.
func TestSlowReaderIsBounded(t *testing.T) {
	const limit = 1 << 20
	budget := NewBudget(100 * limit)
	h := newInbox()
	c, p := facing(t, h, Config{MaxQueued: limit, Budget: budget})
	other, _ := connected(t, loopback, newInbox(), newInbox(), Config{Budget: budget})
	var err error
	sent := 0
	for ; err == nil; sent++ {
		if used := budget.Used(); used > 3*limit {
			t.Fatalf("%d bytes held, limit %d", used, limit)
		}
		err = c.Send(blob(10000))
	}
	wantErr(t, err, ErrSlowPeer)
	wantErr(t, <-h.closed, ErrSlowPeer)
	if sent < limit/11000 {
		t.Errorf("left after %d messages", sent)
	}
	c.Wait()
	if used := budget.Used(); used > 4096 {
		t.Errorf("%d bytes held after the end", used)
	}
	if err := other.Send(blob(1)); err != nil {
		t.Errorf("another connection: %v", err)
	}
	p.nc.Close()
}

// When the process is full, the connection that holds most goes and the
// others stay.
func TestBudgetTakesTheGreediest(t *testing.T) {
	budget := NewBudget(3 << 20)
	small, greedy := newInbox(), newInbox()
	s, _ := facing(t, small, Config{Budget: budget})
	g, _ := facing(t, greedy, Config{Budget: budget})
	for range 2 {
		if err := g.Send(blob(1 << 20)); err != nil {
			t.Fatal(err)
		}
	}
	var last error
	for range 20 {
		last = s.Send(blob(64 << 10))
	}
	wantErr(t, <-greedy.closed, ErrBudget)
	wantErr(t, g.Send(blob(1)), ErrBudget)
	if last != nil || s.Err() != nil {
		t.Errorf("the modest connection: %v, %v", last, s.Err())
	}
	wantErr(t, s.Send(blob(4<<20)), ErrBudget) // now it is the greediest itself
	wantErr(t, <-small.closed, ErrBudget)
	g.Wait()
	s.Wait()
	if budget.Used() != 0 {
		t.Errorf("%d bytes held by nobody", budget.Used())
	}
}

// Half-read frames count too.
func TestBudgetCountsReading(t *testing.T) {
	budget := NewBudget(1 << 20)
	h := newInbox()
	_, p := facing(t, h, Config{Budget: budget})
	head := framed(1, nil)
	copy(head, []byte{0, 0, 0, 1})
	p.nc.Write(head)
	go io.Copy(p.nc, zeros{})
	wantErr(t, <-h.closed, ErrBudget)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A thousand peers that connect and say half a word, and a thousand that
// announce 16 MiB and send little of it, cost little.
func TestHalfOpenConnectionsAreCheap(t *testing.T) {
	const n = 1000
	for _, row := range []struct {
		name  string
		said  []byte
		limit uint64 // bytes for each, stacks and test included
	}{
		{"half an opening", openingFrame(idConnect, [8]byte{})[:10], 16 << 10},
		{"header of 16 MiB", append(openingFrame(idConnect, [8]byte{}), 0, 0, 0, 1, 1, 0, 0, 0, 9, 9, 9), 48 << 10},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		before := heap()
		for range n {
			near, far := net.Pipe()
			wg.Go(func() {
				if c, err := Server(ctx, far, newQuietInbox(), Config{}); err == nil {
					c.Start()
					<-ctx.Done()
					c.Close(nil)
					c.Wait()
				}
				near.Close()
			})
			near.Write(row.said[:min(len(row.said), 20)])
			if len(row.said) > 20 {
				io.ReadFull(near, make([]byte, 20))
				near.Write(row.said[20:])
			}
		}
		if each := (heap() - before) / n; each > row.limit {
			t.Errorf("%s: %d bytes each, want at most %d", row.name, each, row.limit)
		} else {
			t.Logf("%s: %d bytes each", row.name, each)
		}
		cancel()
		wg.Wait()
	}
}

// newQuietInbox has no buffers that would blur a measurement.
func newQuietInbox() *inbox { return &inbox{closed: make(chan error, 1)} }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// Queries that the handler holds are bounded as well.
func TestTooManyOpenQueries(t *testing.T) {
	h := newInbox()
	var held []*Query
	h.onQuery = func(_ *Conn, q *Query) { held = append(held, q) }
	_, p := facing(t, h, Config{MaxQueued: 10 * (queryCost + 4)})
	query := unhex(t, "0819f53a65000000000000000461626364000000")
	for range 10 {
		p.send(query)
	}
	p.send(query)
	if got := p.frame(); !bytes.Contains(got, []byte("too many queries")) {
		t.Errorf("query 11 got %q", got)
	}
	go held[0].Fail(0, "done")
	p.frame()
	p.send(query)
	p.send(unhex(t, "7c62e9bb4d00000000000000"))
	if got := p.frame(); string(got[:4]) != "\x2c\x30\xd4\x0b" || len(held) != 11 {
		t.Errorf("after one answer the next query got %q", got)
	}
}

func TestCloseAfterFlushGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox()
		c, _ := facing(t, h, Config{})
		c.Send(blob(1000))
		synctest.Wait()
		start := time.Now()
		reason := errors.New("done")
		c.CloseAfterFlush(reason)
		wantErr(t, <-h.closed, reason)
		if took := time.Since(start); took != flushLimit {
			t.Errorf("gave up after %v, want %v", took, flushLimit)
		}
	})
}

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox()
		c, p := facing(t, h, Config{Idle: time.Hour, Stall: time.Hour})
		sent := 0
		full := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return errors.Is(c.Room(ctx), context.DeadlineExceeded)
		}
		for ; !full(); sent++ {
			c.Send(blob(100_000))
		}
		if sent < 3 || sent > 4 {
			t.Errorf("room for %d messages of 100 kB", sent)
		}
		waited := make(chan error)
		go func() { waited <- c.Room(t.Context()) }()
		p.frame()
		if err := <-waited; err != nil {
			t.Error(err)
		}
		for !full() {
			c.Send(blob(100_000))
		}
		go func() { waited <- c.Room(t.Context()) }()
		synctest.Wait()
		c.Close(nil)
		wantErr(t, <-waited, ErrClosed)
	})
}

// Buffers that a burst left behind are given back.
func TestBuffersShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(1 << 30)
		h := newInbox()
		c, s := connected(t, pipe, newInbox(), h, Config{Budget: budget})
		c.SendRaw(make([]byte, 4<<20))
		<-h.packets
		synctest.Wait()
		if used := budget.Used(); used > 4096 {
			t.Errorf("%d bytes held after a large message", used)
		}
		for range 4 {
			c.SendRaw(make([]byte, 100<<10))
		}
		for range 4 {
			<-h.packets
		}
		synctest.Wait()
		if used := budget.Used(); used < restBuffer {
			t.Errorf("%d bytes held just after a burst: its buffers were not kept", used)
		}
		time.Sleep(time.Minute)
		if used := budget.Used(); used > 2*restBuffer {
			t.Errorf("%d bytes held after a minute of rest", used)
		}
		if c.Err() != nil || s.Err() != nil {
			t.Errorf("%v, %v", c.Err(), s.Err())
		}
	})
}

// Contents stay out of what is logged.
func TestErrorsHideContents(t *testing.T) {
	secret := "tell nobody"
	h := newInbox()
	_, p := facing(t, h, Config{})
	p.send(append(unhex(t, "efbeadde"), secret...))
	if err := <-h.closed; strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "74656c6c") {
		t.Errorf("error tells contents: %v", err)
	}
}

// FuzzFrames lets a peer say anything after, or instead of, its opening.
func FuzzFrames(f *testing.F) {
	f.Add(true, unhex(f, "0c000000010000007c62e9bb4d00000000000000"))
	f.Add(false, unhex(f, "0c0000000000000061427ca508070605040302010400000001000000"))
	for _, v := range frameVectors(f) {
		f.Add(true, framed(1, unhex(f, v.Payload)))
	}
	f.Fuzz(func(t *testing.T, opened bool, said []byte) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, near)
		go func() {
			if opened {
				near.Write(openingFrame(idConnect, [8]byte{}))
			}
			near.Write(said)
			near.Close()
		}()
		h := &fuzzHandler{}
		c, err := Server(t.Context(), far, h, Config{MaxQueued: 1 << 20, Budget: NewBudget(1 << 20)})
		if err != nil {
			return
		}
		c.Start()
		c.Wait()
		if c.Err() == nil || h.ends != 1 {
			t.Errorf("ended with %v, told %d times", c.Err(), h.ends)
		}
		if h.got > len(said) {
			t.Errorf("%d bytes delivered of %d", h.got, len(said))
		}
	})
}

type fuzzHandler struct{ got, ends int }

func (h *fuzzHandler) Packet(_ *Conn, data []byte) { h.got += len(data) }
func (h *fuzzHandler) Query(_ *Conn, q *Query)     { h.got += len(q.Data); q.Fail(0, "Lost promise") }
func (h *fuzzHandler) Closed(*Conn, error)         { h.ends++ }

// A dialer that only listens, because a long answer comes, is no dead one: deployed dialers ping
// into silences alone.
func TestListeningIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed, heard := newInbox(), newInbox()
		c, s := connected(t, pipe, dialed, heard, Config{})
		for range 600 {
			time.Sleep(time.Second)
			if err := s.Send(&tl.ProxySignedPayment{Data: []byte("part")}); err != nil {
				t.Fatalf("the listener has ended the connection: %v", err)
			}
			<-dialed.packets
		}
		if pings := s.outSeq - 601; pings < 5 || pings > 25 {
			t.Errorf("%d pings in ten minutes, want one each half a minute", pings)
		}
		c.Close(nil)
		c.Wait()
	})
}
