package settlement

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// intent is a message that has been decided on. It is on disk before the
// message is given to the wallet, so that a crash neither forgets nor repeats it.
type intent struct {
	Purpose string `json:"purpose"`
	Do      step   `json:"do"`
	Number  uint64 `json:"number"`
	// Amount is paid in or, of a refund, the most that is asked for; 0 is all.
	Amount  coin.Nano `json:"amount,omitempty"`
	Payment []byte    `json:"payment,omitempty"`
}

// resume drops a message of before a restart that the wallet was never given:
// what is to be done now is chosen anew. Any other is under way.
func (a *clientAccount) resume() error {
	in := a.underWay()
	if in == nil || a.c.poster.wallet.Find(a.c.poster.id(in.Purpose)) != nil {
		return nil
	}
	return a.done(in, errNotSent)
}

// underWay is the message that was decided on and whose end is not known yet.
func (a *clientAccount) underWay() *intent {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	return a.r.Intent
}

var errNotSent = errors.New("was never given to the wallet")

// step takes the next step, if there is one, and waits for what becomes of it.
// Nothing else is decided on while a message may be under way.
func (a *clientAccount) step(ctx context.Context) error {
	if in := a.underWay(); in != nil {
		return a.post(ctx, in)
	}
	v, err := a.view(ctx)
	if err != nil {
		a.c.mu.Lock()
		a.inTrouble(err.Error(), ton.Alike(err))
		a.c.mu.Unlock()
	}
	if err != nil {
		return err
	}
	do, amount, trouble := v.next()
	a.c.mu.Lock()
	if do == doNothing || trouble != "" {
		a.inTrouble(trouble, trouble)
	}
	if do == doNothing {
		a.asked = wishes{}
		a.c.mu.Unlock()
		return nil
	}
	a.r.Messages++
	in := &intent{Purpose: fmt.Sprintf("client %s %d", a.name, a.r.Messages), Do: do, Number: a.r.Messages, Amount: amount}
	if do == doCharge {
		in.Payment = a.r.Charge.Payment
	}
	a.r.Intent, a.busy = in, string(do)
	if do.paysIn() {
		a.c.topUps = append(a.c.topUps, topUp{a.c.cfg.Now().Unix(), amount})
	}
	a.c.mu.Unlock()
	if err := a.c.save(); err != nil {
		return errors.Join(err, a.done(in, err))
	}
	return a.post(ctx, in)
}

// view gathers what the choice depends on.
func (a *clientAccount) view(ctx context.Context) (*clientView, error) {
	if !a.isKnown() {
		if _, err := a.look(ctx); err != nil {
			return nil, err
		}
	}
	c, now := a.c, a.c.cfg.Now()
	root := c.cfg.Registry.Root()
	count := c.tally.Count(a.name)
	c.mu.Lock()
	if root.ParamsVersion > a.terms.ParamsVersion && a.r.Outdated == 0 {
		a.r.Outdated = now.Unix()
		c.cfg.Log.Info("settlement: the registry has new parameters; waiting for the refund of the old", "client contract", a.address.String())
	}
	if !count.Heard.IsZero() {
		a.r.Seen = max(a.r.Seen, count.Heard.Unix())
	}
	away := c.cfg.CloseAfter > 0 && now.Sub(time.Unix(a.r.Seen, 0)) > c.cfg.CloseAfter
	v := &clientView{
		now: now, terms: a.terms, state: a.state, hash: c.hash, leave: a.r.Leave || away, asked: a.asked, used: count.Used, charge: a.r.Charge.Tokens, budget: c.budget(now),
		ours: a.ours(), own: a.own, pool: a.pool.amount, poolKnown: now.Sub(a.pool.at) < poolLooks*c.cfg.Every,
	}
	if a.r.Outdated != 0 {
		v.outdated = time.Unix(a.r.Outdated, 0)
	}
	v.wanted = a.opened && a.r.Outdated == 0 && a.r.Disputed == ""
	c.mu.Unlock()
	if err := contract.Stale(c.cfg.Registry, now); err != nil {
		v.wanted = false // nothing new is begun on old news
	}
	// The proxy's contract is only looked at where it decides.
	switch do, _, _ := v.next(); {
	case do == doForce && v.ours && !v.poolKnown, do.paysIn(), !v.outdated.IsZero() && do == doNothing && v.open():
		account, err := c.cfg.Chain.Account(ctx, a.proxy)
		if err != nil {
			return nil, err
		}
		if err := v.seeProxy(account); err != nil {
			return nil, err
		}
		c.mu.Lock()
		a.pool = pool{v.pool, now}
		c.mu.Unlock()
	}
	return v, nil
}

// pool is what a proxy's contract had for refunds when it was read. One that is
// short is not read at every look.
type pool struct {
	amount coin.Nano
	at     time.Time
}

const poolLooks = 12

// ours says whether the contract is of our code.
func (a *clientAccount) ours() bool {
	return bytes.Equal(a.init.Code.Hash(), contract.OurCodes().Client.Hash())
}

func (v *clientView) open() bool { return v.state != nil && v.state.State == contract.Normal }

func (a *clientAccount) isKnown() bool {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	return a.known
}

func (v *clientView) seeProxy(account *ton.Account) error {
	v.pool, v.poolKnown = 0, true
	if account.Status != ton.Active {
		v.proxyState = contract.Closed // or not deployed: either way money sent there is lost
		if v.outdated.IsZero() {
			return errors.New("the proxy's contract is not on the chain yet: nothing is paid in")
		}
		return nil
	}
	s, err := contract.ParseProxyState(account.Data)
	if err != nil {
		return err
	}
	v.proxyState, v.proxyUnlock = s.State, s.UnlockAt
	v.pool = s.Deposits + s.Stake // which only our code counts, and so does that of its clients
	return nil
}

// budget is what may be paid in now without being asked. Called with mu held.
func (c *Client) budget(now time.Time) coin.Nano {
	stake := c.cfg.Registry.Root().MinClientStake
	hour, day := cmp.Or(c.cfg.MaxTopUpHour, stake.Times(5)), cmp.Or(c.cfg.MaxTopUpDay, stake.Times(20))
	kept := c.topUps[:0:0]
	for _, t := range c.topUps {
		age := now.Sub(time.Unix(t.At, 0))
		if age < 24*time.Hour {
			kept = append(kept, t)
			day -= t.Amount
		}
		if age < time.Hour {
			hour -= t.Amount
		}
	}
	c.topUps = kept
	return max(0, min(hour, day))
}

// post sends the message and waits. The intent ends when it is certain that
// nothing comes of it, or when the state that it led to has been read: before
// that the old state would ask for the same again. Until then, after an end of
// ctx too, it stays and is found again, by the next step or the next process.
func (a *clientAccount) post(ctx context.Context, in *intent) error {
	m, err := a.message(in)
	if err != nil {
		return errors.Join(err, a.done(in, err))
	}
	_, err = a.c.poster.Post(ctx, m)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, lookErr := a.look(ctx)
	switch {
	case err == nil && lookErr == nil:
		return a.done(in, nil)
	case err == nil:
		err = fmt.Errorf("it was carried out, and what it led to cannot be read: %w", lookErr)
	case settled(err):
		return errors.Join(err, lookErr, a.done(in, err))
	}
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.inTrouble(string(in.Do)+": "+err.Error(), string(in.Do)+": "+ton.Alike(err))
	return err
}

// inTrouble says why a step is not taken, in the log once for all that are
// alike. Called with mu held.
func (a *clientAccount) inTrouble(why, alike string) {
	if why == a.trouble {
		return
	}
	again := alike == a.told
	a.trouble, a.told = why, alike
	a.tell()
	if why != "" && !again {
		a.c.cfg.Log.Warn("settlement: an account needs something", "proxy", a.proxy.String(), "client contract", a.address.String(), "why", why)
	}
}

// done ends an intent.
func (a *clientAccount) done(in *intent, why error) error {
	c := a.c
	c.mu.Lock()
	a.r.Intent, a.busy, a.r.Block = nil, "", a.block
	switch {
	case why == nil:
		a.trouble, a.told = "", ""
		switch in.Do {
		case doCharge:
			a.asked.charge = false
		case doTopUp, doSecretTopUp:
			a.asked.topUp = false
		case doWithdraw:
			a.asked.withdraw = false
		case doForce:
			a.pool.at = time.Time{} // it has changed
		}
	default:
		a.asked = wishes{}
		if !errors.Is(why, errNotSent) {
			a.inTrouble(string(in.Do)+": "+why.Error(), string(in.Do)+": "+ton.Alike(why))
		}
		for i := len(c.topUps) - 1; i >= 0 && in.Do.paysIn(); i-- {
			if c.topUps[i].Amount == in.Amount {
				c.topUps = append(c.topUps[:i:i], c.topUps[i+1:]...)
				break
			}
		}
	}
	a.tell()
	c.mu.Unlock()
	return c.save()
}

// message is what an intent sends, the same every time.
func (a *clientAccount) message(in *intent) (Message, error) {
	excess, id := a.c.cfg.Wallet.Address(), in.Number
	m := Message{Purpose: in.Purpose, To: a.address, Value: clientMessage}
	switch in.Do {
	case doDeploy:
		m.Value, m.Init = clientDeploy, a.init
	case doSecret:
		m.Body = &contract.ChangeSecret{QueryID: id, Hash: a.c.hash, Excess: excess}
	case doSecretTopUp:
		m.Value += in.Amount
		m.Body = &contract.SecretTopUp{QueryID: id, Amount: in.Amount, Hash: a.c.hash, Excess: excess}
	case doTopUp:
		m.Value += in.Amount
		m.Body = &contract.TopUp{QueryID: id, Amount: in.Amount, Excess: excess}
	case doCharge:
		e, err := contract.VerifyPayment(in.Payment, contract.Charge, a.address, a.key)
		if err != nil {
			return m, err
		}
		m.Body = e.Repack(excess)
	case doWithdraw:
		m.Body = &contract.Withdraw{QueryID: id, Excess: excess}
	case doLeave, doForce:
		r := &contract.RequestRefund{QueryID: id, Excess: excess}
		if in.Amount > 0 {
			r.Most = &in.Amount
		}
		m.Body = r
	case doLeftOver:
		m.Value, m.Body = leftOverMessage, &contract.OwnerFinish{QueryID: id}
	default:
		return m, fmt.Errorf("an unknown step %q: written by a newer version?", in.Do)
	}
	return m, nil
}
