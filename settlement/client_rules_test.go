package settlement

import (
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// What is due first, and what must never be done.
func TestClientRules(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	terms := &contract.Root{PricePerToken: 20, ProxyDelay: 3600, ClientDelay: 600}
	tokens := func(amount coin.Nano) int64 { return amount.PerFloor(20) }
	view := func(bend func(v *clientView)) *clientView {
		v := &clientView{now: now, terms: terms, state: &contract.ClientState{Balance: stake, Stake: stake}, wanted: true, budget: 10 * stake}
		bend(v)
		return v
	}
	short := func(v *clientView, state contract.State, balance, pool coin.Nano) {
		v.ours, v.state.State, v.state.Balance, v.pool, v.poolKnown = true, state, balance, pool, true
	}
	for _, x := range []struct {
		what   string
		bend   func(v *clientView)
		want   step
		amount coin.Nano
	}{
		{"all is well", func(*clientView) {}, doNothing, 0},
		{"nobody there yet", func(v *clientView) { v.state = nil }, doDeploy, 0},
		{"nobody wanted", func(v *clientView) { v.state, v.wanted = nil, false }, doNothing, 0},
		{"left before it began", func(v *clientView) { v.state, v.leave = nil, true }, doNothing, 0},
		{"another secret", func(v *clientView) { v.hash[0] = 1 }, doSecret, 0},
		{"new", func(v *clientView) { v.hash[0], v.state.Balance = 1, 0 }, doSecretTopUp, stake},
		{"new, free of charge", func(v *clientView) { v.hash[0], v.state.Balance, v.terms = 1, 0, &contract.Root{} }, doSecret, 0},
		{"just enough", func(v *clientView) { v.used = tokens(stake / 2) }, doNothing, 0},
		{"just too little", func(v *clientView) { v.used = tokens(stake/2) + 1 }, doTopUp, stake},
		{"a debt counts", func(v *clientView) { v.state.Debt = stake/2 + 1 }, doTopUp, stake},
		{"the proxy closes: it would hand it back", func(v *clientView) { v.used, v.proxyState = tokens(stake), contract.Closing }, doNothing, 0},
		{"the proxy is closed", func(v *clientView) { v.used, v.proxyState = tokens(stake), contract.Closed }, doNothing, 0},
		{"no budget", func(v *clientView) { v.used, v.budget = tokens(stake), stake-1 }, doNothing, 0},
		{"no budget, by hand", func(v *clientView) { v.budget, v.asked.topUp = 0, true }, doTopUp, stake},
		{"not trusted", func(v *clientView) { v.used, v.wanted = tokens(stake), false }, doNothing, 0},
		{"a price that does not divide the stake", func(v *clientView) {
			v.terms, v.state.Balance = &contract.Root{PricePerToken: 3_000_000_001}, 0
			v.state.Stake = 10 * coin.TON
		}, doTopUp, 9_000_000_003},
		{"more than half a stake used, charge at hand", func(v *clientView) {
			v.state.Balance, v.used, v.charge = 2*stake, tokens(stake/2)+1, tokens(stake/2)
		}, doCharge, 0},
		{"the charge is not worth its fee", func(v *clientView) {
			v.state.Balance, v.used, v.charge = 2*stake, tokens(stake/2)+1, tokens(stake/4)-1
		}, doNothing, 0},
		{"by hand it is", func(v *clientView) { v.charge, v.asked.charge = 1, true }, doCharge, 0},
		{"a charge again", func(v *clientView) { v.charge, v.state.Tokens, v.asked.charge = 5, 5, true }, doNothing, 0},
		{"withdraw", func(v *clientView) { v.state.Balance, v.asked.withdraw = stake+1, true }, doWithdraw, 0},
		{"withdraw nothing", func(v *clientView) { v.asked.withdraw = true }, doNothing, 0},
		{"leave", func(v *clientView) { v.leave, v.used = true, tokens(stake) }, doLeave, 0},
		{"old, the proxy's turn", func(v *clientView) { v.outdated, v.used = now.Add(-1499*time.Second), tokens(stake) }, doNothing, 0},
		{"old for too long", func(v *clientView) { v.outdated = now.Add(-1500 * time.Second) }, doLeave, 0},
		{"old, the proxy closes late enough", func(v *clientView) {
			v.outdated, v.proxyState, v.proxyUnlock = now, contract.Closing, uint32(now.Unix()+2100)
		}, doNothing, 0},
		{"old, the proxy may be gone soon", func(v *clientView) {
			v.outdated, v.proxyState, v.proxyUnlock = now, contract.Closing, uint32(now.Unix()+2099)
		}, doLeave, 0},
		{"closing, too early", func(v *clientView) {
			v.state.State, v.state.UnlockAt, v.leave = contract.Closing, uint32(now.Unix()), true
		}, doNothing, 0},
		{"closing, time is up", func(v *clientView) { v.state.State, v.state.UnlockAt = contract.Closing, uint32(now.Unix()-1) }, doForce, 0},
		{"a pool that has enough", func(v *clientView) { short(v, contract.Closing, stake, stake) }, doForce, 0},
		{"a pool that is short", func(v *clientView) { short(v, contract.Closing, stake, stake-1) }, doForce, stake - 1},
		{"a pool that has nothing worth a fee", func(v *clientView) { short(v, contract.Closing, stake, leastPart-1) }, doNothing, 0},
		{"a pool that is short of dust, which is all that is due", func(v *clientView) { short(v, contract.Closing, leastPart-1, 1) }, doForce, 1},
		{"the network's own contracts pay what they can, once", func(v *clientView) {
			short(v, contract.Closing, stake, leastPart-1)
			v.ours = false
		}, doForce, 0},
		{"closed, the refund came back", func(v *clientView) { short(v, contract.Closed, stake, coin.TON) }, doForce, coin.TON},
		{"closed, not worth a fee", func(v *clientView) { short(v, contract.Closed, leastPart-1, coin.TON) }, doNothing, 0},
		{"closed, and locked", func(v *clientView) {
			short(v, contract.Closed, stake, stake)
			v.state.UnlockAt = uint32(now.Unix())
		}, doNothing, 0},
		{"closed, its own is left", func(v *clientView) { short(v, contract.Closed, 0, 0); v.own = leastLeftOver }, doLeftOver, 0},
		{"closed, nothing is left", func(v *clientView) { short(v, contract.Closed, 0, 0); v.own = leastLeftOver - 1 }, doNothing, 0},
		{"the network's own, closed", func(v *clientView) { short(v, contract.Closed, stake, stake); v.own, v.ours = stake, false }, doNothing, 0},
		{"closed", func(v *clientView) { v.state.State, v.leave = contract.Closed, true }, doNothing, 0},
	} {
		do, amount, _ := view(x.bend).next()
		if do != x.want || amount != x.amount {
			t.Errorf("%s: %q of %s, want %q of %s", x.what, do, amount.Text(), x.want, x.amount.Text())
		}
	}
}
