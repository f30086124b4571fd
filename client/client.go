// Package client turns OpenAI requests into answers of the network.
//
// Start with [New] and [Client.Run]; then either hand [Client.Transport] to
// any OpenAI SDK for Go as its HTTP transport, or let Run serve the HTTP
// gateway ([Config.Listen]) for programs in other languages. Both are thin
// layers on the same steps:
//
//	request.go   read the caller's options, write the query
//	seal.go      encrypt it field by field, if configured; unseal.go opens the answer
//	ask.go       choose a proxy, go to another one if that is possible
//	link.go      one attested, authorised connection to a proxy
//	call.go      one running query: what arrives, limits, the end
//	answer.go    the HTTP answer and its body, debug record included
//	resume.go    another worker for a stream that breaks; splice.go makes one stream of both
//
// No byte of a prompt leaves before the proxy at the other end was judged by
// package ratls, and no wait is without an end: a request ends with its
// answer, its timeout, the loss of its connection or its caller.
//
// Wire format: wire.md §4 and current.md; the walk through the rooms is in
// docs/architecture.md.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/wire"
)

// Client is a running client. Its methods are safe for concurrent use.
type Client struct {
	cfg    Config
	wallet *address.Address
	root   *address.Address
	// forwarded lists the request headers that travel.
	forwarded []string
	affinity  affinityKey

	memory budget
	wire   *wire.Budget
	counts *counts
	debug  debugStore
	models modelClock
	active atomic.Int64  // requests now in ask or being answered
	closed atomic.Bool   // Run is ending: no new requests
	look   chan struct{} // wakes keepTargets

	mu       sync.Mutex // guards below; taken before link.mu
	targets  map[string]*target
	retired  map[*target]struct{}
	ready    []*link       // replaced, never changed in place
	more     chan struct{} // closed when ready grows
	accounts map[string]*account
	shunned  map[fieldcrypt.PublicKey]time.Time // keys that no proxy had, until when
	started  bool

	wg sync.WaitGroup // goroutines of Run
}

// New checks the configuration and reports all that is wrong with it at once.
func New(cfg Config) (*Client, error) {
	wallet, root, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	forwarded, err := forwardList(cfg.ForwardHeaders)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	cfg.setDefaults()
	c := &Client{
		cfg: cfg, wallet: wallet, root: root, forwarded: forwarded, affinity: newAffinityKey(), wire: wire.NewBudget(int(min(cfg.MaxMemory, 1<<30))),
		targets: map[string]*target{}, retired: map[*target]struct{}{}, more: make(chan struct{}), look: make(chan struct{}, 1), accounts: map[string]*account{}, shunned: map[fieldcrypt.PublicKey]time.Time{},
	}
	c.memory.limit = cfg.MaxMemory
	c.counts = newCounts(cfg.Now)
	return c, nil
}

// Run keeps the connections and serves the gateway until ctx ends. Then it
// takes no new requests, gives running ones [Config.Grace], closes everything
// and returns once all it started has ended. An error means the gateway could
// not listen or serve. Run a Client once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	again := c.started
	c.started = true
	c.mu.Unlock()
	if again {
		return errors.New("client: Run was called twice")
	}
	// Connections outlive ctx by the grace that requests get.
	links, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer c.wg.Wait()
	defer stop()
	serveErr, err := c.serve()
	if err != nil {
		return err
	}
	c.wg.Go(func() { c.keepTargets(links) })
	select {
	case <-ctx.Done():
		c.closed.Store(true)
		return c.drain(serveErr)
	case err := <-serveErr.failed:
		return err
	}
}

// drain waits for running requests, those of the gateway and of Transport.
func (c *Client) drain(s *server) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Grace)
	defer cancel()
	err := s.shutdown(ctx)
	for c.active.Load() > 0 && ctx.Err() == nil {
		sleep(ctx, 10*time.Millisecond)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Ready waits until a proxy is connected and authorised.
func (c *Client) Ready(ctx context.Context) error {
	for {
		ready, more := c.readyLinks()
		if len(ready) > 0 {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("client: no proxy is ready: %w%s", ctx.Err(), c.whyNotReady())
		}
	}
}

// readyLinks returns the usable connections and a channel that is closed when
// there is one more.
func (c *Client) readyLinks() ([]*link, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready, c.more
}

// budget is a bounded amount of memory. The zero budget has no room.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }
