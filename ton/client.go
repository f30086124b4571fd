package ton

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

var (
	_ Chain     = (*Client)(nil)
	_ Librarian = (*Client)(nil)
)

// Client is a [Chain] read from liteservers, with Merkle proofs. It is safe
// for concurrent use.
//
// What is proven: accounts and the configuration by the newest masterchain
// block; transactions by the chain of hashes from an account's newest one;
// get-methods run here, on the proven account and configuration. What no server
// can do is show an account with another balance than the block says, or hide it.
//
// Which blocks exist is proven by the signatures of the validators, from the
// configuration's init_block on; the client never goes back behind a block that
// it has seen. With Config.InsecureUnsigned this is left out: then a server is
// trusted to name the true newest block. In both cases all servers together
// can withhold news, until it is noticed by MaxAge, and refuse to pass messages on.
type Client struct {
	cfg   Config
	links []*link
	stop  context.CancelFunc
	ctx   context.Context
	work  sync.WaitGroup
	want  chan struct{} // wakes follow

	// mu guards the rest. It is never held while a link's is taken.
	mu        sync.Mutex
	preferred *link
	moved     chan struct{} // closed and replaced when a link's state changes
	head      head
	trusted   head          // the newest key block whose signatures have been followed, at first Network.Init
	news      chan struct{} // closed and replaced at each new head
	wanted    bool          // somebody waits for news
	running   *flight
	next      *flight
	params    params
	heard     time.Time     // when the newest block was last learned, at first the start
	away      error         // why the newest look failed, nil if it did not
	turned    chan struct{} // closed and replaced when the chain goes away and when it is back
}

// Dial connects to a network's liteservers and returns when the first has
// shown a proven, recent block. The first time, signatures are followed from the
// configuration's init_block to the present, which may take a minute.
//
// The client must be closed. If Dial fails there is nothing to close; the error is [ErrUnreachable],
// [ErrStale], [ErrProof], or about the configuration.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Open is Dial without waiting, for who can begin while the chain is away, as it
// counts until it is heard of: the first call looks for the first block. Errors
// are about the configuration alone.
func Open(cfg Config) (*Client, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, want: make(chan struct{}, 1), moved: make(chan struct{}), news: make(chan struct{})}
	c.trusted.id, c.heard = cfg.Network.Init, cfg.Now()
	c.turned = make(chan struct{})
	c.away = &UnreachableError{Doing: "look for the newest block", Last: errUnheard}
	c.ctx, c.stop = context.WithCancel(context.Background())
	limit := rate.NewLimiter(rate.Inf, 0)
	if cfg.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(cfg.Rate), cfg.Burst)
	}
	for _, s := range cfg.Network.Servers {
		l := &link{Server: s, cfg: &c.cfg, limit: limit, moved: c.announce}
		c.links = append(c.links, l)
		c.work.Go(func() { l.keep(c.ctx) })
	}
	c.work.Go(c.follow)
	return c, nil
}

// begin waits for the first block, as long as there is progress towards it.
func (c *Client) begin(ctx context.Context) error {
	for {
		before := c.progress()
		_, err := c.newest(ctx)
		if err == nil || ctx.Err() != nil || c.progress() == before {
			return err
		}
	}
}

func (c *Client) progress() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trusted.id.SeqNo
}

// Close ends all connections. Calls under way fail; when it returns, all that
// the client started has ended, which may take up to Config.Timeout while a
// server that does not answer is being dialled.
func (c *Client) Close() error {
	c.stop()
	c.work.Wait()
	return nil
}

// announce wakes those who wait for a server.
func (c *Client) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *Client) prefer(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.preferred = l
}

// Servers says how each liteserver does, one line each, for people.
func (c *Client) Servers() []string {
	var lines []string
	for _, l := range c.links {
		l.mu.Lock()
		state := "connecting"
		switch {
		case l.dropped != nil:
			state = fmt.Sprintf("dropped: %v", l.dropped)
		case l.err != nil:
			state = fmt.Sprintf("unreachable: %v", l.err)
		case l.line != nil && l.failures > 0 && l.rest.After(time.Now()):
			state = "resting after failures"
		case l.line != nil:
			state = "connected"
		}
		l.mu.Unlock()
		lines = append(lines, fmt.Sprintf("%s %s", l.Server, state))
	}
	return lines
}
