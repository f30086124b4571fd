package devnet

import (
	"context"
	"fmt"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// payer is a wallet that one goroutine sends from.
type payer struct {
	chain ton.Chain
	*wallet.Wallet
}

// pay sends transfers in one order and returns when the wallet has sent them.
func (p *payer) pay(ctx context.Context, transfers ...wallet.Transfer) error {
	a, err := p.Account(ctx, p.chain)
	if err != nil {
		return err
	}
	message, err := p.Build(a, transfers...)
	if err != nil {
		return err
	}
	_, err = ton.SendAndConfirm(ctx, p.chain, p.Address(), message, a.At.Time.Add(wallet.TTL))
	return err
}

// until returns when the account is as wanted.
func (p *payer) until(ctx context.Context, addr *address.Address, reached func(*ton.Account) (bool, error)) error {
	for {
		a, err := p.chain.Account(ctx, addr)
		if err != nil {
			return err
		}
		if ok, err := reached(a); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not change on the chain: %w", addr, context.Cause(ctx))
		case <-p.chain.Changed(a.At):
		}
	}
}
