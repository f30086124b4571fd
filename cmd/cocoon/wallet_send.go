package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/node"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

func walletSendVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "send TO [AMOUNT]", Short: "send coins from your wallet", Args: positional("TO", "[AMOUNT]"),
		Long: "AMOUNT is in coins, such as 1.5. What arrives at a contract comes back if it does not take it. An address in the form for " +
			"contracts (EQ…) where nobody is yet is refused, since the coins would only come back; to a wallet that was never used, " +
			"send by its form for people (UQ…).",
		Example: "  cocoon wallet send UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m 1.5 --comment \"for tea\" --ton-config global.config.json\n" +
			"  cocoon wallet send UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m --all --dry-run --ton-config global.config.json\n" +
			"  cocoon wallet send UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m 1 --data ./net --key net/wallets/network-owner.key --yes",
	}
	t := newTill(cmd, withChain, withKey, withSpend)
	f := cmd.Flags()
	comment := f.String("comment", "", "`text` for the receiver; everybody can read it")
	all := f.Bool("all", false, "send everything that the wallet holds, in place of AMOUNT")
	noBounce := f.Bool("no-bounce", false, "send even if nobody is there: the coins do not come back")
	transfer := wallet.Transfer{}
	t.run(func(p *problems, args []string) {
		transfer.Comment, transfer.All = *comment, *all
		transfer.Amount = wantAmount(p, args[1:], *all)
	}, func(ctx context.Context, args []string) error {
		return t.withPurse(ctx, func(c *chain, w *wallet.Wallet) (err error) {
			if transfer.To, err = parseTarget(args[0], c); err != nil {
				return err
			}
			to, err := c.Account(ctx, transfer.To)
			if err != nil {
				return err
			}
			if transfer.Bounce, err = bounces(c, to, args[0], *noBounce); err != nil {
				return err
			}
			title := "send " + transfer.Amount.Text()
			if *all {
				title = "send everything"
			}
			title += " to " + c.show(transfer.To, transfer.Bounce)
			if to.Status != ton.Active {
				title += ", which was never used"
			}
			_, err = t.spend(ctx, &order{chain: c, from: w, transfers: []wallet.Transfer{transfer}, title: title, receiver: "receiver"})
			return err
		})
	})
	return cmd
}

// wantAmount reads the one amount there must be, unless all is to be sent.
func wantAmount(p *problems, args []string, all bool) coin.Nano {
	if all != (len(args) == 0) {
		p.add("want an amount or --all, and not both")
		return 0
	}
	if all {
		return 0
	}
	amount, err := coin.Parse(args[0])
	if err != nil {
		p.add("%v", err)
	} else if amount == 0 {
		p.add("amount: want more than 0")
	}
	return amount
}

// bounces decides whether the coins shall come back if nobody takes them. By
// the form of the address the writer says whom to expect.
func bounces(c *chain, to *ton.Account, text string, never bool) (bool, error) {
	typed, err := contract.ParseAddress(text)
	switch {
	case err != nil:
		return false, err
	case never || wallet.Bounces(to):
		return !never, nil
	case to.Status == ton.Frozen:
		return false, refusedError{fmt.Errorf("%s is frozen for unpaid rent: coins sent there cannot be used; --no-bounce sends all the same", text)}
	case typed.IsBounceable() && len(text) == formLength:
		return false, refusedError{fmt.Errorf("%s is the form for contracts, and there is none on %s: check the address and the network; for a wallet that was never used it is %s, "+
			"or add --no-bounce", text, c, c.show(to.Address, false))}
	}
	return false, nil
}

// formLength is that of addresses that say whether to bounce; the raw form
// does not.
const formLength = 48

// withPurse does something with the chain and the wallet of the key file.
func (t *till) withPurse(ctx context.Context, do func(*chain, *wallet.Wallet) error) error {
	c, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	w, err := t.purse(ctx, c)
	if err != nil {
		return err
	}
	return do(c, w)
}

// commandValue pays for a node wallet's answer; most of it stays there, and
// comes home with the rest when it is withdrawn.
const commandValue = coin.TON / 20

// walletCommands are what a node wallet's owner may tell it.
var walletCommands = map[contract.WalletCommand]struct{ name, short, long, title string }{
	contract.WalletWithdraw: {"withdraw", "take everything out of a node's wallet, as its owner",
		"All coins go to the owner's wallet, that of the key file; the node cannot work without until it gets some again.", "withdraw everything from node wallet "},
	contract.WalletBlock: {"block", "forbid a node's wallet to spend, as its owner",
		"For when a node's key may have been stolen. Withdrawing works all the same.", "block node wallet "},
	contract.WalletUnblock: {"unblock", "let a node's wallet spend again, as its owner",
		"The opposite of block.", "unblock node wallet "},
}

func walletCommandVerb(command contract.WalletCommand) *cobra.Command {
	is := walletCommands[command]
	cmd := &cobra.Command{
		Use: is.name + " NODE-WALLET", Short: is.short, Args: positional("NODE-WALLET"), Long: is.long,
		Example: "  cocoon wallet " + is.name + " EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ --ton-config global.config.json",
	}
	t := newTill(cmd, withChain, withKey, withSpend)
	t.run(nil, func(ctx context.Context, args []string) error {
		body, err := command.Cell()
		if err != nil {
			return err
		}
		return t.withPurse(ctx, func(c *chain, w *wallet.Wallet) error {
			to, err := nodeWalletOf(ctx, c, args[0], w.Address())
			if err != nil {
				return err
			}
			title := is.title + c.show(to.Address, true)
			if command == contract.WalletWithdraw {
				title += ", which holds " + to.Balance.Text()
			}
			_, err = t.spend(ctx, &order{
				chain: c, from: w, title: title, receiver: "node wallet", exit: contract.WalletExit,
				transfers: []wallet.Transfer{{To: to.Address, Amount: commandValue, Bounce: true, Body: body}},
				effects:   blockedEffect(to),
			})
			return err
		})
	})
	return cmd
}

// nodeWalletOf reads a node's wallet and checks that this is its owner: anybody
// else would pay for being refused.
func nodeWalletOf(ctx context.Context, c *chain, text string, owner *address.Address) (*ton.Account, error) {
	at, err := parseTarget(text, c)
	if err != nil {
		return nil, err
	}
	a, err := c.Account(ctx, at)
	if err != nil {
		return nil, err
	}
	if a.Status != ton.Active {
		return nil, fmt.Errorf("%s is %s on %s and holds %s: a node deploys its wallet with its first order; check the address and the network",
			c.show(at, true), a.Status, c, a.Balance.Text())
	}
	state, err := contract.ParseWalletState(a.Data)
	if err != nil {
		return nil, fmt.Errorf("%s is no node's wallet: %w", c.show(at, true), err)
	}
	if !state.Owner.Equals(owner) {
		return nil, refusedError{fmt.Errorf("the node wallet would refuse it: exit code 1040, %s: the owner is %s, this key's wallet is %s",
			contract.WalletExit(1040), c.show(state.Owner, false), c.show(owner, false))}
	}
	return a, nil
}

// blockedEffect tells how the wallet's state changes.
func blockedEffect(before *ton.Account) func(*ton.Prediction) ([]string, error) {
	word := func(blocked bool) string {
		if blocked {
			return "blocked"
		}
		return "not blocked"
	}
	return func(p *ton.Prediction) ([]string, error) {
		e := p.Of(before.Address)
		old, err := contract.ParseWalletState(before.Data)
		if err != nil || e == nil {
			return nil, errors.Join(err, errors.New("the prediction does not reach the node wallet"))
		}
		now, err := contract.ParseWalletState(e.Data)
		if err != nil {
			return nil, err
		}
		lines := []string{fmt.Sprintf("node wallet holds %s → %s", e.Before, e.After.Text())}
		if old.Blocked() != now.Blocked() {
			lines = append(lines, fmt.Sprintf("node wallet %s → %s", word(old.Blocked()), word(now.Blocked())))
		}
		return lines, nil
	}
}

func walletFundVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fund AMOUNT [ADDRESS]", Short: "take play money from a local chain's faucet", Args: positional("AMOUNT", "[ADDRESS]"),
		Long: "For ADDRESS, or for the wallet of the key file. Only on a devnet or a `cocoon chain`, whose directory --data names.",
		Example: "  cocoon wallet fund 100 --data ./net --key alice.key\n" +
			"  cocoon wallet fund 100 0QAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3CQs --data ./net",
	}
	t := newTill(cmd, withChain, withKey)
	for _, name := range []string{"ton-config", "insecure-unsigned-chain"} {
		cmd.Flags().Lookup(name).Hidden = true
	}
	var amount coin.Nano
	t.run(func(p *problems, args []string) {
		amount = wantAmount(p, args[:1], false)
		if t.data == "" {
			p.add("data: missing: name the directory of a devnet or local chain; only those have a faucet")
		}
	}, func(ctx context.Context, args []string) error {
		c, err := t.open(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if !c.local {
			return refusedError{fmt.Errorf("%s names servers on other machines: real money comes from a wallet, not from a faucet", t.data)}
		}
		to, err := t.addressOrOwn(ctx, c, args[1:])
		if err != nil {
			return err
		}
		faucet, err := t.faucet()
		if err != nil {
			return err
		}
		t.yes = true // play money
		_, err = t.spend(ctx, &order{
			chain: c, from: faucet, receiver: "receiver", title: "give " + amount.Text() + " to " + c.show(to, false),
			transfers: []wallet.Transfer{{To: to, Amount: amount}},
		})
		return err
	})
	return cmd
}

// faucet is the wallet that holds all coins of a local chain. Its key file is
// beside the chain's journal, or beside the configuration of a chain in memory.
func (t *till) faucet() (*wallet.Wallet, error) {
	var errs []error
	for _, dir := range []string{"", "chain"} {
		file, err := wallet.LoadKeyFile(filepath.Join(t.data, dir, node.FaucetFile), nil)
		if err == nil {
			return file.Wallet()
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%s has no faucet: %w", t.data, errors.Join(errs...))
}

// addressOrOwn is the address in the arguments, or that of the key file.
func (t *till) addressOrOwn(ctx context.Context, c *chain, args []string) (*address.Address, error) {
	if len(args) > 0 {
		return parseTarget(args[0], c)
	}
	w, err := t.purse(ctx, c)
	if err != nil {
		return nil, err
	}
	return w.Address(), nil
}
