package devnet

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// payer is a v5r1 wallet that one goroutine sends from.
type payer struct {
	chain ton.Chain
	*wallet.Wallet
}

func newPayer(chain ton.Chain, key ed25519.PrivateKey) (*payer, error) {
	w, err := wallet.FromPrivateKeyWithOptions(key, wallet.ConfigV5R1Final{NetworkGlobalID: localnet.TestnetID})
	return &payer{chain, w}, err
}

// transfer is one message of a payer.
type transfer struct {
	to     *address.Address
	amount coin.Nano
	init   *tlb.StateInit
	body   *cell.Cell
}

// pay sends transfers in one order and returns when the wallet has sent them.
func (p *payer) pay(ctx context.Context, transfers ...transfer) error {
	seqno, err := p.seqno(ctx)
	if err != nil {
		return err
	}
	spec := p.GetSpec().(*wallet.SpecV5R1Final)
	spec.SetSeqnoFetcher(func(context.Context, uint32) (uint32, error) { return seqno, nil })
	if err := p.allow(ctx, spec); err != nil {
		return err
	}
	var messages []*wallet.Message
	for _, t := range transfers {
		messages = append(messages, &wallet.Message{Mode: wallet.PayGasSeparately + wallet.IgnoreErrors, InternalMessage: &tlb.InternalMessage{
			IHRDisabled: true, Bounce: t.init == nil && t.body != nil, DstAddr: t.to, Amount: tlb.FromNanoTON(t.amount.Big()), StateInit: t.init, Body: body(t.body),
		}})
	}
	external, err := p.PrepareExternalMessageForMany(ctx, seqno == 0, messages)
	if err != nil {
		return err
	}
	order, err := tlb.ToCell(external)
	if err != nil {
		return err
	}
	if err := p.chain.Send(ctx, order); err != nil {
		return err
	}
	return p.until(ctx, p.WalletAddress(), func(a *ton.Account) (bool, error) {
		now, err := seqnoOf(a)
		return now > seqno, err
	})
}

func body(c *cell.Cell) *cell.Cell {
	if c == nil {
		return cell.BeginCell().EndCell()
	}
	return c
}

// allow makes orders valid by the chain's clock, which may be ahead of ours.
func (p *payer) allow(ctx context.Context, spec *wallet.SpecV5R1Final) error {
	head, err := p.chain.Head(ctx)
	if err == nil {
		spec.SetMessagesTTL(uint32(max(0, time.Until(head.Time))/time.Second) + 600)
	}
	return err
}

func (p *payer) seqno(ctx context.Context) (uint32, error) {
	a, err := p.chain.Account(ctx, p.WalletAddress())
	if err != nil {
		return 0, err
	}
	return seqnoOf(a)
}

// seqnoOf reads the counter in a v5r1 wallet's data: one bit, then 32.
func seqnoOf(a *ton.Account) (uint32, error) {
	if a.Status != ton.Active {
		return 0, nil
	}
	data, err := a.Data.BeginParse()
	if err != nil {
		return 0, err
	}
	if _, err := data.LoadBoolBit(); err != nil {
		return 0, err
	}
	seqno, err := data.LoadUInt(32)
	return uint32(seqno), err
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
