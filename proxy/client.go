package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// client is one connection of a client. It implements wire.Handler.
type client struct {
	p        *Proxy
	conn     *wire.Conn
	requests table
	timer    *time.Timer

	// Set in the handshake, on the goroutine that reads; fixed once ready.
	stage      clientStage
	terms      *terms
	version    int32
	extensions bool
	wallet     *address.Address
	account    string // of the ledger
	text       string // of the wallet, as workers are told
	secret     [32]byte
	known      bool
	nonce      int64
	warned     bool // on the goroutine that reads

	ready    atomic.Bool
	features atomic.Uint32
	held     atomic.Int64 // bytes of its questions without a first answer

	// telling is held from reading the account until that is queued to be sent, so
	// that what the client is told never goes back.
	telling sync.Mutex
}

type clientStage int

const (
	clientNew   clientStage = iota
	clientAuth              // has been told how to authorise
	clientWaits             // for the chain
)

func (p *Proxy) greetClient(ctx context.Context, nc net.Conn) error {
	c := &client{p: p}
	cfg := p.cfg.Wire
	cfg.Peer = peerOf(nc)
	conn, err := wire.Server(ctx, nc, c, cfg)
	if err != nil {
		return err
	}
	c.conn = conn
	c.timer = handshakeTimer(conn, clientHandshakeLimit)
	p.mu.Lock()
	p.clients[c] = struct{}{}
	p.mu.Unlock()
	conn.Start()
	return nil
}

// Closed ends what the client was waiting for: nobody is left to read it.
func (c *client) Closed(_ *wire.Conn, err error) {
	c.timer.Stop()
	for _, r := range c.requests.close() {
		r.callerGone()
	}
	c.p.mu.Lock()
	delete(c.p.clients, c)
	c.p.mu.Unlock()
	c.p.log.Debug("client disconnected", "client", c.text, "remote", c.conn.RemoteAddr(), "reason", err)
}

// Packet takes requests; anything else, and everything before the handshake
// is over, is ignored as the network does.
func (c *client) Packet(_ *wire.Conn, data []byte) {
	if !c.ready.Load() {
		return
	}
	var q tl.ClientRunQueryEx
	switch tl.PeekID(data) {
	case q.TLID():
		if err := tl.Unmarshal(data, &q); err != nil {
			c.malformed(err)
			return
		}
		c.run(&q, nil, nil)
	case (*tl.ClientRunQuery)(nil).TLID():
		var old tl.ClientRunQuery
		if err := tl.Unmarshal(data, &old); err != nil {
			c.malformed(err)
			return
		}
		c.run(&tl.ClientRunQueryEx{ModelName: old.ModelName, Query: old.Query, MaxCoefficient: old.MaxCoefficient, MaxTokens: old.MaxTokens,
			Timeout: old.Timeout, RequestID: old.RequestID, MinConfigVersion: old.MinConfigVersion}, nil, nil)
	case (*tl.CocoonRunQuery)(nil).TLID():
		var more tl.CocoonRunQuery
		if err := tl.Unmarshal(data, &more); err != nil {
			c.malformed(err)
			return
		}
		if c.features.Load()&featureMarket != 0 {
			c.run(ordinary(&more), &more, nil)
		}
	case (*tl.CocoonRunNeeding)(nil).TLID():
		var more tl.CocoonRunNeeding
		if err := tl.Unmarshal(data, &more); err != nil {
			c.malformed(err)
			return
		}
		if c.features.Load()&featureFacts != 0 {
			c.runNeeding(&more)
		}
	case (*tl.CocoonCancelQuery)(nil).TLID():
		var cancel tl.CocoonCancelQuery
		if tl.Unmarshal(data, &cancel) == nil {
			if r := c.requests.find(cancel.RequestID); r != nil {
				r.cancel()
			}
		}
	}
}

// malformed tells the log once per connection: a flood must not fill it.
func (c *client) malformed(err error) {
	if !c.warned {
		c.p.log.Warn("client sends malformed requests, ignored", "client", c.text, "error", err)
	}
	c.warned = true
}

// Query takes the handshake and what a client may ask.
func (c *client) Query(_ *wire.Conn, q *wire.Query) {
	switch fn := newQuery(q.Data).(type) {
	case *tl.ClientConnectToProxy, *tl.ClientAuthorizeWithProxyShort, *tl.ClientAuthorizeWithProxyLong:
		if err := c.handshake(q); err != nil {
			q.Fail(err.code, err.Error())
			c.conn.CloseAfterFlush(fmt.Errorf("handshake refused: %w", err))
		}
	case *tl.ClientUpdatePaymentStatus, *tl.ClientGetWorkerTypes, *tl.ClientGetWorkerTypesV2, *tl.CocoonGetFeatures, *tl.CocoonGetBook, *tl.CocoonGetBookWithFacts:
		c.ask(q, fn)
	case *tl.WorkerConnectToProxy, *tl.WorkerCompareBalanceWithProxy, *tl.WorkerExtendedCompareBalanceWithProxy, *tl.WorkerProxyHandshakeComplete:
		q.Fail(wire.CodeProtocol, "worker connect() from non worker")
	case *tl.WorkerUpdatePaymentStatus:
		q.Fail(wire.CodeProtocol, "worker request from non worker")
	default:
		lostPromise(q)
	}
}

// lostPromise is the network's answer to a function that nobody knows.
func lostPromise(q *wire.Query) { q.Fail(0, "Lost promise") }

// ask answers the questions of a client that is ready.
func (c *client) ask(q *wire.Query, fn tl.Object) {
	if !c.ready.Load() {
		q.Fail(wire.CodeProtocol, "client request from non-ready connection")
		return
	}
	if err := tl.Unmarshal(q.Data, fn); err != nil {
		q.Fail(0, err.Error())
		return
	}
	switch fn := fn.(type) {
	case *tl.ClientGetWorkerTypes:
		q.Answer(c.p.workerTypes())
	case *tl.ClientGetWorkerTypesV2:
		q.Answer(c.p.workerTypesV2())
	case *tl.CocoonGetFeatures:
		if !c.extensions {
			lostPromise(q)
			return
		}
		c.features.Store(featuresOf(fn.Names))
		q.Answer(&tl.CocoonFeatures{Names: featureNames})
	case *tl.CocoonGetBook:
		if c.features.Load()&featureMarket == 0 {
			lostPromise(q)
			return
		}
		b, _ := c.p.tells(fn)
		q.Answer(b)
	case *tl.CocoonGetBookWithFacts:
		if c.features.Load()&featureFacts == 0 {
			lostPromise(q)
			return
		}
		b, facts := c.p.tells(&tl.CocoonGetBook{Model: fn.Model, Offers: fn.Offers, History: fn.History})
		q.Answer(&tl.CocoonBookWithFacts{Book: *b, Facts: facts})
	default:
		c.telling.Lock()
		defer c.telling.Unlock()
		s, err := c.p.book.ClientStatus(c.account)
		if err != nil {
			c.p.log.Error("payment status", "client", c.text, "error", err)
			q.Fail(wire.CodeFailure, "payment status is not available now")
			return
		}
		q.Answer(&tl.ClientPaymentStatus{SignedPayment: signed(s.Payment), DbTokens: s.DB, MaxTokens: s.Max})
	}
}
