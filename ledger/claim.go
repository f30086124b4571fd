package ledger

import (
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/coin"
)

// InflatedError refuses a proxy's claim that is above what was used.
type InflatedError struct {
	Account string
	// Claimed is the proxy's total, Counted our own, and Unsure what may have
	// been used beyond it; adjusted tokens.
	Claimed, Counted, Unsure int64
}

func (e *InflatedError) Error() string {
	return fmt.Sprintf("proxy claims %d tokens of client contract %s, own count is %d and at most %d more are in doubt: it is refused, and kept as evidence",
		e.Claimed, e.Account, e.Counted, e.Unsure)
}

// Accept checks a total that a proxy has signed, or charged on the chain.
func (t *Tally) Accept(account string, total int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[account]
	switch {
	case a == nil && total > 0:
		return &InflatedError{Account: account, Claimed: total}
	case a == nil || total <= a.ceiling():
		return nil
	}
	return &InflatedError{account, total, a.used, add(a.doubt, a.running)}
}

// Said takes a total that a proxy states of itself, without signing it. It
// ends no doubt: requests may have ended while it was on its way.
func (t *Tally) Said(account string, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said(account, total)
}

func (t *Tally) said(account string, total int64) *tallied {
	a := t.accounts[account]
	if a != nil {
		a.said, a.heard = total, t.cfg.Now()
	}
	return a
}

// Asked is the moment at which a proxy is asked for its total.
type Asked struct {
	at      time.Time
	changes uint64
	used    int64 // counted by then
}

// Ask is to be called before the proxy is asked.
func (t *Tally) Ask(account string) Asked {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := Asked{at: t.cfg.Now()}
	if a := t.accounts[account]; a != nil {
		asked.changes, asked.used = a.changes, a.used
	}
	return asked
}

// Answered takes the total that a proxy gives when it is asked. It ends a doubt
// that it lies within, if it holds all that was counted here: no request
// has begun or ended since it was asked for. Otherwise it bounds the doubt about
// requests that had ended by then: whatever they cost is in the total, and so is
// all that was counted when it was asked for.
func (t *Tally) Answered(account string, total int64, asked Asked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.said(account, total)
	if a == nil || a.doubt == 0 {
		return
	}
	ripe := a.ripe(asked.at)
	switch most := max(0, total-asked.used); {
	case most >= ripe && total > add(a.used, a.doubt):
	case a.requests > 0 || a.changes != asked.changes || asked.at.Before(a.until):
		a.doubt -= max(0, ripe-most)
	default:
		a.used, a.doubt, a.fresh = max(a.used, total), 0, nil
	}
}

// Counted is an account as counted here, in adjusted tokens.
type Counted struct {
	Used    int64 `json:"used"`
	Doubt   int64 `json:"in_doubt"`
	Running int64 `json:"running"`
	// Said is the newest total that the proxy has stated.
	Said int64 `json:"said"`
	// Heard is when it did, since the program started.
	Heard time.Time `json:"-"`
}

// Count is what was counted of an account.
func (t *Tally) Count(account string) Counted {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.accounts[account]; a != nil {
		return Counted{a.used, a.doubt, a.running, a.said, a.heard}
	}
	return Counted{}
}

// Hour is what was spent in the last 60 minutes, by whom, with what running requests may cost.
func (t *Tally) Hour() (all coin.Nano, byKey map[string]coin.Nano) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
	byKey = map[string]coin.Nano{}
	for _, by := range t.spent {
		for key, amount := range by {
			all, byKey[key] = all.Add(amount), byKey[key].Add(amount)
		}
	}
	for key, amount := range t.reserved {
		all, byKey[key] = all.Add(amount), byKey[key].Add(amount)
	}
	return all, byKey
}

// Limits are the operator's.
func (t *Tally) Limits() Limits { return t.cfg.Limits }

// Forget drops an account whose contract is closed for good.
func (t *Tally) Forget(account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.accounts, account)
}
