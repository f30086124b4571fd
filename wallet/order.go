package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// orderMode: fees are paid on top of the value, so that exactly the value
// arrives; a message that cannot be paid is left out and the others go.
const orderMode = 1 + 2

// maxOrderBytes keeps an order well below the 64 KiB that the network takes.
const maxOrderBytes = 48 << 10

// next is the order to have under way: the one that is, unless the chain's
// clock shows that it has expired, or a new one for what waits. A new one for
// the same seqno may carry other messages: one of them at most is carried out.
func (d *Driver) next(a *ton.Account, w *contract.WalletState) (*draft, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.state.queue) == 0 {
		return nil, nil
	}
	if w.Blocked() {
		return nil, fmt.Errorf("%s: %s", contract.WalletExit(1031), d.address)
	}
	if n := len(d.state.drafts); n > 0 && a.At.Time.Unix() < int64(d.state.drafts[n-1].Until) {
		return d.state.drafts[n-1], nil
	}
	ids, err := d.choose(a)
	if err != nil {
		return nil, err
	}
	g := &signing{Seqno: d.state.seqno, Until: uint32(a.At.Time.Add(d.cfg.TTL).Unix()), At: d.cfg.Now().Unix(), IDs: ids}
	if err := d.commit(&record{Sign: g}); err != nil {
		return nil, err
	}
	return d.state.drafts[len(d.state.drafts)-1], nil
}

// choose takes messages from the queue's head as far as the balance goes. Who
// waits for one that is too dear for now is only what follows to the same
// address: messages to one address leave in the order they came.
func (d *Driver) choose(a *ton.Account) (ids []uint64, err error) {
	left := a.Balance - contract.WalletKeeps - d.cfg.Reserve
	sum, size := coin.Nano(0), 0
	held := map[string]bool{}
	for _, e := range d.state.queue {
		to := e.message.DstAddr.StringRaw()
		switch {
		case held[to]:
			continue
		case e.value+e.fee > left, sum+e.value > d.cfg.MaxOrder, size+len(e.boc) > maxOrderBytes:
			held[to] = true
			continue
		}
		ids = append(ids, e.id)
		left, sum, size = left-e.value-e.fee, sum+e.value, size+len(e.boc)
		if len(ids) == contract.MaxOrderMessages {
			break
		}
	}
	if len(ids) == 0 {
		return nil, d.poor(a.Balance, d.state.queue[0].value+d.state.queue[0].fee)
	}
	return ids, nil
}

// poor says how much to send where, so that an amount can be spent.
func (d *Driver) poor(balance, amount coin.Nano) error {
	return fmt.Errorf("%w: %s, want %s for what waits, the 2 TON that it must keep and a reserve of %s: send %s to %s", ErrPoor,
		balance.Text(), amount.Text(), d.cfg.Reserve.Text(), d.needs(balance, amount).Text(), d.address)
}

func (d *Driver) needs(balance, amount coin.Nano) coin.Nano {
	missing := amount.Add(contract.WalletKeeps).Add(d.cfg.Reserve) - balance
	if missing <= 0 {
		return 0
	}
	return missing.Add(coin.TON / 100) // receiving it is not free either
}

// send sends the order if it is due. It may be lost, or come twice; that it was
// refused says no more: only the wallet's transactions tell.
func (d *Driver) send(ctx context.Context, a *ton.Account, o *draft) error {
	d.mu.Lock()
	now := d.cfg.Now()
	if d.sent.hash == o.hash && now.Sub(d.sent.at) < d.cfg.Resend && now.Sub(d.sent.at) >= 0 {
		d.mu.Unlock()
		return nil
	}
	if d.sent.hash != o.hash {
		d.sent = sent{hash: o.hash}
	}
	d.sent.times, d.sent.at = d.sent.times+1, now
	d.mu.Unlock()
	body, err := o.order.Sign(d.cfg.Key.Private())
	if err != nil {
		return err
	}
	m := &tlb.ExternalMessage{DstAddr: d.address, Body: body}
	if a.Status != ton.Active {
		m.StateInit = d.init
	}
	external, err := tlb.ToCell(m)
	if err != nil {
		return err
	}
	err = d.cfg.Chain.Send(ctx, external)
	var refused *ton.RefusedError
	if errors.As(err, &refused) && refused.Ran && contract.WalletExit(refused.ExitCode) != "" {
		return fmt.Errorf("%w (%s)", err, contract.WalletExit(refused.ExitCode))
	}
	return err
}

// age is how long ago the order was signed.
func (o *draft) age(now time.Time) time.Duration { return max(0, now.Sub(time.Unix(o.At, 0))) }
