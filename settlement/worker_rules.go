package settlement

import (
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// ended: a closed contract takes no more claims, but for one that it is owed.
func ended(s *contract.WorkerState) bool { return s.State == contract.Closed && s.Owed == 0 }

// claimable says whether the contract takes a promise of so many tokens: one
// that is newer, or, where the proxy could not pay all of it, the same again.
func claimable(s *contract.WorkerState, tokens int64) bool {
	switch {
	case s == nil:
		return true
	case s.Owed > 0:
		return uint64(tokens) >= s.Tokens
	}
	return uint64(tokens) > s.Tokens
}

// passed says whether the account's time is over, and whether the proxy has had
// its own for the last payout: half of the clients' delay. Called with mu held.
func (a *workerAccount) passed(now time.Time) (outdated, late bool) {
	since := a.r.Outdated
	if a.closing != 0 && (since == 0 || a.closing < since) {
		since = a.closing
	}
	return since != 0, since != 0 && now.Unix()-since >= int64(a.terms.ClientDelay)/2
}

// workerView is all that the choice depends on.
type workerView struct {
	cfg   *WorkerConfig
	state *contract.WorkerState // nil before it is deployed
	worth coin.Nano             // signed and not paid
	newer bool                  // the contract takes the promise
	// outdated: of an old generation, or its proxy closes; late: for so long that the proxy should
	// have paid for the last time.
	outdated, late, asked, idle bool
}

// workerStays is what making a worker contract costs, with what stays in it
// until the proxy closes it.
const workerStays = coin.TON * 12 / 100

// next chooses the next step. Amounts are in nanoTON, whatever the unit that
// the network's own worker compares. The contract is made when there is something
// to cash: only its proxy can close it, and does so where it has paid something.
// Source: roles.md section 5.7.
func (v *workerView) next() step {
	limit := v.cfg.PayoutFrom
	switch {
	case v.outdated && v.state == nil:
		limit = v.cfg.PayoutClosing + workerStays
	case v.outdated:
		limit = v.cfg.PayoutClosing
	case v.idle:
		limit = v.cfg.PayoutIdle
	}
	due := v.newer && v.worth > 0 && (v.asked || v.worth >= limit && (!v.outdated || v.late))
	switch {
	case !due || v.state != nil && ended(v.state):
		return doNothing
	case v.state == nil:
		return doDeploy
	}
	return doPayout
}
