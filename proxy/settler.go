package proxy

import (
	"context"
	"net/url"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/stats"
)

// Settler moves the proxy's money on the chain.
//
//   - Health must be nil, or say why no work may be taken.
//   - Report must describe the moment without asking anybody.
//   - Charge, Payout and Withdraw must do at once what is otherwise done from a
//     threshold on, and say what they did. A [stats.RefusedError] says why there is nothing to do.
//   - All must be safe for concurrent use.
type Settler interface {
	Health() error
	Report() Settlement
	Charge(ctx context.Context, client *address.Address) (string, error)
	Payout(ctx context.Context, worker *address.Address) (string, error)
	Withdraw(ctx context.Context) (string, error)
}

// Settlement is how a settler fares; amounts are in nanoTON.
type Settlement struct {
	Wallet WalletInfo `json:"-"`
	// Account is what the current contract holds, Ready what the owner may
	// withdraw of it, Deposits what belongs to clients and workers.
	Account, Ready, Deposits coin.Nano     `json:"-"`
	Old                      []OldInstance `json:"-"`
	// Paying are the owners to whom a payout is under way, by raw address.
	Paying map[string]bool `json:"-"`
	// Synced is the time of the newest block seen.
	Synced time.Time `json:"-"`
	// Messages counts them by kind and result since the start.
	Messages []MessageCount `json:"messages"`
	Due      []DueInfo      `json:"due"`
	// NoteWaits says that a note was sent and not seen; NextNote is the
	// earliest time for another, in unix seconds.
	NoteWaits bool  `json:"note_waits"`
	NextNote  int64 `json:"next_note"`
	// Trouble is what the operator should look at now, LastError the newest
	// failure, perhaps overcome.
	Trouble     string `json:"trouble,omitempty"`
	LastError   string `json:"last_error,omitempty"`
	LastErrorAt int64  `json:"last_error_at,omitempty"`
}

// OldInstance is the contract of earlier parameters, on its way to be closed.
type OldInstance struct {
	Contract string `json:"sc_address"`
	State    string `json:"state"`
	Running  string `json:"running_message"`
	CloseAt  int64  `json:"close_at"`
	Params   uint32 `json:"params_version"`
}

// MessageCount is how many messages of a kind were "done" or "failed".
type MessageCount struct {
	Kind   string `json:"kind"`
	Result string `json:"result"`
	Count  int64  `json:"count"`
}

// DueInfo is a transaction that should happen.
type DueInfo struct {
	Kind     string `json:"kind"`
	Account  string `json:"account,omitempty"`
	Worth    int64  `json:"worth"`
	Running  bool   `json:"running"`
	Failures int    `json:"failures,omitempty"`
	Error    string `json:"error,omitempty"`
}

// settlement asks the settler, if there is one.
func (p *Proxy) settlement() Settlement {
	if p.cfg.Settler == nil {
		return Settlement{Wallet: WalletInfo{Balance: -2}}
	}
	return p.cfg.Settler.Report()
}

// moneyActions are those of roles.md section 4.2, for a proxy on a chain.
func (p *Proxy) moneyActions() []stats.Action {
	s := p.cfg.Settler
	if s == nil {
		return nil
	}
	of := func(param string, do func(context.Context, *address.Address) (string, error)) func(context.Context, url.Values) (string, error) {
		return func(ctx context.Context, args url.Values) (string, error) {
			who, err := contract.ParseAddress(args.Get(param))
			if err != nil {
				return "", &stats.RefusedError{Reason: err.Error()}
			}
			return p.logged(do(ctx, who))
		}
	}
	return []stats.Action{
		{Path: "/request/charge", Title: "charge a client now", Params: []string{"client"}, Do: of("client", s.Charge)},
		{Path: "/request/payout", Title: "pay a worker's owner now", Params: []string{"worker"}, Do: of("worker", s.Payout)},
		{Path: "/request/withdraw", Title: "send the proxy's income to its owner now", Do: func(ctx context.Context, _ url.Values) (string, error) { return p.logged(s.Withdraw(ctx)) }},
	}
}

// logged keeps the reason of a failure for the log, where the handler's answer sends people.
func (p *Proxy) logged(done string, err error) (string, error) {
	if err != nil {
		p.log.Warn("control: an action failed", "error", err)
	}
	return done, err
}

// moneyFacts are for the page of a proxy on a chain.
func moneyFacts(s Snapshot) []stats.Fact {
	if s.Money == nil {
		return nil
	}
	facts := []stats.Fact{
		{Name: "node wallet", Value: s.Wallet.Address}, {Name: "node wallet holds, nanoTON", Value: s.Wallet.Balance},
		{Name: "contract holds, nanoTON", Value: s.Contract.Balance}, {Name: "ready to withdraw, nanoTON", Value: s.Contract.ReadyForWithdraw},
		{Name: "transactions due", Value: len(s.Money.Due)}, {Name: "old contracts", Value: len(s.Old)},
	}
	if s.Money.Trouble != "" {
		facts = append(facts, stats.Fact{Name: "look at", Value: s.Money.Trouble})
	}
	return facts
}

// moneyMetrics are what Prometheus scrapes of a proxy on a chain.
func moneyMetrics(s Snapshot) []stats.Metric {
	if s.Money == nil {
		return nil
	}
	messages := stats.Metric{Name: "cocoon_proxy_chain_messages_total", Help: "Messages to contracts by kind and result.", Labels: []string{"kind", "result"}}
	for _, m := range s.Money.Messages {
		messages.Samples = append(messages.Samples, stats.Sample{Labels: []string{m.Kind, m.Result}, Value: float64(m.Count)})
	}
	failing := 0
	for _, d := range s.Money.Due {
		if d.Failures > 0 {
			failing++
		}
	}
	waits := 0.0
	if s.Money.NoteWaits {
		waits = 1
	}
	return []stats.Metric{
		messages,
		stats.GaugeMetric("cocoon_proxy_wallet_nanoton", "What the node wallet holds.", float64(s.Wallet.Balance)),
		stats.GaugeMetric("cocoon_proxy_contract_nanoton", "What the proxy's contract holds.", float64(s.Contract.Balance)),
		stats.GaugeMetric("cocoon_proxy_withdrawable_nanoton", "The part of it that the owner may withdraw.", float64(s.Contract.ReadyForWithdraw)),
		stats.GaugeMetric("cocoon_proxy_due_transactions", "Transactions that are due.", float64(len(s.Money.Due))),
		stats.GaugeMetric("cocoon_proxy_failing_transactions", "Those of them that have failed.", float64(failing)),
		stats.GaugeMetric("cocoon_proxy_note_waits", "1 while a note was sent and not seen on the chain.", waits),
		stats.GaugeMetric("cocoon_proxy_old_contracts", "Contracts of earlier parameters that are not closed yet.", float64(len(s.Old))),
		stats.GaugeMetric("cocoon_proxy_chain_seen_seconds", "Time of the newest block seen, in unix seconds.", float64(s.Status.SyncedAt)),
	}
}
