package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/devnet"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/ton"
)

// sheetPatience is how long a balance sheet of moving money is drawn anew
// before it is shown as it is: its parts are read one after the other.
const sheetPatience = 5 * time.Second

// readChain adds what a devnet's chain says: the states of the contracts, and
// the balance sheet over all of them.
func (r *statusReport) readChain(ctx context.Context, info *devnet.Info) error {
	chain, err := ton.Dial(ctx, ton.Config{Path: info.GlobalConfig, InsecureUnsigned: true})
	if err != nil {
		return fmt.Errorf("the devnet's chain: %w", err)
	}
	defer chain.Close()
	r.Chain = "local"
	for i := range r.Contracts {
		if err := r.Contracts[i].read(ctx, chain); err != nil {
			return fmt.Errorf("%s contract %s: %w", r.Contracts[i].Role, r.Contracts[i].Address, err)
		}
	}
	return r.drawSheet(ctx, chain)
}

// drawSheet asks the proxies and the chain until both tell of the same moment.
func (r *statusReport) drawSheet(ctx context.Context, chain ton.Chain) error {
	_, _, settled, err := r.pools()
	if err != nil || !settled {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, sheetPatience)
	defer cancel()
	first := true
	r.Sheet, err = settlement.Draw(patience, func() (*settlement.Sheet, error) {
		if !first {
			if err := r.askProxies(ctx); err != nil {
				return nil, err
			}
		}
		first = false
		pools, wallets, _, err := r.pools()
		if err != nil {
			return nil, err
		}
		return settlement.Audit(ctx, chain, pools, wallets)
	})
	return err
}

func (r *statusReport) askProxies(ctx context.Context) error {
	for _, n := range r.Nodes {
		if n.Role == devnet.RoleProxy {
			if err := n.ask(ctx, &api{base: n.HTTP}); err != nil {
				return err
			}
		}
	}
	return nil
}

// pools are the proxy contracts with what their proxies have counted; settled
// says whether anything is settled here at all.
func (r *statusReport) pools() (pools []settlement.Pool, wallets []*address.Address, settled bool, err error) {
	for _, n := range r.Nodes {
		if n.info.Wallet != "" {
			w, err := contract.ParseAddress(n.info.Wallet)
			if err != nil {
				return nil, nil, false, err
			}
			wallets = append(wallets, w)
		}
		if n.Role != devnet.RoleProxy || n.figures.Money == nil {
			continue
		}
		settled = true
		p := settlement.Pool{Used: map[string]int64{}, Earned: map[string]int64{}}
		if p.Proxy, err = contract.ParseAddress(n.figures.Contract.Address); err != nil {
			return nil, nil, false, err
		}
		for _, x := range []struct {
			accounts []account
			counts   map[string]int64
		}{{n.figures.Clients, p.Used}, {n.figures.Workers, p.Earned}} {
			for _, a := range x.accounts {
				at, err := contract.ParseAddress(a.Contract)
				if err != nil {
					return nil, nil, false, err
				}
				x.counts[at.StringRaw()] = a.Used + a.Earned
			}
		}
		pools = append(pools, p)
		for _, old := range n.figures.Old {
			at, err := contract.ParseAddress(old.Contract)
			if err != nil {
				return nil, nil, false, err
			}
			pools = append(pools, settlement.Pool{Proxy: at})
		}
	}
	return pools, wallets, settled, nil
}

// read adds what the contract itself says.
func (c *contractStatus) read(ctx context.Context, chain ton.Chain) error {
	at, err := contract.ParseAddress(c.Address)
	if err != nil {
		return err
	}
	a, err := chain.Account(ctx, at)
	if err != nil {
		return err
	}
	c.OnChain = a.Status.String()
	if a.Status != ton.Active {
		return nil
	}
	switch c.Role {
	case devnet.RoleProxy:
		s, err := contract.ParseProxyState(a.Data)
		if err != nil {
			return err
		}
		c.OnChain, c.Deposits, c.Income = s.State.String(), &s.Deposits, &s.Balance
	case devnet.RoleClient:
		s, err := contract.ParseClientState(a.Data)
		if err != nil {
			return err
		}
		left := s.Balance - s.Debt
		c.OnChain, c.Balance, c.Charged = s.State.String(), &left, &s.Tokens
	case devnet.RoleWorker:
		s, err := contract.ParseWorkerState(a.Data)
		if err != nil {
			return err
		}
		c.OnChain, c.Paid = s.State.String(), &s.Tokens
	}
	return nil
}

// lines are what a person wants to know of the contract.
func (c *contractStatus) lines() (lines []string) {
	switch {
	case c.Deposits != nil:
		lines = append(lines, fmt.Sprintf("%s, %s of deposits, %s of income", c.OnChain, c.Deposits.Text(), c.Income.Text()))
	case c.Balance != nil:
		lines = append(lines, fmt.Sprintf("%s, %s, %d tokens charged", c.OnChain, c.Balance.Text(), *c.Charged))
	case c.Paid != nil:
		lines = append(lines, fmt.Sprintf("%s, %d tokens paid", c.OnChain, *c.Paid))
	default:
		lines = append(lines, cmp.Or(c.OnChain, c.State))
	}
	switch {
	case c.Unsettled != "" && c.Unsettled != "0":
		lines = append(lines, c.Unsettled+" nanoTON to charge")
	case c.Unpaid != "" && c.Unpaid != "0":
		lines = append(lines, c.Unpaid+" nanoTON to get")
	}
	return lines
}

// sheetLine is a row of the balance sheet, for people.
type sheetLine struct{ what, amount string }

func sheetLines(s *settlement.Sheet) []sheetLine {
	list := []sheetLine{
		{"deposited by clients", s.Deposited.Text()},
		{"  clients can still use", s.ClientRemaining.Text()},
		{"  workers have earned", s.WorkerEarned.Text()},
		{"    of which paid on chain", s.WorkerPaid.Text()},
		{"  proxies' commission", s.Commission.Text()},
		{"used and not yet paid out, in the pool", s.ChargedUnsettled.Text()},
		{"chain fees, from the wallets' own", s.ChainFees.Text()},
	}
	if s.Moving {
		return append(list, sheetLine{"unaccounted", "money is moving: the parts are of different moments; ask again"})
	}
	return append(list, sheetLine{"unaccounted", s.Unaccounted.Text()})
}
