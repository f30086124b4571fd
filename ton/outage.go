package ton

import (
	"context"
	"errors"
	"time"
)

// Outage is a time without the chain: nobody answers, or what they show is too
// old to act on. The zero Outage is none.
type Outage struct {
	// Since is when the chain was last heard of, by this machine's clock.
	Since time.Time
	// Why is the newest failure, [ErrUnreachable] or [ErrStale].
	Why error
	// Back is closed when the chain is there again, nil while it is; Gone when it
	// goes away, nil while it is away or where nobody tells.
	Back, Gone <-chan struct{}
}

// Away says whether the chain is away.
func (o Outage) Away() bool { return o.Why != nil }

// OutageOf is what a chain tells of itself without being asked anything. Only
// those that are followed tell, such as a [Client]; of others none is known.
func OutageOf(chain Chain) Outage {
	if c, ok := chain.(interface{ Outage() Outage }); ok {
		return c.Outage()
	}
	return Outage{}
}

// Outage is as of the newest look for a block. While somebody waits for a
// block ([Client.Changed]) one follows the other.
func (c *Client) Outage() Outage {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away == nil {
		return Outage{Gone: c.turned}
	}
	return Outage{Since: c.heard, Why: c.away, Back: c.turned}
}

var errUnheard = errors.New("nothing was heard yet")

// hear notes how a look for the newest block went. That somebody did not want to
// wait for it says nothing.
func (c *Client) hear(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var stale *StaleError
	if errors.As(err, &stale) && c.head.id != nil && c.age(c.head) <= c.cfg.MaxAge {
		return // a server is behind what another has shown a moment ago
	}
	if (err == nil) != (c.away == nil) {
		close(c.turned)
		c.turned = make(chan struct{})
		select {
		case c.want <- struct{}{}: // follow sees to the return
		default:
		}
	}
	if c.away = err; err == nil {
		c.heard = c.cfg.Now()
	}
}

// Alike is what two errors have in common that a log need not tell twice: while
// the chain is away each is worded in another way, by port and by server.
func Alike(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrUnreachable):
		return ErrUnreachable.Error()
	case errors.Is(err, ErrStale):
		return ErrStale.Error()
	}
	return err.Error()
}
