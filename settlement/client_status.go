package settlement

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// ClientStatus is a client's money on the chain. Amounts are in nanoTON, tokens adjusted.
type ClientStatus struct {
	Wallet   wallet.Status   `json:"wallet"`
	Accounts []AccountStatus `json:"accounts"`
	// Budget is what may be paid in now without being asked.
	Budget coin.Nano `json:"topup_budget"`
}

// AccountStatus is one client contract. Names are the network's where it has
// them (roles.md section 3.7).
type AccountStatus struct {
	Proxy    string `json:"proxy_sc_address"`
	Key      string `json:"proxy_public_key"`
	Contract string `json:"sc_address"`
	// Known says that the chain has been read; what is of the chain means nothing before.
	Known         bool           `json:"sc_inited"`
	Deployed      bool           `json:"deployed"`
	State         contract.State `json:"state"` // 0 running, 1 closing, 2 closed
	ParamsVersion uint32         `json:"params_version"`
	Balance       coin.Nano      `json:"balance"`
	Stake         coin.Nano      `json:"stake"`
	Debt          coin.Nano      `json:"debt"`
	Charged       uint64         `json:"tokens_charged"`
	Paid          uint64         `json:"tokens_payed"`
	UnlockAt      uint32         `json:"unlock_ts,omitempty"`
	// Signed is the newest charge that follows our own count.
	Signed   int64          `json:"tokens_signed"`
	Own      ledger.Counted `json:"own_count"`
	Busy     string         `json:"running_request,omitempty"`
	Trouble  string         `json:"trouble,omitempty"`
	Disputed string         `json:"disputed,omitempty"`
}

// Status is what is known at this moment; it asks nobody.
func (c *Client) Status() ClientStatus {
	s := ClientStatus{Wallet: c.cfg.Wallet.Status(), Accounts: []AccountStatus{}}
	for _, a := range c.list() {
		s.Accounts = append(s.Accounts, a.status())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Budget = c.budget(c.cfg.Now())
	return s
}

func (a *clientAccount) status() AccountStatus {
	own := a.c.tally.Count(a.name)
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	s := AccountStatus{
		Proxy: a.proxy.String(), Key: hex.EncodeToString(a.key), Contract: a.address.String(), Known: a.known, ParamsVersion: a.terms.ParamsVersion,
		Signed: a.r.Charge.Tokens, Own: own, Busy: a.busy, Trouble: cmp.Or(a.trouble, a.c.poor()), Disputed: a.r.Disputed,
	}
	if c := a.state; c != nil {
		s.Deployed, s.State, s.Balance, s.Stake, s.Debt, s.Charged, s.UnlockAt = true, c.State, c.Balance, c.Stake, c.Debt, c.Tokens, c.UnlockAt
		s.Paid = c.Tokens + uint64(max(0, c.Balance.PerFloor(cmp.Or(a.terms.PricePerToken, coin.Max))))
	}
	return s
}

// ErrNoAccount: no account is with that proxy contract.
var ErrNoAccount = errors.New("proxy not found: want the address of a proxy contract, as the status lists it")

// Do takes a step by hand at the account with a proxy contract, the newest that
// is open: "charge", "topup", "withdraw" or "close". It says what will happen; the step itself
// takes its time.
func (c *Client) Do(what, proxy string) (string, error) {
	at, err := contract.ParseAddress(proxy)
	if err != nil {
		return "", err
	}
	var found []*clientAccount
	for _, a := range c.list() {
		if a.proxy.StringRaw() == at.StringRaw() {
			found = append(found, a)
		}
	}
	if len(found) == 0 {
		return "", ErrNoAccount
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].terms.ParamsVersion > found[j].terms.ParamsVersion })
	a := found[0]
	text, err := a.ask(what)
	if err != nil {
		return "", err
	}
	a.kick()
	if what == "close" {
		return text, c.save()
	}
	return text, nil
}

func (a *clientAccount) ask(what string) (string, error) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	switch s := a.state; {
	case a.busy != "" && what != "close":
		return "", fmt.Errorf("request already running: %s", a.busy)
	case s == nil:
		return "", errors.New("proxy not inited: the client contract is not on the chain, or was not read yet")
	case s.State == contract.Closed:
		return "", errors.New("proxy is closed")
	case what == "close":
		a.r.Leave = true
		return "closing: the rest comes back when the proxy grants it, or after the network's delay", nil
	case s.State != contract.Normal:
		return "", errors.New("the client contract is closing")
	case what == "charge" && uint64(a.r.Charge.Tokens) <= s.Tokens:
		return "", errors.New("nothing to charge")
	case what == "charge":
		a.asked.charge = true
	case what == "topup" && (a.r.Outdated != 0 || a.r.Disputed != ""):
		return "", errors.New("nothing more is paid in here: the account is of an old generation, or the proxy is not trusted")
	case what == "topup":
		a.asked.topUp = true
	case what == "withdraw" && s.Balance <= s.Stake:
		return "", errors.New("nothing is above the stake; /request/close takes all")
	case what == "withdraw":
		a.asked.withdraw = true
	default:
		return "", fmt.Errorf("unknown request %q, want charge, topup, withdraw or close", what)
	}
	return "request sent", nil
}

// watchWallet writes what the node's wallet receives and spends.
func (c *Client) watchWallet(ctx context.Context) {
	at := c.cfg.Wallet.Address()
	name := at.StringRaw()
	w := ton.Watcher{Chain: c.cfg.Chain}
	for ctx.Err() == nil {
		err := w.Watch(ctx, at, c.statement.cursor(name), func(u ton.Update) error {
			if err := c.statement.wallet(name, u.Transactions); err != nil {
				c.cfg.Log.Error("settlement: the statement cannot be written", "error", err)
			}
			for _, a := range c.list() {
				a.kick() // there may be money now for what waits
			}
			return nil
		})
		if ctx.Err() == nil {
			c.cfg.Log.Warn("settlement: transactions of the wallet are missing in the statement", "error", err)
			_ = c.statement.skip(ctx, c.cfg.Chain, at) // again after the pause
			_ = pause(ctx, c.cfg.Every)
		}
	}
}
