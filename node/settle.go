package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/proxy"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/stats"
	"github.com/opencocoon/cocoon/wallet"
)

// Settlement is how a proxy settles on the chain.
type Settlement struct {
	// Data, required with a chain, is the directory of what must survive: the proxy's key and the node
	// wallet's, both made at the first start and in plain files or, with seal,
	// sealed, the ledger, and the wallet's queue. Keep copies of the keys; restore the ledger's newest or none.
	Data string `json:"data,omitempty"`
	// ChargeFrom, PayoutFrom and WithdrawFrom are the amounts in TON from which
	// on a client is charged, a worker paid, and the owner sent the proxy's
	// income; empty means 1, 10 and 10.
	ChargeFrom   string `json:"charge_from,omitempty"`
	PayoutFrom   string `json:"payout_from,omitempty"`
	WithdrawFrom string `json:"withdraw_from,omitempty"`
	// LastPayoutFrom is the amount from which on a worker that was never paid
	// is paid when parameters change, which costs about 0.03; empty means 0.05.
	LastPayoutFrom string `json:"last_payout_from,omitempty"`
	// NoteEvery is the least time between two notes that commit the ledger to
	// the chain, about 0.003 TON each; 0 means 45 s.
	NoteEvery Duration `json:"note_every,omitempty"`
	Ledger
}

func (s *Settlement) check(p *Problems, chain bool) {
	switch {
	case s.Data != "" && !chain:
		p.Add("data: there is nothing to settle without ton_config")
	case s.Data == "" && chain:
		p.Add("data: missing: with ton_config a proxy settles on the chain: name the directory for its keys, ledger and wallet queue")
	}
	if s.Data == "" && !chain && (s.ChargeFrom != "" || s.PayoutFrom != "" || s.WithdrawFrom != "" || s.LastPayoutFrom != "" || s.NoteEvery != 0) {
		p.Add("charge_from, payout_from, withdraw_from, last_payout_from and note_every: nothing is settled without data")
	}
	if _, err := s.rules(); err != nil {
		p.Add("%v", err)
	}
	if s.NoteEvery < 0 {
		p.Add("note_every: cannot be negative")
	}
	if s.Data != "" || !chain {
		s.Ledger.Check(p, s.Data)
	}
}

func (s *Settlement) rules() (ledger.Rules, error) {
	rules := ledger.DefaultRules
	var p Problems
	for _, x := range []struct {
		key, text string
		v         *coin.Nano
	}{{"charge_from", s.ChargeFrom, &rules.Charge}, {"payout_from", s.PayoutFrom, &rules.Payout}, {"withdraw_from", s.WithdrawFrom, &rules.Withdraw}, {"last_payout_from", s.LastPayoutFrom, &rules.LastPayout}} {
		if x.text == "" {
			continue
		}
		v, err := coin.Parse(x.text)
		if err != nil || v < 0 {
			p.Add("%s %q: want an amount of TON, such as 0.5", x.key, x.text)
		}
		*x.v = v
	}
	return rules, p.Err()
}

// house is what a proxy that settles is made of.
type house struct {
	key     ed25519.PrivateKey
	ledger  *ledger.Ledger
	wallet  *wallet.Driver
	settler *settlement.Proxy
}

// close releases the files, when nothing runs any more.
func (h *house) close() error {
	var errs []error
	if h.wallet != nil {
		errs = append(errs, h.wallet.Close())
	}
	if h.ledger != nil {
		errs = append(errs, h.ledger.Close())
	}
	return errors.Join(errs...)
}

// openHouse opens everything in the data directory, or makes it.
func (s *Proxy) openHouse(env Env, b *base, ring *keyring) (h *house, err error) {
	h = &house{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("data %s: %w", s.Data, err), h.close())
		}
	}()
	key, err := ring.key(ProxyKey)
	if err != nil {
		return h, err
	}
	h.key = key.Private()
	walletKey, err := ring.key(WalletKey)
	if err != nil {
		return h, err
	}
	store, err := s.Ledger.open(s.Data, key.Public())
	if err != nil {
		return h, err
	}
	if h.ledger, err = ledger.New(ledger.Config{Store: store, Key: h.key, Now: env.Now}); err != nil {
		return h, errors.Join(err, store.Close())
	}
	return h, s.openSettler(env, b, h, walletKey)
}

func (s *Proxy) openSettler(env Env, b *base, h *house, key wallet.Key) error {
	owner, err := contract.ParseAddress(s.OwnerAddress)
	if err != nil {
		return err
	}
	root, err := contract.ParseAddress(s.RootAddress)
	if err != nil {
		return err
	}
	rules, err := s.rules()
	if err != nil {
		return err
	}
	h.wallet, err = wallet.Open(wallet.Config{Dir: filepath.Join(s.Data, "wallet"), Key: key, Owner: owner, Chain: b.chain, Idle: walletIdle, Now: env.Now, Log: env.Log})
	if err != nil {
		return err
	}
	h.settler, err = settlement.NewProxy(settlement.ProxyConfig{
		Chain: b.chain, Wallet: h.wallet, Registry: b.registry, Ledger: h.ledger, Key: h.key, Owner: owner, Root: root,
		Rules: rules, NoteEvery: time.Duration(s.NoteEvery), Now: env.Now, Log: env.Log,
	})
	if err != nil {
		return err
	}
	env.log().Info("settlement: the proxy pays from its node wallet; send it some 10 TON", "address", h.wallet.Address().String())
	return nil
}

// walletIdle is how often the node wallet is looked at when nothing waits: a
// person who has just paid it watches.
const walletIdle = 5 * time.Second

// settler is the settlement as the proxy role asks for it.
type settler struct{ *settlement.Proxy }

func (s settler) Charge(ctx context.Context, client *address.Address) (string, error) {
	return refusable(s.Proxy.Charge(ctx, client))
}

func (s settler) Payout(ctx context.Context, worker *address.Address) (string, error) {
	return refusable(s.Proxy.Payout(ctx, worker))
}

func (s settler) Withdraw(ctx context.Context) (string, error) {
	return refusable(s.Proxy.Withdraw(ctx))
}

// refusable lets an operator read why nothing was done: there is no secret in
// the words of contracts and wallets.
func refusable(done string, err error) (string, error) {
	if err != nil {
		return "", &stats.RefusedError{Reason: err.Error()}
	}
	return done, nil
}

// Report implements proxy.Settler.
func (s settler) Report() proxy.Settlement {
	status := s.Status()
	r := proxy.Settlement{
		Wallet: walletInfo(status.Wallet), Paying: map[string]bool{}, Synced: status.Head, NoteWaits: status.NoteWaits,
		Messages: []proxy.MessageCount{}, Due: []proxy.DueInfo{}, Trouble: trouble(status), LastError: status.LastError,
	}
	if !status.NextNote.IsZero() {
		r.NextNote = status.NextNote.Unix()
	}
	if !status.LastErrorAt.IsZero() {
		r.LastErrorAt = status.LastErrorAt.Unix()
	}
	for i, c := range status.Contracts {
		if i == len(status.Contracts)-1 {
			r.Account, r.Ready, r.Deposits = c.Account, c.Ready, c.Deposits
		} else {
			r.Old = append(r.Old, oldInstance(c))
		}
	}
	for count, n := range status.Counts {
		r.Messages = append(r.Messages, proxy.MessageCount{Kind: count.Kind, Result: count.Result, Count: n})
	}
	for _, o := range status.Due {
		d := proxy.DueInfo{Kind: o.Kind.String(), Account: o.Account, Worth: int64(o.Worth), Running: o.Running, Failures: o.Failures}
		if o.Err != nil {
			d.Error = o.Err.Error()
		}
		r.Due = append(r.Due, d)
	}
	for _, owner := range status.Paying {
		r.Paying[owner] = true
	}
	return r
}

func walletInfo(w wallet.Status) proxy.WalletInfo {
	i := proxy.WalletInfo{Address: w.Address, Balance: -2, Seqno: w.Seqno, Pending: w.Queued, Needs: int64(w.Needs), Trouble: w.Stuck}
	if w.Known {
		i.Balance = int64(w.Balance)
	}
	if w.Order != nil {
		i.Active = w.Order.Messages
	}
	return i
}

func oldInstance(c settlement.ProxyContract) proxy.OldInstance {
	o := proxy.OldInstance{Contract: c.Address.String(), State: c.State.String(), Running: c.Running, Params: c.Params}
	if !c.Deployed {
		o.State = "not deployed"
	}
	if !c.CloseAt.IsZero() {
		o.CloseAt = c.CloseAt.Unix()
	}
	return o
}

// trouble is what an operator should look at first.
func trouble(s settlement.ProxyStatus) string {
	switch {
	case s.Trouble != "":
		return "the chain cannot be read: " + s.Trouble
	case s.Wallet.Known && s.Wallet.Needs > 0:
		return fmt.Sprintf("the node wallet holds too little: send %s to %s", s.Wallet.Needs.Text(), s.Wallet.Address)
	}
	return s.Wallet.Stuck
}
