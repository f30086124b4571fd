package wallet

import (
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Status is how a node's wallet fares. Amounts are in nanoTON.
type Status struct {
	Address string `json:"address"`
	Owner   string `json:"owner"`
	// Known says that the chain has been read since the program started; what
	// is of the chain means nothing before.
	Known    bool      `json:"known"`
	Block    uint32    `json:"block"`
	AsOf     time.Time `json:"as_of"`
	Deployed bool      `json:"deployed"`
	Blocked  bool      `json:"blocked"`
	Balance  coin.Nano `json:"balance"`
	// Spendable is the balance without what the wallet must keep.
	Spendable coin.Nano `json:"spendable"`
	Seqno     uint32    `json:"seqno"`
	Queued    int       `json:"queued"`
	// Waiting is what the queue will spend, fees included.
	Waiting coin.Nano `json:"waiting"`
	// Order is the one under way, nil if there is none.
	Order *OrderStatus `json:"order,omitempty"`
	// Stuck is why nothing moves, "" if all is well.
	Stuck string `json:"stuck,omitempty"`
	// LastError is the newest error, perhaps overcome.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Needs is how much must be sent to Address for all that waits, or, with
	// nothing waiting, for the wallet to be able to send at all.
	Needs coin.Nano `json:"needs"`
	// Strangers are orders under this wallet's key that this journal did not
	// sign, the newest last.
	Strangers []Stranger `json:"strangers,omitempty"`
}

// OrderStatus is an order under way.
type OrderStatus struct {
	Hash     Hash          `json:"hash"`
	Seqno    uint32        `json:"seqno"`
	Messages int           `json:"messages"`
	Age      time.Duration `json:"age"`
	Until    time.Time     `json:"until"`
	// Signed is how many orders were signed for this seqno, Sent how often the
	// newest was sent since the program started.
	Signed int `json:"signed"`
	Sent   int `json:"sent"`
}

// Status is what is known at this moment; it asks nobody.
func (d *Driver) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{
		Address: d.address.String(), Owner: d.cfg.Owner.String(), Seqno: d.state.seqno, Queued: len(d.state.queue), Waiting: d.state.waiting(),
		Stuck: d.stuck, LastError: d.last.text, LastErrorAt: d.last.at, Strangers: append([]Stranger(nil), d.foreign...),
	}
	if a := d.account; a != nil {
		s.Known, s.Block, s.AsOf, s.Deployed, s.Blocked, s.Balance = true, a.At.Seqno, a.At.Time, a.Status == ton.Active, d.blocked, a.Balance
		s.Spendable = max(0, a.Balance-contract.WalletKeeps-d.cfg.Reserve)
		s.Needs = d.needs(a.Balance, s.Waiting)
	}
	if n := len(d.state.drafts); n > 0 {
		o := d.state.drafts[n-1]
		s.Order = &OrderStatus{
			Hash: o.hash, Seqno: o.Seqno, Messages: len(o.IDs), Age: o.age(d.cfg.Now()), Until: time.Unix(int64(o.Until), 0), Signed: n,
		}
		if d.sent.hash == o.hash {
			s.Order.Sent = d.sent.times
		}
	}
	return s
}
