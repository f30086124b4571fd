package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

func walletAddressVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "address [ADDRESS]", Short: "write an address in all forms", Args: positional("[ADDRESS]"),
		Long: "Of ADDRESS, or of the wallet in the key file. With --node, of the wallet that a node with this key and owner has, with our " +
			"wallet contract: where to send the coins that it needs.",
		Example: "  cocoon wallet address\n" +
			"  cocoon wallet address EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ\n" +
			"  cocoon wallet address --node --key node.key --owner UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m",
	}
	t := newTill(cmd, withKey)
	f := cmd.Flags()
	node := f.Bool("node", false, "the key file is a node's; say where its wallet is")
	public := f.String("node-public-key", "", "the node's public `key` instead of its key file, 64 hexadecimal digits")
	owner := f.String("owner", "", "`address` of the wallet that owns the node")
	t.run(func(p *problems, args []string) {
		wantsNode := *node || *public != ""
		if wantsNode != (*owner != "") || wantsNode && len(args) > 0 {
			p.add("node and owner: want both, and no ADDRESS")
		}
		if *node && *public != "" {
			p.add("node and node_public_key: want one of them")
		}
	}, func(ctx context.Context, args []string) error {
		switch {
		case *owner != "":
			key, err := t.nodePublicKey(*public)
			if err != nil {
				return err
			}
			return t.nodeWallet(*owner, key)
		case len(args) == 1:
			a, err := parseTarget(args[0], nil)
			if err != nil {
				return err
			}
			return t.writeForms(wallet.FormsOf(a))
		}
		w, err := t.purse(ctx, nil)
		if err != nil {
			return err
		}
		return t.writeForms(wallet.FormsOf(w.Address()))
	})
	return cmd
}

func (t *till) nodePublicKey(text string) (ed25519.PublicKey, error) {
	if text != "" {
		key, err := parseHash(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("node_public_key: %w", err)}
		}
		return key[:], nil
	}
	path, err := t.keyPath()
	if err == nil {
		_, err = os.Stat(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key file: %w: the node makes it when it starts, or make it now with `cocoon wallet new --node --key %s`", err, path)
	}
	if err != nil {
		return nil, err
	}
	key, err := wallet.NodeKey(path)
	return key.Public(), err
}

func (t *till) nodeWallet(owner string, key ed25519.PublicKey) error {
	to, err := parseTarget(owner, nil)
	if err != nil {
		return err
	}
	a, err := contract.OurCodes().WalletAddress(to, key)
	if err != nil {
		return err
	}
	return t.writeForms(wallet.FormsOf(a))
}

func (t *till) writeForms(f wallet.Forms) error {
	if t.json {
		return writeJSON(t.cmd.OutOrStdout(), f)
	}
	_, err := fmt.Fprintf(t.cmd.OutOrStdout(), "for people        %s\nfor contracts     %s\nraw               %s\non test networks  %s\n  for contracts   %s\n",
		f.NonBounceable, f.Bounceable, f.Raw, f.TestNonBounceable, f.TestBounceable)
	return err
}
