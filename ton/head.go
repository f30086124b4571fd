package ton

import (
	"bytes"
	"context"
	"errors"
	"time"

	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// head is a masterchain block that has been checked.
type head struct {
	id   *tonapi.BlockIDExt // nil before the first
	time time.Time
	key  uint32 // the newest block that may have changed the configuration
	lt   uint64 // at its end
}

func (h head) block() Block {
	if h.id == nil {
		return Block{}
	}
	return Block{Seqno: h.id.SeqNo, Time: h.time}
}

// Head is the newest block, asked for when called.
func (c *Client) Head(ctx context.Context) (Block, error) {
	h, err := c.newest(ctx)
	return h.block(), err
}

// flight is one look for the newest block on behalf of all who asked for it
// before it began.
type flight struct {
	done chan struct{}
	head head
	err  error
}

// newest is the newest block of a look that began after the call: who has seen
// something happen finds it there. Calls at the same time share one look.
func (c *Client) newest(ctx context.Context) (head, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &flight{done: make(chan struct{})}
	}
	mine := c.next
	if c.running == nil && c.ctx.Err() == nil {
		c.takeOff()
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
		return mine.head, mine.err
	case <-ctx.Done():
		r := round{names: c.names()}
		return head{}, r.ended(c, ctx, "look for the newest block")
	case <-c.ctx.Done():
		return head{}, &UnreachableError{Doing: "look for the newest block", Servers: c.names(), Last: errClosed}
	}
}

var errClosed = errors.New("the client is closed")

// takeOff starts the next look. The caller holds mu.
func (c *Client) takeOff() {
	f := c.next
	c.running, c.next = f, nil
	c.work.Go(func() {
		f.head, f.err = c.look(c.ctx)
		close(f.done)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running = nil
		if c.next != nil && c.ctx.Err() == nil {
			c.takeOff()
		}
	})
}

// look asks servers for their newest block until one is recent.
func (c *Client) look(ctx context.Context) (head, error) {
	err := c.ask(ctx, "look for the newest block", func(ctx context.Context, s server) error {
		info, err := query[tonapi.MasterchainInfo](ctx, s.link, s.line, tonapi.GetMasterchainInf{})
		if err != nil {
			return err
		}
		return c.adopt(ctx, s, info)
	})
	c.mu.Lock()
	known := c.head
	c.mu.Unlock()
	var stale *StaleError
	if errors.As(err, &stale) && known.id != nil && c.age(known) <= c.cfg.MaxAge {
		err = nil // servers are behind what another has shown, and will catch up
	}
	c.hear(ctx, err)
	return known, err
}

func (c *Client) age(h head) time.Duration { return c.cfg.Now().Sub(h.time) }

// adopt makes a server's newest block the head, if it is proven and not older
// than the head. It is a [StaleError] if the block is behind or too old.
func (c *Client) adopt(ctx context.Context, s server, info tonapi.MasterchainInfo) error {
	if info.Last == nil || info.Init == nil || info.Last.Workchain != -1 || len(info.Last.RootHash) != 32 || len(info.Last.FileHash) != 32 {
		return wrong("the newest block is no masterchain block")
	}
	if zero := c.cfg.Network.Zero; !bytes.Equal(info.Init.RootHash, zero.RootHash) || !bytes.Equal(info.Init.FileHash, zero.FileHash) {
		return wrong("it serves another network: its zero state is %x, the configuration's %x", info.Init.RootHash, zero.RootHash)
	}
	c.mu.Lock()
	known, trusted := c.head, c.trusted
	c.mu.Unlock()
	if known.id != nil && info.Last.SeqNo <= known.id.SeqNo {
		return c.compare(ctx, s, known, info.Last)
	}
	check := c.signed
	if c.cfg.InsecureUnsigned {
		check = c.unsigned
	}
	fresh, err := check(ctx, s, trusted, info.Last)
	if err != nil {
		return err
	}
	return c.publish(fresh)
}

// compare judges a server whose newest block is not newer than the head.
func (c *Client) compare(ctx context.Context, s server, known head, last *tonapi.BlockIDExt) error {
	if last.SeqNo < known.id.SeqNo {
		behind := head{id: last}
		if at, err := c.header(ctx, s, last); err == nil {
			behind = at
		}
		return &StaleError{Newest: behind.block(), Age: c.age(behind), Seen: known.block()}
	}
	if !last.Equals(known.id) {
		return wrong("its block %d is %x, and was seen as %x before", last.SeqNo, last.RootHash, known.id.RootHash)
	}
	return c.stale(known)
}

func (c *Client) stale(h head) error {
	if age := c.age(h); age > c.cfg.MaxAge {
		return &StaleError{Newest: h.block(), Age: age, Seen: h.block()}
	}
	return nil
}

func (c *Client) publish(fresh head) error {
	c.mu.Lock()
	if c.head.id == nil || fresh.id.SeqNo > c.head.id.SeqNo {
		c.head, c.wanted = fresh, false
		close(c.news)
		c.news = make(chan struct{})
	}
	c.mu.Unlock()
	return c.stale(fresh)
}

// unsigned believes that a block exists, and reads its header.
func (c *Client) unsigned(ctx context.Context, s server, _ head, id *tonapi.BlockIDExt) (head, error) {
	return c.header(ctx, s, id)
}

// header reads what a block says of itself, proven by its hash.
func (c *Client) header(ctx context.Context, s server, id *tonapi.BlockIDExt) (head, error) {
	answer, err := query[tonapi.BlockHeader](ctx, s.link, s.line, tonapi.GetBlockHeader{ID: id})
	if err != nil {
		return head{}, err
	}
	return readHeader(id, answer.HeaderProof)
}

func readHeader(id *tonapi.BlockIDExt, proof []byte) (head, error) {
	root, err := cell.FromBOC(proof)
	if err != nil {
		return head{}, wrong("header of block %d: %w", id.SeqNo, err)
	}
	block, err := tonapi.CheckBlockProof(root, id.RootHash)
	if err != nil {
		return head{}, wrong("header of block %d: %w", id.SeqNo, err)
	}
	info := block.BlockInfo
	if info.NotMaster || info.SeqNo != id.SeqNo {
		return head{}, wrong("block %d calls itself %d (masterchain: %v)", id.SeqNo, info.SeqNo, !info.NotMaster)
	}
	key := info.PrevKeyBlockSeqno
	if info.KeyBlock {
		key = info.SeqNo
	}
	return head{id: id, time: time.Unix(int64(info.GenUtime), 0), key: key, lt: info.EndLt}, nil
}
