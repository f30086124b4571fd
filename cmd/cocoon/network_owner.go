package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

func ownerVerb() *cobra.Command {
	return group("owner", "hand the registry over", "In two steps: it is offered, and changes hands when the new owner accepts. So it cannot be given to nobody.",
		ownerOfferVerb(), ownerAcceptVerb(), ownerTakeBackVerb())
}

func ownerOfferVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "offer ADDRESS", Short: "offer the registry to another wallet", Args: positional("ADDRESS"),
		Long:    "The network's own root contract knows no offers and changes hands at once; that needs --at-once.",
		Example: "  cocoon network owner offer UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	atOnce := cmd.Flags().Bool("at-once", false, "also at a contract that does not wait for the new owner's answer")
	var to *address.Address
	d.change(func(p *problems, args []string) {
		var err error
		if to, err = contract.ParseAddress(args[0]); err != nil {
			p.add("%v", err)
		}
	}, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		if !*atOnce && b.account.Code.HashKey() != contract.OurCodes().Root.HashKey() {
			return nil, refusedError{errors.New("the registry's code is not ours and may change hands at once, with nobody asked whether the new owner's wallet works: add --at-once if you mean it")}
		}
		return &change{title: "offer the registry to " + to.String(), bodies: []contract.Body{&contract.OfferOwner{Owner: to}}}, nil
	})
	return cmd
}

func ownerAcceptVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "accept", Short: "take over a registry that was offered to you", Args: cobra.NoArgs,
		Long:    "The key file is the new owner's.",
		Example: "  cocoon network owner accept --key heir.key --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	d.ownerOf = false
	cmd.Flags().Lookup("key").Usage = "key `file` of the new owner's wallet (default wallet.key in your configuration directory)"
	d.change(nil, func(b *book, w *wallet.Wallet, _ []string) (*change, error) {
		switch {
		case b.Offered == nil:
			return nil, refusedError{errors.New("the registry is not offered to anybody: ask its owner for `cocoon network owner offer`")}
		case !b.Offered.Equals(w.Address()):
			return nil, refusedError{fmt.Errorf("the registry is offered to %s, and this key's wallet is %s", b.Offered.Bounce(false), w.Address())}
		}
		return &change{title: "take the registry over", anyone: true, bodies: []contract.Body{&contract.AcceptOwner{}}}, nil
	})
	return cmd
}

func ownerTakeBackVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "take-back", Short: "take an offer back", Args: cobra.NoArgs,
		Example: "  cocoon network owner take-back --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	d.change(nil, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		if b.Offered == nil {
			return nil, errors.New("the registry is not offered to anybody")
		}
		return &change{title: "take the offer back", bodies: []contract.Body{&contract.UnregisterProxy{Seqno: offerNumber}}}, nil
	})
	return cmd
}

func upgradeVerb() *cobra.Command {
	return group("upgrade", "replace contracts by those of this program", "Our contracts, unless a file names another. What nodes could not read afterwards is refused.",
		upgradeContractsVerb(), upgradeCodeVerb(), upgradeFullVerb())
}

// codeFlag is code from a file, a bag of cells, or ours.
func codeFlag(f *pflag.FlagSet, name string) func(ours *cell.Cell) (*cell.Cell, error) {
	file := f.String(name, "", "`file` with the code, a bag of cells (default ours)")
	return func(ours *cell.Cell) (*cell.Cell, error) {
		if *file == "" {
			return ours, nil
		}
		b, err := os.ReadFile(*file)
		if err != nil {
			return nil, err
		}
		code, err := cell.FromBOC(b)
		if err != nil {
			return nil, fmt.Errorf("%s: not a bag of cells: %w", *file, err)
		}
		return code, nil
	}
}

func upgradeContractsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "contracts", Short: "the code of the proxies', workers' and clients' contracts to come", Args: cobra.NoArgs,
		Long:    "A new generation: every node's contracts are created anew, and the old ones go on with their code until they are settled.",
		Example: "  cocoon network upgrade contracts --data ./net --dry-run",
	}
	d := newDesk(cmd, withKey, withSpend)
	proxy, worker, client := codeFlag(cmd.Flags(), "proxy-code"), codeFlag(cmd.Flags(), "worker-code"), codeFlag(cmd.Flags(), "client-code")
	d.change(nil, func(*book, *wallet.Wallet, []string) (*change, error) {
		ours := contract.OurCodes()
		body := &contract.UpgradeContracts{}
		var errs [3]error
		body.Proxy, errs[0] = proxy(ours.Proxy)
		body.Worker, errs[1] = worker(ours.Worker)
		body.Client, errs[2] = client(ours.Client)
		return &change{title: "replace the contracts of the nodes", value: upgradeValue, bodies: []contract.Body{body}}, errors.Join(errs[:]...)
	})
	return cmd
}

func upgradeCodeVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "code", Short: "the registry's own code", Args: cobra.NoArgs,
		Long:    "Its content stays. A code that does not work cannot be replaced again: test it on a devnet.",
		Example: "  cocoon network upgrade code --data ./net --dry-run",
	}
	d := newDesk(cmd, withKey, withSpend)
	root := codeFlag(cmd.Flags(), "root-code")
	d.change(nil, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		code, err := root(contract.OurCodes().Root)
		if err != nil {
			return nil, err
		}
		if err := worksWith(code, b.Root); err != nil {
			return nil, err
		}
		return &change{title: "replace the registry's own code", value: upgradeValue, bodies: []contract.Body{&contract.UpgradeRoot{Code: code}}}, nil
	})
	return cmd
}

// worksWith refuses our code for content that it does not know.
func worksWith(code *cell.Cell, r *contract.Root) error {
	if code.HashKey() == contract.OurCodes().Root.HashKey() && r.StructVersion < 3 {
		return refusedError{fmt.Errorf("our root contract does not know struct version %d, want 3 to 5: use `cocoon network upgrade full --struct-version 4`", r.StructVersion)}
	}
	return nil
}

func upgradeFullVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "full", Short: "the registry's code and the shape of its content", Args: cobra.NoArgs,
		Long: "The content stays, in the shape of the struct version: 4 has a place for a key manager, 5 one more for verified keys. " +
			"Another shape is a new generation of every node's contracts.",
		Example: "  cocoon network upgrade full --struct-version 4 --data ./net --dry-run",
	}
	d := newDesk(cmd, withKey, withSpend)
	root := codeFlag(cmd.Flags(), "root-code")
	shape := cmd.Flags().Uint8("struct-version", 0, "`shape` of the content, 3 to 5 (default as it is)")
	drop := cmd.Flags().Bool("drop-unreadable", false, "leave out entries among the proxies that cannot be read")
	d.change(nil, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		code, err := root(contract.OurCodes().Root)
		if err != nil {
			return nil, err
		}
		if len(b.Skipped) > 0 && !*drop {
			return nil, refusedError{fmt.Errorf("%d entries among the proxies cannot be read and would be lost: see `cocoon network show`, and add --drop-unreadable if you mean it", len(b.Skipped))}
		}
		want := *b.Root
		want.Version++
		if *shape != 0 && *shape != b.StructVersion {
			want.StructVersion = *shape
			want.ParamsVersion++
		}
		if err := errors.Join(want.CheckContracts(), worksWith(code, &want)); err != nil {
			return nil, err
		}
		data, err := want.Cell()
		if err != nil {
			return nil, err
		}
		return &change{title: "replace the registry's code and content", value: upgradeValue, whole: true, bodies: []contract.Body{&contract.UpgradeAll{Data: data, Code: code}}}, nil
	})
	return cmd
}
