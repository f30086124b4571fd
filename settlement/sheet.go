package settlement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Sheet says where everybody's money is, over any number of proxy contracts.
// Its left side is what the chain saw arrive, its right side what the contracts
// and the ledgers say there is, so a nano that one of them lost or made shows.
type Sheet struct {
	// Deposited is what clients paid in, less what was returned to them.
	Deposited coin.Nano `json:"deposited"`
	// ClientRemaining is what clients can still use or take back.
	ClientRemaining coin.Nano `json:"client_remaining"`
	// ChargedUnsettled is what clients have used and workers were not paid for
	// yet: it is in the pool.
	ChargedUnsettled coin.Nano `json:"charged_unsettled"`
	// WorkerEarned is all that workers earned, WorkerPaid what of it the chain has paid them.
	WorkerEarned coin.Nano `json:"worker_earned"`
	WorkerPaid   coin.Nano `json:"worker_paid"`
	// Commission is the proxies' part of what was used.
	Commission coin.Nano `json:"commission"`
	// ChainFees is what the transactions of all these contracts and of the
	// wallets named have cost; it comes out of the contracts' and wallets' own
	// TON, never out of deposits.
	ChainFees coin.Nano `json:"chain_fees"`
	// Unaccounted is what is left over. It is zero, unless Moving.
	Unaccounted coin.Nano `json:"unaccounted"`
	// Moving says that money moved while the parts were read, so that they are of
	// different moments and need not add up.
	Moving bool `json:"moving,omitempty"`
}

// Draw draws the balance sheet anew until it adds up, or until it stands still
// and does not. While money moves all the time, patience ends it.
func Draw(ctx context.Context, draw func() (*Sheet, error)) (*Sheet, error) {
	var last *Sheet
	for {
		s, err := draw()
		switch {
		case err != nil:
			return nil, err
		case s.Unaccounted == 0, last != nil && *last == *s:
			return s, nil
		}
		last = s
		select {
		case <-ctx.Done():
			s.Moving = true
			return s, nil
		case <-time.After(drawAgain):
		}
	}
}

// drawAgain is the pause between two drawings: what is under way arrives.
const drawAgain = 200 * time.Millisecond

// Pool is a proxy contract to look into, with its ledger's counters in adjusted
// tokens by the raw address of the client's or worker's contract. A contract that is
// not named has used or earned what it was charged or paid for. Without counters,
// of a generation that has ended, workers have earned what clients were charged for.
type Pool struct {
	Proxy        *address.Address
	Used, Earned map[string]int64
}

// maxHistory bounds the transactions read of one account.
const maxHistory = 100_000

// Audit draws the balance sheet of proxy contracts; wallets are further
// accounts whose fees count. While money moves, the parts are of different
// moments and may not add up: ask again.
func Audit(ctx context.Context, chain ton.Chain, pools []Pool, wallets []*address.Address) (*Sheet, error) {
	s := &Sheet{}
	for _, p := range pools {
		if err := s.add(ctx, chain, p); err != nil {
			return nil, fmt.Errorf("proxy contract %s: %w", p.Proxy, err)
		}
	}
	for _, w := range wallets {
		if _, _, err := s.history(ctx, chain, w); err != nil {
			return nil, fmt.Errorf("wallet %s: %w", w, err)
		}
	}
	return s, nil
}

// flows is what the history of one proxy contract says.
type flows struct {
	in, out, paid, cut coin.Nano // deposits, refunds, workers' fees, the proxy's part of those payouts
	clients, workers   map[string]*address.Address
}

func (s *Sheet) add(ctx context.Context, chain ton.Chain, p Pool) error {
	account, txs, err := s.history(ctx, chain, p.Proxy)
	if err != nil || account.Status != ton.Active {
		return err
	}
	state, err := contract.ParseProxyState(account.Data)
	if err != nil {
		return err
	}
	params, err := contract.ParseParams(state.Params)
	if err != nil {
		return err
	}
	h := flows{clients: map[string]*address.Address{}, workers: map[string]*address.Address{}}
	for _, tx := range txs {
		h.read(tx)
	}
	remaining, used, err := s.clients(ctx, chain, h.clients, params, p.Used)
	if err != nil {
		return err
	}
	earned, err := s.workers(ctx, chain, h.workers, p.Earned)
	if err != nil {
		return err
	}
	if p.Earned == nil {
		earned = used // by somebody, who was not paid for all of it perhaps
	}
	price, fee := params.PricePerToken, params.WorkerFeePerToken
	deposited := h.in - h.out
	s.Deposited += deposited
	s.ClientRemaining += remaining
	s.WorkerEarned += fee.Times(earned)
	s.WorkerPaid += h.paid
	s.Commission += (price - fee).Times(used)
	s.ChargedUnsettled += price.Times(used) - h.paid - h.cut
	// What came in is what is left and what was used; and what was used was
	// earned by somebody; and what the contract calls deposits is what came in and
	// was not paid out.
	for _, odd := range []coin.Nano{
		deposited - remaining - price.Times(used),
		fee.Times(used) - fee.Times(earned),
		deposited - h.paid - h.cut - state.Deposits,
	} {
		if odd != 0 {
			s.Unaccounted += max(odd, -odd) // what one pool lacks another's surplus must not hide
			break
		}
	}
	return nil
}

// read notes what a transaction of the proxy contract moved. The contract has
// checked that the sender is who it says it is.
func (h *flows) read(tx *ton.Transaction) {
	if tx.In == nil || tx.In.From == nil || !tx.Ran || tx.Aborted || tx.ExitCode != 0 || tx.ActionCode != 0 {
		return
	}
	body, err := contract.ParseBody(tx.In.Body)
	if err != nil {
		return
	}
	switch m := body.(type) {
	case *contract.ClientRequest:
		if m.Part == nil {
			return
		}
		h.clients[tx.In.From.StringRaw()] = tx.In.From
		switch m.Part.Kind {
		case contract.PartTopUp:
			h.in += m.Part.Amount
		case contract.PartRefundGranted, contract.PartRefundForced:
			h.out += m.Part.Amount
		}
	case *contract.WorkerRequest:
		if m.Part == nil {
			return
		}
		h.workers[tx.In.From.StringRaw()] = tx.In.From
		h.paid += m.Part.Worker
		h.cut += m.Part.Proxy
	}
}

// clients adds up what clients have and have used. Who never paid in cannot
// have used anything.
func (s *Sheet) clients(ctx context.Context, chain ton.Chain, seen map[string]*address.Address, params *contract.Root, used map[string]int64) (remaining coin.Nano, total int64, err error) {
	for raw, a := range seen {
		account, _, err := s.history(ctx, chain, a)
		if err != nil {
			return 0, 0, err
		}
		c, err := contract.ParseClientState(account.Data)
		if err != nil {
			return 0, 0, err
		}
		tokens, known := used[raw]
		if !known {
			tokens = int64(c.Tokens)
		}
		remaining += c.Balance - c.Debt - params.PricePerToken.Times(tokens) + params.PricePerToken.Times(int64(c.Tokens))
		total += tokens
	}
	return remaining, total, nil
}

func (s *Sheet) workers(ctx context.Context, chain ton.Chain, seen map[string]*address.Address, earned map[string]int64) (total int64, err error) {
	for raw, a := range seen {
		account, _, err := s.history(ctx, chain, a)
		if err != nil {
			return 0, err
		}
		w, err := contract.ParseWorkerState(account.Data)
		if err != nil {
			return 0, err
		}
		if _, known := earned[raw]; !known {
			total += int64(w.Tokens)
		}
	}
	for _, tokens := range earned {
		total += tokens
	}
	return total, nil
}

// history reads an account and all its transactions, and counts their fees.
func (s *Sheet) history(ctx context.Context, chain ton.Chain, a *address.Address) (*ton.Account, []*ton.Transaction, error) {
	account, err := chain.Account(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	txs, err := chain.Transactions(ctx, a, account.Last, ton.TxID{}, maxHistory)
	if errors.Is(err, ton.ErrGap) {
		return nil, nil, fmt.Errorf("account %s has more than %d transactions", a, maxHistory)
	}
	for _, tx := range txs {
		s.ChainFees += tx.Fees
	}
	return account, slices.Clip(txs), err
}
