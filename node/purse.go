package node

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/stats"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// Purse is how a client pays, and what it may spend. Amounts are texts in TON,
// such as 0.5; empty means the default.
type Purse struct {
	// Data is the directory of what must survive: the node wallet's key and the
	// shared secret, both made at the first start and in plain files or, with
	// seal, sealed, what was counted and promised, the wallet's queue and the statement. Without it nothing is
	// paid, and only proxies that ask for nothing can be used.
	Data string `json:"data,omitempty"`
	// MaxRequest, MaxHour and MaxKeyHour bound what one request, all requests
	// of an hour, and those of one API key may cost; by default nothing does.
	MaxRequest string `json:"max_request_cost,omitempty"`
	MaxHour    string `json:"max_hour_cost,omitempty"`
	MaxKeyHour string `json:"max_key_hour_cost,omitempty"`
	// MaxTopUpHour and MaxTopUpDay bound what is paid in by itself; by default
	// five and twenty of the network's stakes.
	MaxTopUpHour string `json:"max_topup_hour,omitempty"`
	MaxTopUpDay  string `json:"max_topup_day,omitempty"`
	// CloseAfter is how long a proxy may stay away before its account is
	// closed; 0 means a week.
	CloseAfter Duration `json:"close_after,omitempty"`
}

func (s *Purse) check(p *Problems, c *Client) {
	if s.Data != "" && c.TONConfig == "" {
		p.Add("data: there is nothing to pay without ton_config")
	}
	if s.Data != "" && c.WalletAddress != "" {
		p.Add("node_wallet_address: a client with data is known by the node wallet in it: leave the address out")
	}
	if s.Data == "" && (s.MaxTopUpHour != "" || s.MaxTopUpDay != "" || s.CloseAfter != 0) {
		p.Add("max_topup_hour, max_topup_day and close_after: nothing is paid without data")
	}
	if s.Data != "" && c.Secret != "" {
		if err := settlement.CheckSecret(c.Secret); err != nil {
			p.Add("%v", err)
		}
	}
	for _, err := range []error{second(s.limits()), second(s.budget())} {
		if err != nil {
			p.Add("%v", err)
		}
	}
	if s.CloseAfter < 0 {
		p.Add("close_after: cannot be negative")
	}
}

func second[T any](_ T, err error) error { return err }

// amount is a setting in TON.
type amount struct {
	key, text string
	v         *coin.Nano
}

func parseAmounts(list ...amount) error {
	var p Problems
	for _, x := range list {
		if x.text == "" {
			continue
		}
		v, err := coin.Parse(x.text)
		if err != nil || v <= 0 {
			p.Add("%s %q: want an amount of TON above 0, such as 0.5", x.key, x.text)
			continue
		}
		*x.v = v
	}
	return p.Err()
}

func (s *Purse) limits() (l ledger.Limits, err error) {
	err = parseAmounts(amount{"max_request_cost", s.MaxRequest, &l.Request}, amount{"max_hour_cost", s.MaxHour, &l.Hour}, amount{"max_key_hour_cost", s.MaxKeyHour, &l.KeyHour})
	return l, err
}

func (s *Purse) budget() (b [2]coin.Nano, err error) {
	err = parseAmounts(amount{"max_topup_hour", s.MaxTopUpHour, &b[0]}, amount{"max_topup_day", s.MaxTopUpDay, &b[1]})
	return b, err
}

// openNodeWallet opens the wallet in a role's data directory, or makes it.
func (k *keyring) openNodeWallet(env Env, b *base) (*wallet.Driver, error) {
	owner, err := contract.ParseAddress(k.OwnerAddress)
	if err != nil {
		return nil, err
	}
	key, err := k.key(WalletKey)
	if err != nil {
		return nil, err
	}
	return settlement.OpenWallet(k.data, key, owner, b.chain, env.Log)
}

// openPurse opens everything in the data directory, and at first use waits for
// the deposit; nil if ctx has ended before it came.
func (s *Client) openPurse(ctx context.Context, env Env, b *base, ring *keyring) (*settlement.Purse, error) {
	owner, err := contract.ParseAddress(s.OwnerAddress)
	if err != nil {
		return nil, err
	}
	limits, err := s.limits()
	if err != nil {
		return nil, err
	}
	budget, err := s.budget()
	if err != nil {
		return nil, err
	}
	key, err := ring.key(WalletKey)
	if err != nil {
		return nil, fmt.Errorf("data %s: %w", s.Data, err)
	}
	secret := s.Secret
	if secret == "" {
		if secret, err = ring.secret(); err != nil {
			return nil, fmt.Errorf("data %s: %w", s.Data, err)
		}
	}
	u, err := settlement.OpenPurse(settlement.PurseConfig{Owner: owner, Key: key, ClientConfig: settlement.ClientConfig{
		Chain: b.chain, Registry: b.registry, Dir: s.Data, Secret: secret, Limits: limits,
		MaxTopUpHour: budget[0], MaxTopUpDay: budget[1], CloseAfter: time.Duration(s.CloseAfter), Now: env.Now, Log: env.Log,
	}})
	if err != nil {
		return nil, err
	}
	if out := ton.OutageOf(b.chain); out.Away() && u.Counts() {
		env.log().Warn("the chain is away: going on with the accounts that are there, within what is paid in", "since", out.Since.UTC(), "error", out.Why)
		return u, nil
	}
	if err := awaitFunding(ctx, env, b, u.Funding()); err != nil {
		err = errors.Join(err, u.Close())
		if ctx.Err() != nil {
			return nil, nil
		}
		return nil, fmt.Errorf("data %s: %w", s.Data, err)
	}
	return u, nil
}

// awaitFunding guides a person whose node wallet holds too little to begin.
func awaitFunding(ctx context.Context, env Env, b *base, f *settlement.Funding) error {
	if out := ton.OutageOf(b.chain); out.Away() {
		env.guide("The chain is away since " + out.Since.UTC().Format(time.DateTime) + " UTC: what the node wallet holds is seen when it is back.")
	}
	told := false
	err := f.Await(ctx, b.chain, func(f *settlement.Funding) {
		if !told {
			env.guide(f.Text())
		} else {
			env.guide(fmt.Sprintf("%s have arrived, %s are missing", f.Balance.Text(), f.Missing().Text()))
		}
		told = true
	})
	if err == nil && told {
		env.guide(fmt.Sprintf("%s are there: going on", f.Balance.Text()))
	}
	return err
}

// payFrom makes a client role pay.
func payFrom(u *settlement.Purse, cfg *client.Config) {
	cfg.Wallet, cfg.Secret, cfg.Registrar, cfg.Tally = u.Address().String(), u.Secret, u.Client, u.Tally()
	cfg.Settlement = func() any { return u.Status() }
	for _, x := range []struct{ path, title string }{
		{"charge", "submit the newest charge"}, {"topup", "pay one stake in"}, {"withdraw", "take out what is above the stake"}, {"close", "leave the proxy and take the money home"},
	} {
		cfg.Actions = append(cfg.Actions, stats.Action{Path: "/request/" + x.path, Title: x.title, Params: []string{"proxy"}, Do: func(_ context.Context, args url.Values) (string, error) {
			return refusable(u.Do(x.path, args.Get("proxy")))
		}})
	}
}
