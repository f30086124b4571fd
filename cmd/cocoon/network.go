package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

func networkVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "network", Short: "found a network, look at its registry, change it", Args: cobra.NoArgs,
		Long: "The registry is a contract that says which images and models are allowed, where the proxies are, and at which prices all " +
			"work. Whoever has its owner's wallet may change it; every change is first predicted and shown, and waits for a yes.",
		Example: "  cocoon network show --data ./net\n" +
			"  cocoon network set-price 3 2 --data ./net --dry-run\n" +
			"  cocoon network init --key owner.key --ton-config global.config.json",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(networkInitVerb(), networkShowVerb(), setPriceVerb(), setParamsVerb(), proxyListVerb(), imageListVerb(), modelListVerb(),
		keyManagerVerb(), ownerVerb(), upgradeVerb(), resetVerb())
	return cmd
}

// desk is a till for verbs about a registry.
type desk struct {
	*till
	root string
}

func newDesk(cmd *cobra.Command, parts ...string) *desk {
	d := &desk{till: newTill(cmd, append(parts, withChain)...)}
	cmd.Flags().StringVarP(&d.root, "root-contract-address", "r", "", "`address` of the registry (default the one of --data)")
	if key := cmd.Flags().Lookup("key"); key != nil {
		key.Usage = "key `file` of the owner's wallet (default a devnet's owner with --data, else wallet.key in your configuration directory)"
		d.ownerOf = true
	}
	return d
}

// rootAt is where the registry is.
func (d *desk) rootAt(c *chain) (*address.Address, error) {
	text := d.root
	if text == "" && d.data != "" {
		b, err := os.ReadFile(filepath.Join(d.data, rootAddressFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		text = strings.TrimSpace(string(b))
	}
	if text == "" {
		return nil, usageError{errors.New("root_contract_address: missing: name the registry")}
	}
	return parseTarget(text, c)
}

// dress has the people's addresses in a registry written in the form for this
// chain.
func (c *chain) dress(r *contract.Root) {
	r.Owner = r.Owner.Testnet(c.network != wallet.Mainnet).Bounce(false)
	if r.Offered != nil {
		r.Offered = r.Offered.Testnet(c.network != wallet.Mainnet).Bounce(false)
	}
}

// book is a registry as it was read.
type book struct {
	*contract.Root
	account *ton.Account
}

func (d *desk) read(ctx context.Context, c *chain) (*book, error) {
	at, err := d.rootAt(c)
	if err != nil {
		return nil, err
	}
	a, err := c.Account(ctx, at)
	if err != nil {
		return nil, err
	}
	if a.Status != ton.Active {
		return nil, fmt.Errorf("there is no registry at %s: the account is %s on %s: check the address and the network", c.show(at, true), a.Status, c)
	}
	root, err := contract.ParseRoot(a.Data)
	if err != nil {
		return nil, fmt.Errorf("%s is a contract, and no registry that this program knows: check the address (%w)", c.show(at, true), err)
	}
	c.dress(root)
	return &book{root, a}, nil
}

const (
	// changeValue goes along with a change for gas; what is left comes back.
	changeValue = coin.TON / 10
	// upgradeValue is for changes that bring code along.
	upgradeValue = coin.TON / 2
)

// change is what a verb wants of the registry.
type change struct {
	title string
	// bodies are the messages; all go at once.
	bodies []contract.Body
	value  coin.Nano
	// anyone says that not the owner sends it.
	anyone bool
	// whole says that it replaces all the registry's content, as it was read.
	whole bool
}

// change makes a verb that reads the registry, decides what to tell it, and
// does so as its owner.
func (d *desk) change(check func(p *problems, args []string), decide func(b *book, w *wallet.Wallet, args []string) (*change, error)) {
	d.run(check, func(ctx context.Context, args []string) error {
		return d.withPurse(ctx, func(c *chain, w *wallet.Wallet) error {
			b, err := d.read(ctx, c)
			if err != nil {
				return err
			}
			ch, err := decide(b, w, args)
			if err != nil {
				return err
			}
			if !ch.anyone && !w.Address().Equals(b.Owner) {
				return refusedError{fmt.Errorf("the registry would refuse it: exit code 1010, %s: the owner is %s, this key's wallet is %s: name the owner's key file with --key",
					contract.RootExit(1010), c.show(b.Owner, false), c.show(w.Address(), false))}
			}
			o, err := ch.order(c, w, b)
			if err != nil {
				return err
			}
			r, err := d.spend(ctx, o)
			if err == nil && r.Result != nil && !d.json {
				err = d.tell(ctx, c)
			}
			return err
		})
	})
}

// tell says what the registry is now.
func (d *desk) tell(ctx context.Context, c *chain) error {
	b, err := d.read(ctx, c)
	if err == nil {
		_, err = fmt.Fprintf(d.talk(), "the registry is at version %d, parameters %d\n", b.Version, b.ParamsVersion)
	}
	return err
}

func (ch *change) order(c *chain, w *wallet.Wallet, b *book) (*order, error) {
	o := &order{
		chain: c, from: w, receiver: "registry", exit: contract.RootExit, effects: rootEffects(c, b),
		registry: c.show(b.account.Address, true), title: ch.title + ", at registry " + c.show(b.account.Address, true),
	}
	if ch.whole {
		o.still = unchanged(c, b)
	}
	value := ch.value
	if value == 0 {
		value = changeValue
	}
	for _, body := range ch.bodies {
		said, err := body.Cell()
		if err != nil {
			return nil, usageError{err}
		}
		o.transfers = append(o.transfers, wallet.Transfer{To: b.account.Address, Amount: value, Bounce: true, Body: said})
	}
	return o, nil
}

// unchanged refuses what was decided on a registry that has changed since: a
// person may think for long, and it would take back what others did.
func unchanged(c *chain, b *book) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := c.Account(ctx, b.account.Address)
		if err == nil && !same(now.Data, b.account.Data) {
			err = refusedError{errors.New("nothing was sent: the registry has changed since it was read; look at it and decide again")}
		}
		return err
	}
}

// rootEffects compares the registry with what it would be. What nodes could
// not read, or what would change nothing and yet have everybody start anew, is refused.
func rootEffects(c *chain, b *book) func(*ton.Prediction) ([]string, error) {
	return func(p *ton.Prediction) ([]string, error) {
		e := p.Of(b.account.Address)
		if e == nil || e.Data == nil {
			return nil, errors.New("the prediction does not reach the registry")
		}
		after, err := contract.ParseRoot(e.Data)
		if err == nil {
			err = after.CheckContracts()
		}
		if err != nil {
			return nil, refusedError{fmt.Errorf("nothing was sent: no node could read the registry afterwards: %w", err)}
		}
		c.dress(after)
		same := *after
		same.ParamsVersion = b.ParamsVersion
		codes := codeChange(b.account.Code, e.Code)
		if len(b.Differences(&same)) == 0 && codes == nil {
			return nil, errors.New("nothing would change: the registry says so already")
		}
		lines := append([]string{fmt.Sprintf("version %d → %d", b.Version, after.Version)}, codes...)
		return append(lines, b.Differences(after)...), nil
	}
}

func codeChange(before, after *cell.Cell) []string {
	a, b := codeName(contract.OurCodes().Root, before), codeName(contract.OurCodes().Root, after)
	if before.HashKey() == after.HashKey() {
		return nil
	}
	return []string{"the registry's own code " + a + " → " + b}
}

// codeName says whether a code is ours.
func codeName(ours, code *cell.Cell) string {
	switch {
	case code == nil:
		return "none"
	case code.HashKey() == ours.HashKey():
		return fmt.Sprintf("%x (ours)", code.Hash())
	}
	return fmt.Sprintf("%x (unknown)", code.Hash())
}
