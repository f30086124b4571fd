package settlement

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

// Funding is what the worker's node wallet needs.
func (w *Worker) Funding() *Funding {
	return &Funding{Address: w.cfg.Wallet.Address(), Want: contract.WalletKeeps + workerFloat,
		For: "2 TON that stay in it and 1.5 TON for messages, most of which comes back. The worker's earnings go to its owner."}
}

// WorkerStatus is a worker's money.
type WorkerStatus struct {
	Wallet   *wallet.Status        `json:"wallet,omitempty"`
	Accounts []WorkerAccountStatus `json:"accounts"`
	Earnings EarningsReport        `json:"earnings"`
}

// WorkerAccountStatus is one worker contract. Tokens are adjusted.
type WorkerAccountStatus struct {
	Proxy         string         `json:"proxy_sc_address"`
	Key           string         `json:"proxy_public_key"`
	Contract      string         `json:"sc_address"`
	Deployed      bool           `json:"deployed"`
	State         contract.State `json:"state"`
	ParamsVersion uint32         `json:"params_version"`
	Worked        int64          `json:"own_count"`
	Signed        int64          `json:"earned_tokens_committed_to_blockchain"`
	Paid          int64          `json:"cached_out_tokens"`
	Fee           coin.Nano      `json:"worker_fee_per_token"`
	Outdated      int64          `json:"outdated_since,omitempty"` // Unix seconds; the parameters have changed, and a last payout is due
	Busy          string         `json:"running_request,omitempty"`
	Trouble       string         `json:"trouble,omitempty"`
}

// Status is what is known at this moment; it asks nobody.
func (w *Worker) Status() WorkerStatus {
	s := WorkerStatus{Accounts: []WorkerAccountStatus{}}
	if w.cfg.Wallet != nil {
		status := w.cfg.Wallet.Status()
		s.Wallet = &status
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(w.accounts)) {
		a := w.accounts[name]
		x := WorkerAccountStatus{
			Proxy: a.proxy.String(), Key: hex.EncodeToString(a.key), Contract: a.address.String(), ParamsVersion: a.terms.ParamsVersion,
			Worked: a.r.Worked, Signed: a.r.Signed.Tokens, Paid: a.r.Paid, Fee: a.terms.WorkerFeePerToken, Outdated: a.r.Outdated, Busy: a.busy, Trouble: a.trouble,
		}
		if a.state != nil {
			x.Deployed, x.State = true, a.state.State
		}
		s.Accounts = append(s.Accounts, x)
	}
	s.Earnings = w.report()
	return s
}

// Payout cashes the newest promise of a proxy by hand.
func (w *Worker) Payout(proxy string) (string, error) {
	at, err := contract.ParseAddress(proxy)
	if err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var found *workerAccount
	for _, a := range w.accounts {
		if a.proxy.StringRaw() == at.StringRaw() && (found == nil || a.terms.ParamsVersion > found.terms.ParamsVersion) {
			found = a
		}
	}
	switch {
	case found == nil:
		return "", ErrNoAccount
	case found.busy != "":
		return "", fmt.Errorf("request already running: %s", found.busy)
	case found.r.Signed.Tokens <= found.r.Paid:
		return "", errors.New("nothing to pay out: the proxy has signed no more than was paid")
	}
	found.asked = true
	found.kick()
	return "request sent", nil
}
