package proxy

import (
	"unicode/utf8"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

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
	case params.Model == "" || len(params.Model) > maxModel || !utf8.ValidString(params.Model) || !openai.IsHeaderValue(params.Model):
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
	if why, ok := w.p.takesWork(); !ok {
		return notParticipating(why)
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
	if !w.hasEarned() && !w.p.owners.admit(w.terms.ParamsVersion, w.conn.RemoteAddr(), w.account) {
		return deny(wire.CodeNotReady, "workers of %d owners came from this address already", maxOwners)
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

// hasEarned says whether its owner has an account with something in it, which
// costs no more for being connected, and gets promises only then.
func (w *worker) hasEarned() bool {
	s, err := w.p.book.WorkerStatus(w.account)
	return err == nil && s.DB > 0
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

// revision is what the worker serves, for those who ask for just that. A
// deployed worker's answers do not say it, so that the caller would have to
// refuse, and pay for, what he gets.
func (w *worker) revision() string {
	if !w.extensions {
		return ""
	}
	return w.params.Model
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
		Model: contract.BaseModel(w.params.Model), FullModel: w.revision(), Coefficient: w.price, Limit: int(limit), Version: w.version,
		Key: w.account, Ref: w,
	})
	w.p.names.add(w.account)
	w.timer.Stop()
	w.ready.Store(true)
	q.Answer(&tl.WorkerProxyHandshakeCompleted{}) // before the offer: no request may overtake it
	w.p.log.Info("worker connected", "worker", w.text, "model", w.params.Model, "coefficient", w.params.Coefficient,
		"limit", limit, "remote", w.conn.RemoteAddr(), "version", w.version)
	w.setEnabled(!fn.IsDisabled)
	w.conn.Ping()
	if err := w.approved(w.p.terms.Load()); err != nil { // withdrawn in this very moment
		w.retire(err)
	}
	return nil
}
