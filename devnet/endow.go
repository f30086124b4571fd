package devnet

import (
	"context"
	"fmt"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/node"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// What the faucet gives to the wallets that nodes spend from by themselves: a
// client pays its deposits from it, the others no more than fees.
const (
	clientFund = 1000 * coin.TON
	nodeFund   = 100 * coin.TON
)

// dataDirectory is where a role keeps what must survive.
func (p *plan) dataDirectory(name string) string { return p.path(dataDir, name) }

// endow fills up the wallets of all nodes from the faucet.
func (p *plan) endow(ctx context.Context, chain ton.Chain) error {
	var transfers []wallet.Transfer
	for _, s := range p.nodes {
		amount := nodeFund
		switch s.info.Role {
		case RoleClient:
			amount = clientFund
		case RoleEngine:
			continue
		}
		t, err := p.nodeTransfer(ctx, chain, s, amount)
		if err != nil {
			return fmt.Errorf("devnet: wallet of %s: %w", s.info.Name, err)
		}
		if t != nil {
			transfers = append(transfers, *t)
		}
	}
	if len(transfers) == 0 {
		return nil
	}
	faucet, err := p.faucet(chain)
	if err == nil {
		err = faucet.pay(ctx, transfers...)
	}
	if err != nil {
		return fmt.Errorf("devnet: faucet: %w", err)
	}
	last := transfers[len(transfers)-1]
	return faucet.until(ctx, last.To, func(a *ton.Account) (bool, error) { return a.Balance >= last.Amount/2, nil })
}

// nodeTransfer is what a node's wallet lacks, nil if it has more than half.
func (p *plan) nodeTransfer(ctx context.Context, chain ton.Chain, s *spec, amount coin.Nano) (*wallet.Transfer, error) {
	key, err := node.PublicKey(ctx, s.settings, node.WalletKey)
	if err != nil {
		return nil, err
	}
	owner, err := contract.ParseAddress(s.info.Owner)
	if err != nil {
		return nil, err
	}
	to, err := contract.OurCodes().WalletAddress(owner, key)
	if err != nil {
		return nil, err
	}
	s.info.Wallet = to.Testnet(true).String()
	a, err := chain.Account(ctx, to)
	if err != nil || a.Balance >= amount/2 {
		return nil, err
	}
	return &wallet.Transfer{To: to, Amount: amount}, nil
}
