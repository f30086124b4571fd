package wire

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

const (
	writeChunk  = 64 << 10 // bytes per Write: what a peer must take within Config.Stall
	firstBuffer = 1 << 10
	restBuffer  = 64 << 10  // buffers above this are given back when the connection rests
	keepBuffer  = 1 << 20   // and above this as soon as they are written
	highWater   = 256 << 10 // Room waits for less than this to be queued

	restLimit = 5 * time.Millisecond // for which SendSoon waits for company
)

// queue encodes m behind what already waits. The writing goroutine takes all
// that has gathered with one Write, so a burst costs few system calls.
func (c *Conn) queue(m outgoing) error {
	data := m.dataSize()
	size := m.size(data)
	if limit := min(c.cfg.MaxFrame, c.cfg.MaxQueued-headerSize); size > limit {
		return fmt.Errorf("wire: %w: %s takes %d bytes, limit %d", ErrTooLarge, m.name(), size, limit)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queueLocked(&m, data, size)
}

func (c *Conn) queueLocked(m *outgoing, data, size int) error {
	if c.refusal != nil {
		return c.refusal
	}
	if err := c.makeRoom(headerSize + size); err != nil {
		c.failLocked(err)
		return c.refusal
	}
	b, err := m.append(c.pending, c.outSeq, data, size)
	if err != nil {
		return err
	}
	if alone := len(c.pending) == 0; !m.soon {
		c.hurry()
	} else if alone {
		c.rest()
	}
	c.pending = b
	c.outSeq++
	return nil
}

// hurry lets the writing goroutine take what is pending.
func (c *Conn) hurry() {
	c.resting = false
	c.wake.Signal()
}

// rest keeps it from doing so until something hurries, or for restLimit.
func (c *Conn) rest() {
	c.resting = true
	if c.restOver == nil {
		c.restOver = time.AfterFunc(restLimit, c.endRest)
		return
	}
	c.restOver.Reset(restLimit)
}

func (c *Conn) endRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurry()
}

func (c *Conn) makeRoom(n int) error {
	if waiting := len(c.pending) + c.inflight + n; waiting > c.cfg.MaxQueued {
		return fmt.Errorf("%w: %d bytes wait to be written, limit %d", ErrSlowPeer, waiting, c.cfg.MaxQueued)
	}
	if cap(c.pending)-len(c.pending) >= n {
		return nil
	}
	c.pending = slices.Grow(c.pending, max(n, firstBuffer))
	return c.holdBuffers()
}

func (c *Conn) holdBuffers() error {
	return c.account.set(holdWrites, cap(c.pending)+cap(c.spare)+c.batchCap)
}

func (c *Conn) writeLoop() {
	defer close(c.writeDone)
	defer c.nc.Close()
	defer c.account.close() // first: with TLS, Close may take five seconds
	var batch []byte
	for {
		if batch = c.nextBatch(batch); batch == nil {
			return
		}
		if err := c.writeAll(batch); err != nil {
			c.writeFailed(fmt.Errorf("write: %w", err))
			return
		}
	}
}

// writeFailed leaves the socket open until the reading goroutine has come to
// the end of what the peer sent: a refusal and its reason often arrive just
// before a close that our own writing ran into.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = nil
	c.endSoon(err, drainLimit)
	for c.err == nil {
		c.wake.Wait()
	}
}

// nextBatch gives the written buffer back and waits for more to write. Nil
// means the end.
func (c *Conn) nextBatch(written []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveBack(written)
	for (len(c.pending) == 0 || c.resting) && c.err == nil {
		if c.flush != nil {
			c.failLocked(c.flush)
			break
		}
		c.wake.Wait()
		c.letOthersAdd()
	}
	if c.err != nil {
		return nil
	}
	batch := c.pending
	c.pending, c.spare = c.spare, nil
	c.inflight, c.batchCap = len(batch), cap(batch)
	return batch
}

// letOthersAdd steps back once before a batch is taken: senders that are ready
// to run add to it, which under load saves a third of all CPU spent here.
func (c *Conn) letOthersAdd() {
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
}

func (c *Conn) giveBack(written []byte) {
	c.batchCap = 0
	if cap(written) <= keepBuffer {
		c.spare = written[:0]
		return
	}
	c.holdBuffers() // less than before: cannot be refused
}

func (c *Conn) writeAll(b []byte) error {
	for len(b) > 0 {
		c.writing.Store(c.clock())
		n, err := c.nc.Write(b[:min(len(b), writeChunk)])
		c.writing.Store(0)
		if err != nil {
			return err
		}
		b = b[n:]
		c.wrote(n)
	}
	return nil
}

func (c *Conn) wrote(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight -= n
	if c.room != nil && c.hasRoom() {
		close(c.room)
		c.room = nil
	}
}

// Fits says whether a message of n bytes leaves a quarter of MaxQueued free, so
// that the next few Sends cannot end the connection either.
func (c *Conn) Fits(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)+c.inflight+n <= c.cfg.MaxQueued/4*3
}

// Room waits while 256 KiB or more are queued. A sender that produces
// faster than the peer may take, such as the relay of a long answer, calls it
// before each Send instead of running into MaxQueued. It returns early with
// ctx's error or the connection's.
func (c *Conn) Room(ctx context.Context) error {
	for {
		room, err := c.roomOrWait()
		if room == nil || err != nil {
			return err
		}
		select {
		case <-room:
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Conn) roomOrWait() (chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal != nil || c.hasRoom() {
		return nil, c.refusal
	}
	if c.room == nil {
		c.room = make(chan struct{})
	}
	return c.room, nil
}

func (c *Conn) hasRoom() bool {
	return len(c.pending)+c.inflight < min(highWater, c.cfg.MaxQueued/2)
}

// shrink gives back buffers that a burst left behind.
func (c *Conn) shrink() {
	if len(c.pending)+c.inflight > 0 || max(cap(c.pending), cap(c.spare)) <= restBuffer {
		return
	}
	c.pending, c.spare = nil, nil
	c.holdBuffers() // less than before: cannot be refused
}
