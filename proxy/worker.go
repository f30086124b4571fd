package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
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
	conn, err := wire.Server(ctx, nc, w, cfg)
	if err != nil {
		return err
	}
	w.conn = conn
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
	w.p.log.Warn("worker gets no more requests", "worker", w.text, "reason", why)
	if w.requests.len() == 0 {
		w.conn.CloseAfterFlush(w.retireWhy)
		return
	}
	time.AfterFunc(w.p.cfg.DrainLimit, func() { w.conn.CloseAfterFlush(w.retireWhy) })
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
	s, err := w.p.book.WorkerStatus(w.account)
	if err != nil {
		w.p.log.Error("payment status", "worker", w.text, "error", err)
		q.Fail(wire.CodeFailure, "payment status is not available now")
		return
	}
	q.Answer(&tl.WorkerPaymentStatus{SignedPayment: signed(s.Payment), DbTokens: s.DB, MaxTokens: s.Max})
}

// handshake takes the next step, or says why not; then the connection ends.
// Steps come strictly in order: anything else does not parse as the next one.
func (w *worker) handshake(q *wire.Query) *denied {
	switch {
	case w.ready.Load():
		return deny(0, "connection is already ready")
	case w.stage == workerNew:
		return w.connect(q)
	case w.stage == workerCompare:
		return w.compare(q)
	case w.stage == workerCompareExt:
		return w.compareExt(q)
	}
	return w.finish(q)
}

func (w *worker) connect(q *wire.Query) *denied {
	t := w.p.terms.Load()
	if err := w.approvedImage(t); err != nil {
		return err
	}
	var fn tl.WorkerConnectToProxy
	if err := tl.Unmarshal(q.Data, &fn); err != nil {
		return deny(0, "%w", err)
	}
	w.params = fn.Params
	if len(w.params.MachineDescriptionJson) > maxDescription {
		w.params.MachineDescriptionJson = ""
	}
	if err := w.admit(t); err != nil {
		return err
	}
	contractAddress, err := t.WorkerAddress(w.owner, t.proxy, w.p.public())
	if err != nil {
		return deny(wire.CodeFailure, "worker contract: %w", err)
	}
	w.terms, w.stage = t, workerCompare
	q.Answer(&tl.WorkerConnectedToProxy{Params: w.p.params(t, fn.Params.Flags, w.version), WorkerScAddress: w.p.text(contractAddress)})
	return nil
}

// admit checks who comes, in the order of wire.md section 5.2.
func (w *worker) admit(t *terms) *denied {
	params := &w.params
	switch {
	case params.Flags&1 == 0:
		return deny(wire.CodeError, "too old worker")
	case params.IsTest != t.IsTest:
		return deny(wire.CodeError, "test mode mismatch")
	case params.Model == "" || len(params.Model) > maxModel:
		return deny(wire.CodeProtocol, "invalid worker hash or worker type")
	case params.Coefficient < 0 || params.Coefficient >= maxCoefficient:
		return deny(wire.CodeProtocol, "invalid coefficient value")
	case params.MaxActiveRequests < 1:
		return deny(wire.CodeProtocol, "invalid max_active_requests value")
	case params.ProxyCnt < 1:
		return deny(wire.CodeProtocol, "invalid proxy_cnt value")
	}
	if err := w.approvedModel(t); err != nil {
		return err
	}
	var ok bool
	if w.version, ok = chooseVersion(params.Flags, params.MinProtoVersion, params.MaxProtoVersion); !ok {
		return deny(wire.CodeProtocol, "cannot choose common protocol version")
	}
	var err error
	if w.owner, err = contract.ParseAddress(params.WorkerOwnerAddress); err != nil {
		return deny(0, "Failed to parse account address")
	}
	if _, ok := w.p.takesWork(); !ok {
		return deny(wire.CodeNotReady, "proxy is not participating in this iteration")
	}
	w.account, w.text = w.owner.StringRaw(), w.p.text(w.owner)
	w.extensions = params.Flags&tl.FlagExtensions != 0
	return nil
}

func (w *worker) approvedImage(t *terms) *denied {
	if hash := imageHash(w.peer); t.check && !t.AllowsWorkerImage(hash) {
		return deny(wire.CodeProtocol, "invalid worker image hash %X", hash)
	}
	return nil
}

func (w *worker) approvedModel(t *terms) *denied {
	if t.check && !t.AllowsModel(w.params.Model) {
		return deny(wire.CodeProtocol, "invalid worker model '%.200s'", w.params.Model)
	}
	return nil
}

// approved asks again, for a worker that is connected already.
func (w *worker) approved(t *terms) *denied {
	if err := w.approvedImage(t); err != nil {
		return err
	}
	return w.approvedModel(t)
}

// compare holds the worker's memory against the ledger. One that remembers
// more than was ever committed here is sent away: signing on would pay the
// difference out of nothing.
func (w *worker) compare(q *wire.Query) *denied {
	var fn tl.WorkerCompareBalanceWithProxy
	if err := tl.Unmarshal(q.Data, &fn); err != nil {
		return deny(0, "%w", err)
	}
	a, err := w.p.book.OpenWorker(w.account)
	if err != nil {
		return deny(wire.CodeNotReady, "%w", err)
	}
	claim := ledger.Claim{Chain: fn.TokensCommittedToBlockchain, DB: fn.TokensCommittedToDb, Max: fn.MaxTokens}
	if a.Overclaim(claim) {
		w.p.log.Error("worker claims more than the ledger has", "worker", w.text, "claim", claim, "ledger", a.Earned)
		return deny(wire.CodeProtocol, "worker claims %d tokens committed to chain and %d to the store, the ledger has %d and %d", claim.Chain, claim.DB, a.Earned.Chain, a.Earned.DB)
	}
	s, err := w.p.book.WorkerStatus(w.account)
	if err != nil {
		return deny(wire.CodeFailure, "%w", err)
	}
	answer := &tl.WorkerCompareBalanceWithProxyResult{SignedPayment: signed(s.Payment), TokensCommittedToDb: s.DB, MaxTokens: s.Max}
	w.stage = workerFinish
	if claim.Max > s.Max {
		answer.ErrorCode, w.stage = 1, workerCompareExt
	}
	q.Answer(answer)
	return nil
}

// compareExt takes note that the worker did work which a crash made this
// ledger forget, and goes on.
func (w *worker) compareExt(q *wire.Query) *denied {
	var fn tl.WorkerExtendedCompareBalanceWithProxy
	if err := tl.Unmarshal(q.Data, &fn); err != nil {
		return deny(0, "%w", err)
	}
	w.p.log.Warn("worker remembers work that the ledger does not", "worker", w.text)
	w.stage = workerFinish
	q.Answer(&tl.WorkerExtendedCompareBalanceWithProxyResult{})
	return nil
}

// finish makes the offer.
func (w *worker) finish(q *wire.Query) *denied {
	var fn tl.WorkerProxyHandshakeComplete
	if err := tl.Unmarshal(q.Data, &fn); err != nil {
		return deny(0, "%w", err)
	}
	t := w.p.terms.Load()
	if w.terms.ParamsVersion != t.ParamsVersion {
		return deny(wire.CodeNotReady, "%w", errTermsPassed)
	}
	if err := w.approved(t); err != nil {
		return err
	}
	limit := (int64(w.params.MaxActiveRequests) + int64(w.params.ProxyCnt) - 1) / int64(w.params.ProxyCnt)
	w.price = uint32(w.params.Coefficient)
	w.offer = w.p.market.Add(market.Terms{
		Model: contract.BaseModel(w.params.Model), Coefficient: w.price, Limit: int(limit), Version: w.version,
		Key: w.account + " " + w.params.Model, Ref: w,
	})
	w.timer.Stop()
	w.ready.Store(true)
	q.Answer(&tl.WorkerProxyHandshakeCompleted{}) // before the offer: no request may overtake it
	w.p.log.Info("worker connected", "worker", w.text, "model", w.params.Model, "coefficient", w.params.Coefficient,
		"limit", limit, "remote", w.conn.RemoteAddr(), "version", w.version)
	w.setEnabled(!fn.IsDisabled)
	if err := w.approved(w.p.terms.Load()); err != nil { // withdrawn in this very moment
		w.retire(err)
	}
	return nil
}
