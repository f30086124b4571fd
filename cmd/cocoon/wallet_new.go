package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/wallet"
)

func walletNewVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "new", Short: "make a wallet and its key file", Args: cobra.NoArgs,
		Long: "The 24 words are shown once: write them down, they open the wallet in any wallet application, and nothing else does when the " +
			"key file is lost. The file is only for your eyes, and never replaces another. It is locked with the passphrase in " +
			"COCOON_PASSPHRASE or --passphrase-file, if there is one; --lock asks for it.\n\n" +
			"The wallet is for one network: that of --ton-config or --data, or the one named by --network.",
		Example: "  cocoon wallet new\n" +
			"  cocoon wallet new --key alice.key --lock --version v4r2\n" +
			"  cocoon wallet new --key play.key --data ./net",
	}
	t := newTill(cmd, withChain, withKey)
	f := cmd.Flags()
	network := f.String("network", "", "`network` of the wallet: mainnet, testnet or its id (default mainnet)")
	version := f.String("version", "v5r1", "the wallet's `contract`: v5r1, v4r2 or v3r2")
	lock := f.Bool("lock", false, "ask for a passphrase that locks the key file")
	restore := f.Bool("restore", false, "read the 24 words of a wallet from standard input instead of drawing new ones")
	node := f.Bool("node", false, "make the key of a node's wallet instead: 64 hexadecimal digits, no words")
	made := &wallet.KeyFile{}
	t.run(func(p *problems, _ []string) {
		var err error
		if made.Version, err = wallet.ParseVersion(*version); err != nil {
			p.add("version: %v", err)
		}
		if made.Network, err = parseNetwork(*network); err != nil {
			p.add("network: %v", err)
		}
		if *network != "" && (t.tonConfig != "" || t.data != "") {
			p.add("network: the chain says it, name only one of them")
		}
		if *node && (*restore || *lock || *network != "") {
			p.add("node: such a key has no words, passphrase or network")
		}
	}, func(ctx context.Context, _ []string) error {
		path, err := t.keyPath()
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err == nil {
			return fmt.Errorf("key file %s: it is there already, and may hold money: name another with --key", path)
		}
		if t.keyFile == "" {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
		}
		if *node {
			return t.newNodeKey(path)
		}
		if t.tonConfig != "" || t.data != "" {
			c, err := t.open(ctx)
			if err != nil {
				return err
			}
			c.Close()
			made.Network = c.network
		}
		return t.newWallet(ctx, path, made, *restore, *lock)
	})
	return cmd
}

// parseNetwork reads a network's name or id; "" is the main network.
func parseNetwork(text string) (wallet.Network, error) {
	switch strings.ToLower(text) {
	case "", "mainnet":
		return wallet.Mainnet, nil
	case "testnet":
		return wallet.Testnet, nil
	}
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("got %q, want mainnet, testnet or a network's id", text)
	}
	return wallet.Network(id), nil
}

func (t *till) newWallet(ctx context.Context, path string, made *wallet.KeyFile, restore, lock bool) (err error) {
	made.Mnemonic = wallet.NewMnemonic()
	if restore {
		if made.Mnemonic, err = t.readWords(ctx); err != nil {
			return usageError{err}
		}
	}
	if made.Key, err = made.Mnemonic.Key(); err != nil {
		return err
	}
	passphrase, err := t.newPassphrase(ctx, lock)
	if err != nil {
		return err
	}
	w, err := made.Wallet()
	if err != nil {
		return err
	}
	if err := made.Save(path, passphrase); err != nil {
		return err
	}
	if t.json {
		return writeJSON(t.cmd.OutOrStdout(), map[string]any{
			"key_file": path, "locked": passphrase != "", "version": made.Version.String(), "network": made.Network.String(), "address": w.Address().String(),
		})
	}
	out := t.cmd.OutOrStdout()
	fmt.Fprintf(out, "address   %s\nwallet    %s on %s\nkey file  %s, %s\n", w.Address(), made.Version, made.Network, path, lockedText(passphrase != ""))
	if !restore {
		fmt.Fprintf(out, "\nWrite these words down; they are not shown again, and whoever has them has the coins:\n\n%s", numbered(made.Mnemonic.Reveal()))
	}
	return nil
}

func lockedText(locked bool) string {
	if locked {
		return "locked with a passphrase"
	}
	return "not locked: whoever reads it can spend"
}

// numbered writes the words in four columns.
func numbered(words string) string {
	var b strings.Builder
	for i, word := range strings.Fields(words) {
		fmt.Fprintf(&b, "  %2d %-10s", i+1, word)
		if i%4 == 3 {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// readWords reads until 24 words are there, so that they may be on several lines.
func (t *till) readWords(ctx context.Context) (wallet.Mnemonic, error) {
	if isTerminal(t.cmd.InOrStdin()) {
		fmt.Fprint(t.cmd.ErrOrStderr(), "the 24 words, in one line (they are not shown): ")
		defer fmt.Fprintln(t.cmd.ErrOrStderr())
		text, err := readHidden(ctx, t.cmd.InOrStdin())
		if err != nil {
			return wallet.Mnemonic{}, err
		}
		return wallet.ParseMnemonic(text)
	}
	text, err := readAll(ctx, t.cmd.InOrStdin())
	if err != nil {
		return wallet.Mnemonic{}, err
	}
	return wallet.ParseMnemonic(text)
}

// newPassphrase is what a new key file is locked with, "" for nothing.
func (t *till) newPassphrase(ctx context.Context, lock bool) (string, error) {
	if !lock && t.passphrase == "" && t.passphraseFile == "" {
		return "", nil
	}
	first, err := t.askPassphrase(ctx, "passphrase: ")
	if err != nil || t.passphrase != "" || t.passphraseFile != "" {
		if err == nil && first == "" {
			err = usageError{errors.New("passphrase_file: it is empty")}
		}
		return first, err
	}
	again, err := t.askPassphrase(ctx, "again: ")
	switch {
	case err != nil:
		return "", err
	case first == "":
		return "", usageError{errors.New("passphrase: empty; leave --lock out if the file shall not be locked")}
	case first != again:
		return "", usageError{errors.New("passphrase: the two differ")}
	}
	return first, nil
}

func (t *till) newNodeKey(path string) error {
	key, err := wallet.NodeKey(path)
	if err != nil {
		return err
	}
	if t.json {
		return writeJSON(t.cmd.OutOrStdout(), map[string]any{"key_file": path, "public_key": fmt.Sprintf("%x", key.Public())})
	}
	_, err = fmt.Fprintf(t.cmd.OutOrStdout(), "node key  %s\npublic    %x\n\nWhere its wallet will be: cocoon wallet address --node --key %s --owner YOUR-WALLET\n", path, key.Public(), path)
	return err
}
