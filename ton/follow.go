package ton

import (
	"context"
	"errors"
	"time"

	tonapi "github.com/xssnick/tonutils-go/ton"
)

// Changed returns a channel that is closed when a block newer than the given
// one is known. While anybody waits, servers are watched for new blocks.
func (c *Client) Changed(after Block) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head.block().Seqno > after.Seqno {
		now := make(chan struct{})
		close(now)
		return now
	}
	c.wanted = true
	select {
	case c.want <- struct{}{}:
	default:
	}
	return c.news
}

// patience is how long a server may hold a question for the next block. It is
// shorter than the second after which an idle local chain seals an empty block for
// whoever waits: nobody's waiting shall make it grow.
const patience = 900 * time.Millisecond

// follow looks for new blocks while somebody waits for one, and for the chain
// while it is away: those who wait for its return do not ask.
func (c *Client) follow() {
	failures := 0
	for c.ctx.Err() == nil {
		c.mu.Lock()
		wanted, known, away := c.wanted, c.head, c.away != nil
		c.mu.Unlock()
		if !wanted && !away {
			select {
			case <-c.want:
			case <-c.ctx.Done():
			}
			continue
		}
		switch err := c.await(known); {
		case err == nil:
			failures = 0
			pause(c.ctx, c.cfg.Pace)
		default:
			failures++
			pause(c.ctx, backoff(min(failures, 6)))
		}
	}
}

// await asks one server for the block after the known one.
func (c *Client) await(known head) error {
	if known.id == nil {
		_, err := c.newest(c.ctx)
		return err
	}
	request, err := after(known.id.SeqNo+1, patience, tonapi.GetMasterchainInf{})
	if err != nil {
		return err
	}
	quiet := false
	err = c.ask(c.ctx, "wait for a block", func(ctx context.Context, s server) error {
		info, err := query[tonapi.MasterchainInfo](ctx, s.link, s.line, request)
		var refusal tonapi.LSError
		if errors.As(err, &refusal) && refusal.Code == codeTimeout {
			quiet = true
			return nil
		}
		if err != nil {
			return err
		}
		return c.adopt(ctx, s, info)
	})
	if quiet && c.age(known) > c.cfg.MaxAge/2 {
		_, err = c.newest(c.ctx) // a chain where nothing happens, or a server that withholds what does
		return err
	}
	c.hear(c.ctx, err)
	return err
}

// codeTimeout is a liteserver's answer when the block waited for has not come.
const codeTimeout = 652
