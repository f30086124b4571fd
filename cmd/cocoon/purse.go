package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/xssnick/tonutils-go/address"
	"golang.org/x/term"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

// keyPath is the key file: the one named, or the person's own.
func (t *till) keyPath() (string, error) {
	if t.keyFile != "" {
		return t.keyFile, nil
	}
	if t.ownerOf && t.data != "" {
		owner := filepath.Join(t.data, filepath.FromSlash(ownerKeyFile))
		if _, err := os.Stat(owner); err == nil {
			return owner, nil
		}
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", usageError{fmt.Errorf("key: missing, and there is no configuration directory: %w", err)}
	}
	return filepath.Join(dir, "cocoon", "wallet.key"), nil
}

// purse opens the wallet of the key file. A wallet for another network than
// the chain's is refused: its address would be another, or its orders could be
// repeated where real money is.
func (t *till) purse(ctx context.Context, c *chain) (*wallet.Wallet, error) {
	w, err := t.openKey(ctx)
	if err != nil {
		return nil, err
	}
	if c != nil && w.Network() != c.network {
		return nil, refusedError{fmt.Errorf("the key file is for %s, and %s has the id of %s: name another key file, or another chain", w.Network(), c, c.network)}
	}
	return w, nil
}

func (t *till) openKey(ctx context.Context) (*wallet.Wallet, error) {
	path, err := t.keyPath()
	if err != nil {
		return nil, err
	}
	file, err := wallet.LoadKeyFile(path, func() (string, error) { return t.askPassphrase(ctx, "passphrase of "+path+": ") })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: make one with `cocoon wallet new`, or name yours with --key", err)
	}
	if err != nil {
		return nil, err
	}
	return file.Wallet()
}

// askPassphrase takes it from where it was set, or asks.
func (t *till) askPassphrase(ctx context.Context, prompt string) (string, error) {
	switch {
	case t.passphraseFile != "":
		return readSecretFile(t.passphraseFile)
	case t.passphrase != "":
		return t.passphrase, nil
	case !isTerminal(t.cmd.InOrStdin()):
		return "", usageError{fmt.Errorf("%w: the file is locked, and nobody is there to ask: set COCOON_PASSPHRASE or passphrase_file", wallet.ErrPassphrase)}
	}
	fmt.Fprint(t.cmd.ErrOrStderr(), prompt)
	defer fmt.Fprintln(t.cmd.ErrOrStderr())
	return readHidden(ctx, t.cmd.InOrStdin())
}

// isTerminal says whether a person can answer. Tests put theirs here.
var isTerminal = func(in io.Reader) bool {
	file, ok := in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// readHidden reads a line that the terminal does not show; interrupted, it
// leaves the terminal as it was.
func readHidden(ctx context.Context, in io.Reader) (string, error) {
	file, ok := in.(*os.File)
	if !ok {
		return readLine(ctx, in)
	}
	before, err := term.GetState(int(file.Fd()))
	if err != nil {
		return "", err
	}
	return wait(ctx, func() (string, error) {
		b, err := term.ReadPassword(int(file.Fd()))
		return string(b), err
	}, func() { _ = term.Restore(int(file.Fd()), before) })
}

func readLine(ctx context.Context, in io.Reader) (string, error) {
	return wait(ctx, func() (string, error) {
		line, err := bufio.NewReader(in).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil // an answer without its end, or none
		}
		return strings.TrimSpace(line), err
	}, func() {})
}

// wait returns early when ctx ends, while the reading goes on until the
// program ends: there is no other way out of a read from a terminal.
func wait(ctx context.Context, read func() (string, error), interrupted func()) (string, error) {
	type answer struct {
		text string
		err  error
	}
	c := make(chan answer, 1)
	go func() {
		text, err := read()
		c <- answer{text, err}
	}()
	select {
	case a := <-c:
		return a.text, a.err
	case <-ctx.Done():
		interrupted()
		return "", ctx.Err()
	}
}

// confirm asks before money moves. Without anybody to ask it refuses.
func (t *till) confirm(ctx context.Context) error {
	if t.yes {
		return nil
	}
	if !isTerminal(t.cmd.InOrStdin()) {
		return usageError{errors.New("nobody is there to confirm: add --yes to do it, or --dry-run to predict only")}
	}
	fmt.Fprint(t.talk(), "do it? [y/N] ")
	answer, err := readLine(ctx, t.cmd.InOrStdin())
	if err != nil {
		fmt.Fprintln(t.talk())
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed: nothing was sent")
}

// parseTarget reads an address that somebody typed. Forms marked as a test
// network's are refused on the main network, as their writers asked.
func parseTarget(text string, on *chain) (*address.Address, error) {
	a, err := contract.ParseAddress(text)
	if err != nil {
		return nil, usageError{err}
	}
	if on != nil && on.network == wallet.Mainnet && a.IsTestnetOnly() {
		return nil, refusedError{fmt.Errorf("address %s is marked for test networks only, and the chain is mainnet", text)}
	}
	return a, nil
}
