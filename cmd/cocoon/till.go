package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// till is what the verbs that deal with coins share: which chain, whose key,
// whether to ask before spending, and how to answer.
type till struct {
	cmd *cobra.Command
	s   *settings

	tonConfig, data string
	unsigned        bool

	keyFile, passphraseFile, passphrase string
	// ownerOf says that a devnet's owner is meant if no key file is named.
	ownerOf bool

	yes, dryRun, json bool
}

// Parts of a till that a verb may need.
const (
	withChain = "chain"
	withKey   = "key"
	withSpend = "spend"
)

func newTill(cmd *cobra.Command, parts ...string) *till {
	t := &till{cmd: cmd, s: newSettings(cmd)}
	f := cmd.Flags()
	if slices.Contains(parts, withChain) {
		f.StringVar(&t.tonConfig, "ton-config", "", "global configuration `file` of the TON network")
		f.StringVar(&t.data, "data", "", "`directory` of a devnet or local chain, instead")
		f.BoolVar(&t.unsigned, "insecure-unsigned-chain", false, "believe liteservers without validators' signatures (implied by --data)")
	}
	if slices.Contains(parts, withKey) {
		f.StringVarP(&t.keyFile, "key", "k", "", "key `file` of the wallet (default wallet.key in your configuration directory)")
		f.StringVar(&t.passphraseFile, "passphrase-file", "", "`file` with the key file's passphrase (default COCOON_PASSPHRASE, or ask)")
		t.s.secrets.StringVar(&t.passphrase, "passphrase", "", "")
	}
	if slices.Contains(parts, withSpend) {
		f.BoolVarP(&t.yes, "yes", "y", false, "do it without asking")
		f.BoolVar(&t.dryRun, "dry-run", false, "only predict what it would do")
	}
	f.BoolVar(&t.json, "json", false, "print JSON")
	return t
}

// run makes the verb read its settings, report all problems at once, and act.
// Check may be nil.
func (t *till) run(check func(p *problems, args []string), act func(ctx context.Context, args []string) error) {
	t.cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p := t.s.load(os.Environ())
		if t.yes && t.dryRun {
			p.add("yes and dry_run: want one of them")
		}
		if check != nil {
			check(&p, args)
		}
		if err := p.err(); err != nil {
			return err
		}
		return act(cmd.Context(), args)
	}
}

// positional wants arguments of these names; a name in brackets may be left out.
func positional(names ...string) cobra.PositionalArgs {
	least := 0
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
	}
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > len(names) {
			return fmt.Errorf("want %s, got %d of them", strings.Join(names, " "), len(args))
		}
		return nil
	}
}

// talk is where people are told what happens; programs get JSON on the other.
func (t *till) talk() io.Writer {
	if t.json {
		return t.cmd.ErrOrStderr()
	}
	return t.cmd.OutOrStdout()
}

// chain is a TON network that was reached.
type chain struct {
	*ton.Client
	network wallet.Network
	// local says that all its servers are on this machine.
	local bool
}

func (c *chain) String() string {
	if c.local {
		return "a local chain"
	}
	return c.network.String()
}

// show writes an address in the form for this chain.
func (c *chain) show(a *address.Address, bounce bool) string {
	return a.Testnet(c.network != wallet.Mainnet).Bounce(bounce).String()
}

// Names in the directory of a devnet or a local chain.
const (
	globalConfigFile = "global.config.json"
	rootAddressFile  = "root.address"
	ownerKeyFile     = "wallets/network-owner.key"
)

// configFile is the chain's configuration.
func (t *till) configFile() (string, error) {
	if named := t.cmd.Flags().Changed; t.data != "" && t.tonConfig != "" && named("data") != named("ton-config") {
		// The other one is from a variable, which a flag overrules.
		if named("data") {
			t.tonConfig = ""
		} else {
			t.data = ""
		}
	}
	switch {
	case t.data == "" && t.tonConfig == "":
		return "", usageError{errors.New("ton_config or data: missing: name the TON network's global.config.json, or a devnet's directory")}
	case t.data != "" && t.tonConfig != "":
		return "", usageError{errors.New("ton_config and data: want one of them")}
	case t.data == "":
		return t.tonConfig, nil
	}
	path := filepath.Join(t.data, globalConfigFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s has no %s: name the directory given to `cocoon devnet --data`, or that of `cocoon chain`, while it runs", t.data, globalConfigFile)
	}
	return path, nil
}

// open connects to the chain. It must be closed.
func (t *till) open(ctx context.Context) (*chain, error) {
	path, err := t.configFile()
	if err != nil {
		return nil, err
	}
	servers, err := ton.ReadNetwork(path)
	if err != nil {
		return nil, err
	}
	c := &chain{local: !slices.ContainsFunc(servers.Servers, func(s ton.Server) bool { return !s.Addr.Addr().IsLoopback() })}
	unsigned := t.unsigned || t.data != "" && c.local
	if !unsigned && servers.Init.SeqNo == 0 {
		return nil, usageError{fmt.Errorf("%s names no block to check signatures from: a local chain is like that; if it is one, add --insecure-unsigned-chain, or name its directory with --data", path)}
	}
	err = t.patiently("connecting to the TON network and following its validators' signatures", func() error {
		if c.Client, err = ton.Dial(ctx, ton.Config{Network: servers, InsecureUnsigned: unsigned}); err != nil {
			return err
		}
		id, err := ton.GlobalID(ctx, c)
		c.network = wallet.Network(id)
		if err != nil {
			c.Close()
		}
		return err
	})
	if errors.Is(err, ton.ErrUnreachable) && c.local {
		return nil, fmt.Errorf("nothing answers: is the chain of %s running? %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

const (
	// patience is how long a wait may be before it is explained, and remindEvery
	// how often after that.
	patience    = 2 * time.Second
	remindEvery = 10 * time.Second
)

// patiently does something that may take long, and says so when it does.
func (t *till) patiently(what string, do func() error) error {
	if t.json {
		return do()
	}
	done, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		begun, next := time.Now(), patience
		for {
			select {
			case <-done:
				return
			case <-time.After(next):
				fmt.Fprintf(t.talk(), "%s… (%d s)\n", what, int(time.Since(begun).Seconds()))
				next = remindEvery
			}
		}
	}()
	err := do()
	close(done)
	<-told
	return err
}
