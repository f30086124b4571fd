package settlement

import (
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// What messages to client contracts bring along; most of it comes back as
// change. Source: contracts.md sections 10 and 15.
const (
	clientDeploy    = coin.TON * 8 / 10
	clientMessage   = coin.TON * 7 / 10 // on top of what is paid in
	registerValue   = coin.TON
	leftOverMessage = coin.TON / 10
)

// step is what to do next at a client contract.
type step string

const (
	doNothing     step = ""
	doDeploy      step = "opening the account"
	doSecret      step = "publishing the secret's hash"
	doSecretTopUp step = "publishing the secret's hash and paying in"
	doTopUp       step = "paying in"
	doCharge      step = "submitting a charge"
	doWithdraw    step = "withdrawing what is above the stake"
	doLeave       step = "asking for a refund"
	doForce       step = "taking the refund"
	doLeftOver    step = "taking what is left over"
)

// paysIn says whether the step's amount goes into the account.
func (s step) paysIn() bool { return s == doTopUp || s == doSecretTopUp }

// What is worth a message that asks for it.
const (
	leastPart     = coin.TON / 10 // of a refund
	leastLeftOver = coin.TON / 20 // of the contract's own
)

// clientView is all that the choice depends on.
type clientView struct {
	now   time.Time
	terms *contract.Root        // of the contract's generation
	state *contract.ClientState // nil before it is deployed
	hash  [32]byte              // of our secret
	// wanted says that a trusted proxy of the present generation is there.
	wanted bool
	// outdated is since when the generation is an old one, zero if it is not.
	outdated time.Time
	// proxyState is the proxy contract's, proxyUnlock when it may be gone, in Unix seconds.
	proxyState  contract.State
	proxyUnlock uint32
	leave       bool // by hand, or because the proxy stays away
	asked       wishes
	// ours says that the contracts are of our code: a client that is closed can
	// ask again, and for a part.
	ours bool
	own  coin.Nano // what the client contract holds
	// pool is what the proxy's contract has for refunds by force, if that was read.
	pool      coin.Nano
	poolKnown bool
	used      int64 // own count
	charge    int64 // the newest charge that follows it
	budget    coin.Nano
}

// next chooses the next step: the first that is due. Source: roles.md section
// 3.6, contracts.md section 18.2.
func (v *clientView) next() (do step, amount coin.Nano, trouble string) {
	s := v.state
	switch {
	case s == nil && v.wanted && !v.leave:
		return doDeploy, 0, ""
	case s == nil:
		return doNothing, 0, ""
	case s.State == contract.Closed:
		return v.closed()
	case s.State == contract.Closing && int64(s.UnlockAt) < v.now.Unix():
		return v.force()
	case s.State == contract.Closing:
		return doNothing, 0, ""
	case v.leave || v.mustLeave():
		return doLeave, 0, ""
	case v.asked.charge && uint64(v.charge) > s.Tokens:
		return doCharge, 0, ""
	case v.asked.withdraw && s.Balance > s.Stake:
		return doWithdraw, 0, ""
	case !v.outdated.IsZero() || !v.wanted && !v.asked.topUp:
		return doNothing, 0, ""
	}
	amount, trouble = v.topUp()
	switch {
	case s.SecretHash != v.hash && amount > 0:
		return doSecretTopUp, amount, ""
	case s.SecretHash != v.hash:
		return doSecret, 0, trouble
	case amount > 0:
		return doTopUp, amount, ""
	case v.selfCharge():
		return doCharge, 0, trouble
	}
	return doNothing, 0, trouble
}

// force takes the refund; from a pool that is short, which pays nobody who asks
// for more than it has, only what there is. Where little is due it is not waited
// for: what the client contract holds of its own, which is more, comes after it.
func (v *clientView) force() (do step, most coin.Nano, trouble string) {
	due := v.state.Balance
	switch {
	case !v.ours || !v.poolKnown || v.pool >= due:
		return doForce, 0, ""
	case v.pool >= leastPart, due < leastPart && v.pool > 0:
		return doForce, v.pool, ""
	}
	return doNothing, 0, fmt.Sprintf("%s are due, and the proxy's contract has %s for them: waiting for more", due.Text(), v.pool.Text())
}

// closed asks for what a short pool could not pay, and at last for what the
// contract holds of its own.
func (v *clientView) closed() (do step, most coin.Nano, trouble string) {
	switch s := v.state; {
	case !v.ours:
		return doNothing, 0, ""
	case s.Balance >= leastPart && int64(s.UnlockAt) < v.now.Unix():
		return v.force()
	case s.Balance < leastPart && v.own >= leastLeftOver:
		return doLeftOver, 0, ""
	}
	return doNothing, 0, ""
}

// mustLeave: an old generation's refund is the proxy's to grant, at first. When
// half the time until it may be gone has passed, we ask ourselves.
func (v *clientView) mustLeave() bool {
	if v.outdated.IsZero() {
		return false
	}
	delay, wait := int64(v.terms.ClientDelay), (int64(v.terms.ProxyDelay)-int64(v.terms.ClientDelay))/2
	left := int64(v.proxyUnlock) - v.now.Unix()
	late := v.proxyState == contract.Closing && left < delay+wait
	return late || v.proxyState == contract.Closed || v.now.Unix()-v.outdated.Unix() >= max(0, wait)
}

// topUp is what to pay in so that there is head-room: one stake when less than
// half of one is left that is not used yet. A contract that closes gets none:
// the proxy's would hand it back, or keep it.
func (v *clientView) topUp() (amount coin.Nano, trouble string) {
	s, price := v.state, v.terms.PricePerToken
	if price == 0 || v.proxyState != contract.Normal {
		return 0, ""
	}
	left := s.Balance - price.Times(max(0, v.used-int64(min(s.Tokens, 1<<62)))) - s.Debt
	if left >= s.Stake/2 && !v.asked.topUp {
		return 0, ""
	}
	amount = s.Stake - s.Stake%price
	if !v.asked.topUp && amount > v.budget {
		return 0, "the budget for paying in is used up: " + v.budget.Text() + " are left of it now and " + amount.Text() + " are due; raise max_topup_hour or max_topup_day, or pay in by /request/topup"
	}
	return amount, ""
}

// selfCharge: what a proxy lends is the stake, so using half of one makes it
// worth the fee to be charged.
func (v *clientView) selfCharge() bool {
	s, price := v.state, v.terms.PricePerToken
	if price == 0 || uint64(v.charge) <= s.Tokens {
		return false
	}
	charged := int64(min(s.Tokens, 1<<62))
	return price.Times(v.used-charged) > s.Stake/2 && price.Times(v.charge-charged) >= s.Stake/4
}
