package settlement

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// Running costs of a node's wallet on top of the 2 TON that it must keep: what
// messages bring along until their change is back.
const (
	clientFloat = 3 * coin.TON
	workerFloat = coin.TON * 3 / 2
)

// Funding is what a node's wallet needs to begin.
type Funding struct {
	// Address is the wallet's, of the form that one gives to people.
	Address *address.Address
	// Want is what it should hold, For what it is for.
	Want coin.Nano
	For  string
	// Balance is what it holds.
	Balance coin.Nano
}

// fundingSlack is what may be missing: rent takes a little off what came in
// parts, and nobody shall be asked for a nanoTON.
const fundingSlack = coin.TON / 100

// Missing is what to send.
func (f *Funding) Missing() coin.Nano {
	if f.Balance >= f.Want-fundingSlack {
		return 0
	}
	return f.Want - f.Balance
}

// Link asks a wallet application to send it.
func (f *Funding) Link() string {
	link, err := wallet.Link(wallet.Transfer{To: f.Address, Amount: f.Missing()})
	if err != nil {
		return "" // an address and an amount: cannot happen
	}
	return link
}

// Text tells a person what to do, with a QR code for the wallet in the pocket.
func (f *Funding) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "This node's wallet needs %s: %s\n", f.Missing().Text(), f.For)
	fmt.Fprintf(&b, "Send %s to\n\n    %s\n\n", f.Missing().Text(), f.Address)
	fmt.Fprintf(&b, "or open %s\nor scan\n\n", f.Link())
	if code, err := wallet.QR(f.Link(), false); err == nil {
		b.WriteString(code)
	}
	b.WriteString("\nWaiting; it goes on by itself when the money has arrived.\n")
	return b.String()
}

// Funding is what the client's wallet needs: a first deposit, or with accounts
// open only what messages cost.
func (c *Client) Funding() *Funding {
	stake := c.cfg.Registry.Root().MinClientStake
	f := &Funding{
		Address: c.cfg.Wallet.Address(), Want: contract.WalletKeeps + clientFloat + stake,
		For: fmt.Sprintf("%s as the deposit with a proxy, 2 TON that stay in the wallet, 3 TON for messages, most of which comes back. What is not used can be withdrawn.", stake.Text()),
	}
	for _, a := range c.list() {
		if c.statement.cursor(a.name) != (ton.TxID{}) { // it has been on the chain
			f.Want, f.For = contract.WalletKeeps+coin.TON, "2 TON that stay in it and 1 TON for messages."
		}
	}
	return f
}

// Counts says whether any account has been counted in before: then requests can
// go on where they were without a look at the wallet.
func (c *Client) Counts() bool {
	for _, a := range c.list() {
		if c.tally.Knows(a.name) {
			return true
		}
	}
	return false
}

// Await waits until the wallet holds what it should, and calls progress at
// first and whenever its balance changes. The chain may be away meanwhile.
func (f *Funding) Await(ctx context.Context, chain ton.Chain, progress func(*Funding)) error {
	told := false
	for {
		account, err := chain.Account(ctx, f.Address)
		if err == nil {
			if f.Balance, told = account.Balance, told && account.Balance == f.Balance; f.Missing() == 0 {
				return nil
			}
			if !told {
				told = true
				progress(f)
			}
			if err := changed(ctx, chain, account.At); err != nil {
				return err
			}
			continue
		}
		if err := pause(ctx, readAgain); err != nil {
			return err
		}
	}
}

// changed waits for a block after this one, or a while.
func changed(ctx context.Context, chain ton.Chain, at ton.Block) error {
	t := time.NewTimer(15 * time.Second)
	defer t.Stop()
	select {
	case <-chain.Changed(at):
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}
