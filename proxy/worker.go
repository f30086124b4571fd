package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// maxCoefficient is the highest price the network lets a worker ask, in thousandths, plus one.
const maxCoefficient = 1_000_000_000

// What a worker may say about itself is kept while it is connected, so it is bounded.
const (
	maxModel       = 1 << 10
	maxDescription = 16 << 10
	// workerQueued bounds what waits to be written to one worker: some of the
	// largest questions at a time.
	workerQueued = 128 << 20
)

// worker is one connection of a worker. It implements wire.Handler.
type worker struct {
	p        *Proxy
	conn     *wire.Conn
	peer     *ratls.Peer
	requests table
	timer    *time.Timer
	stats    workerCounters

	// Set in the handshake, on the goroutine that reads; fixed once ready.
	stage      workerStage
	terms      *terms
	params     tl.WorkerParams
	version    int32
	extensions bool
	owner      *address.Address
	account    string // of the ledger
	text       string // of the owner
	offer      *market.Offer

	ready    atomic.Bool
	features atomic.Uint32

	// telling is held from reading the account until that is queued to be sent: deployed workers
	// leave when what they are told goes back. The ledger's and the connection's locks are taken under it.
	telling sync.Mutex

	mu        sync.Mutex // guards the two below
	price     uint32
	retireWhy error // set once it takes no more requests
}

type workerStage int

const (
	workerNew workerStage = iota
	workerCompare
	workerCompareExt
	workerFinish
)

func (p *Proxy) greetWorker(ctx context.Context, nc net.Conn) error {
	w := &worker{p: p, peer: peerOf(nc)}
	w.stats.init(p.now)
	cfg := p.cfg.Wire
	cfg.Peer = w.peer
	if cfg.MaxQueued == 0 {
		cfg.MaxQueued = workerQueued
	}
	cfg.OnRTT = w.measured
	conn, err := wire.Server(ctx, nc, w, cfg)
	if err != nil {
		return err
	}
	w.conn = conn
	if w.peer != nil {
		w.peer.OnRefused(w.distrust)
	}
	w.timer = handshakeTimer(conn, workerHandshakeLimit)
	p.mu.Lock()
	p.workers[w] = struct{}{}
	p.mu.Unlock()
	conn.Start()
	return nil
}

// Closed moves the worker's requests elsewhere, or ends them.
func (w *worker) Closed(_ *wire.Conn, err error) {
	w.timer.Stop()
	if w.offer != nil {
		w.p.market.Remove(w.offer)
		w.p.shown.changed.Add(1)
		w.p.names.remove(w.account)
	}
	for _, r := range w.requests.close() {
		r.workerGone(w)
	}
	w.p.mu.Lock()
	delete(w.p.workers, w)
	w.p.mu.Unlock()
	if w.ready.Load() {
		w.p.log.Info("worker disconnected", "worker", w.text, "remote", w.conn.RemoteAddr(), "reason", err)
	}
}

// Packet takes answers, changes of price and of mind. What is unknown or late is ignored.
func (w *worker) Packet(_ *wire.Conn, data []byte) {
	if !w.ready.Load() {
		return
	}
	switch id := tl.PeekID(data); id {
	case (*tl.WorkerEnabledDisabled)(nil).TLID():
		var m tl.WorkerEnabledDisabled
		if err := tl.Unmarshal(data, &m); err != nil {
			w.malformed(err)
			return
		}
		w.setEnabled(m.Disabled == 0)
	case (*tl.WorkerNewCoefficient)(nil).TLID():
		var m tl.WorkerNewCoefficient
		if err := tl.Unmarshal(data, &m); err != nil {
			w.malformed(err)
			return
		}
		w.setPrice(m.NewCoefficient)
	case (*tl.CocoonQueryProgress)(nil).TLID():
		var m tl.CocoonQueryProgress
		if err := tl.Unmarshal(data, &m); err != nil {
			w.malformed(err)
			return
		}
		if r := w.requests.find(m.RequestID); r != nil {
			r.progressed(w, &m)
		}
	case (*tl.CocoonFacts)(nil).TLID():
		var m tl.CocoonFacts
		if err := tl.Unmarshal(data, &m); err != nil {
			w.malformed(err)
			return
		}
		if w.features.Load()&featureFacts != 0 {
			w.says(&m)
		}
	default:
		w.answer(id, data)
	}
}

func (w *worker) malformed(err error) {
	w.p.log.Warn("worker sent a malformed message, ignored", "worker", w.text, "error", err)
}

func (w *worker) setEnabled(enabled bool) {
	w.mu.Lock()
	enabled = enabled && w.retireWhy == nil
	w.p.market.SetEnabled(w.offer, enabled)
	w.mu.Unlock()
	w.p.shown.changed.Add(1)
	w.p.serve(w.p.market.Match(w.offer.Model))
}

// setPrice changes the price for requests to come. One outside the limits of
// the handshake ends the connection, as the network does with a negative one.
func (w *worker) setPrice(coefficient int32) {
	if coefficient < 0 || coefficient >= maxCoefficient {
		w.conn.Close(fmt.Errorf("bad coefficient value %d, want 0 to %d", coefficient, maxCoefficient-1))
		return
	}
	w.mu.Lock()
	w.price = uint32(coefficient)
	w.mu.Unlock()
	w.p.market.SetCoefficient(w.offer, uint32(coefficient))
	w.p.shown.changed.Add(1)
	w.p.serve(w.p.market.Match(w.offer.Model))
}

// retire gives the worker no more requests, and closes the connection when its
// last one has ended or the drain limit is over.
func (w *worker) retire(why error) {
	w.mu.Lock()
	if w.retireWhy != nil {
		w.mu.Unlock()
		return
	}
	w.retireWhy = fmt.Errorf("worker retired: %w", why)
	w.p.market.SetEnabled(w.offer, false)
	w.mu.Unlock()
	w.p.shown.changed.Add(1)
	w.p.log.Warn("worker gets no more requests", "worker", w.text, "reason", why)
	if w.requests.len() == 0 {
		w.conn.CloseAfterFlush(w.retireWhy)
		return
	}
	time.AfterFunc(w.p.cfg.DrainLimit, func() { w.conn.CloseAfterFlush(w.retireWhy) })
}

// distrust lets a worker go that, judged anew, is refused.
func (w *worker) distrust(why error) {
	if !w.ready.Load() {
		w.conn.Close(why)
		return
	}
	w.retire(why)
}

// release forgets a request, and closes a retired connection after its last.
func (w *worker) release(id tl.Int256) {
	left := w.requests.remove(id)
	w.mu.Lock()
	defer w.mu.Unlock()
	if left == 0 && w.retireWhy != nil {
		w.conn.CloseAfterFlush(w.retireWhy)
	}
}

// Query takes the handshake and the one question of a worker.
func (w *worker) Query(_ *wire.Conn, q *wire.Query) {
	switch fn := newQuery(q.Data).(type) {
	case *tl.WorkerConnectToProxy, *tl.WorkerCompareBalanceWithProxy, *tl.WorkerExtendedCompareBalanceWithProxy, *tl.WorkerProxyHandshakeComplete:
		if err := w.handshake(q); err != nil {
			q.Fail(err.code, err.Error())
			w.conn.CloseAfterFlush(fmt.Errorf("handshake refused: %w", err))
		}
	case *tl.WorkerUpdatePaymentStatus:
		w.status(q)
	case *tl.CocoonWhyIdle:
		w.why(q)
	case *tl.CocoonGetFeatures:
		if !w.ready.Load() || !w.extensions || tl.Unmarshal(q.Data, fn) != nil {
			lostPromise(q)
			return
		}
		w.features.Store(featuresOf(fn.Names))
		q.Answer(&tl.CocoonFeatures{Names: featureNames})
	case *tl.ClientConnectToProxy, *tl.ClientAuthorizeWithProxyShort, *tl.ClientAuthorizeWithProxyLong:
		q.Fail(wire.CodeProtocol, "client connect() from non client")
	case *tl.ClientUpdatePaymentStatus:
		q.Fail(wire.CodeProtocol, "client request from non client")
	case *tl.ClientGetWorkerTypes, *tl.ClientGetWorkerTypesV2:
		q.Fail(wire.CodeProtocol, "expected client connection")
	default:
		lostPromise(q)
	}
}

func (w *worker) status(q *wire.Query) {
	if !w.ready.Load() {
		q.Fail(wire.CodeProtocol, "worker request from non-ready connection")
		return
	}
	w.telling.Lock()
	defer w.telling.Unlock()
	s, err := w.owed()
	if err != nil {
		w.p.log.Error("payment status", "worker", w.text, "error", err)
		q.Fail(wire.CodeFailure, "payment status is not available now")
		return
	}
	q.Answer(&tl.WorkerPaymentStatus{SignedPayment: signed(s.Payment), DbTokens: s.DB, MaxTokens: s.Max})
}
