package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// founding is what a new registry gets to live on.
const founding = coin.TON

func networkInitVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "init", Short: "found a network: put a registry of your own on the chain", Args: cobra.NoArgs,
		Long: "The wallet of the key file pays 1 TON, which the registry keeps to live on, and owns it unless --owner names another. The " +
			"contracts are ours. Prices and multipliers begin like the live network's. Images, models and proxies can be named now, or " +
			"allowed later.\n\nWhat our root contract would refuse as a change is refused here.",
		Example: "  cocoon network init --key owner.key --ton-config global.config.json --dry-run\n" +
			"  cocoon network init --key owner.key --data ./chain --price 3 --worker-fee 2 --struct-version 4",
	}
	d := &desk{till: newTill(cmd, withChain, withKey, withSpend)}
	f := cmd.Flags()
	list := paramFlags(f, true)
	shape := f.Uint8("struct-version", 4, "`shape` of the registry: 3 is the live network's, 4 has a key manager, 5 verified keys")
	id := f.Uint32("unique-id", 0, "`number` that keeps equal registries apart (default random)")
	owner := f.String("owner", "", "`address` of the owner (default the wallet of the key file)")
	proxyImages := f.StringSlice("proxy-image", nil, "`hash` of an allowed image of proxies; may be repeated")
	workerImages := f.StringSlice("worker-image", nil, "`hash` of an allowed image of workers; may be repeated")
	models := f.StringArray("model", nil, "allowed model, `name@commit:hash`; may be repeated")
	want := contract.Root{Version: 1, ParamsVersion: 1}
	d.run(func(p *problems, _ []string) {
		list.apply(&want, p)
		want.StructVersion, want.UniqueID = *shape, *id
		want.ProxyImages, want.WorkerImages, want.Models = hashSet(p, "proxy_image", *proxyImages), hashSet(p, "worker_image", *workerImages), modelSet(p, *models)
		codes := contract.OurCodes()
		want.ProxyCode, want.WorkerCode, want.ClientCode = codes.Proxy, codes.Worker, codes.Client
		if *owner != "" {
			var err error
			if want.Owner, err = contract.ParseAddress(*owner); err != nil {
				p.add("owner: %v", err)
			}
		}
		if *id == 0 {
			want.UniqueID = randomID()
		}
	}, func(ctx context.Context, _ []string) error {
		return d.withPurse(ctx, func(c *chain, w *wallet.Wallet) error { return d.found(ctx, c, w, &want) })
	})
	return cmd
}

func randomID() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:]) | 1
}

func hashSet(p *problems, name string, texts []string) map[[32]byte]struct{} {
	set := map[[32]byte]struct{}{}
	for _, text := range texts {
		h, err := parseHash(text)
		if err != nil {
			p.add("%s %v", name, err)
		} else if h == [32]byte{} {
			p.add("%s: all zeros is what a machine without attestation has: no list admits it", name)
		}
		set[h] = struct{}{}
	}
	return set
}

func modelSet(p *problems, names []string) map[[32]byte]struct{} {
	set := map[[32]byte]struct{}{}
	for _, name := range names {
		if !fullModel.MatchString(name) {
			p.add("model %q: want name@commit:hash, the hash with 64 hexadecimal digits in small letters", printable(name, 200))
		}
		set[contract.ModelHash(name)] = struct{}{}
	}
	return set
}

// found deploys the registry and says what to put into the nodes' settings.
func (d *desk) found(ctx context.Context, c *chain, w *wallet.Wallet, want *contract.Root) error {
	if want.Owner == nil {
		want.Owner = w.Address()
	}
	want.IsTest = c.network != wallet.Mainnet
	if err := want.CheckFounding(); err != nil {
		return refusedError{err}
	}
	dep, err := want.Deploy(contract.OurCodes().Root)
	if err != nil {
		return err
	}
	there, err := c.Account(ctx, dep.Address)
	if err != nil {
		return err
	}
	if there.Status == ton.Active {
		return fmt.Errorf("this very registry is there already, at %s: choose another --unique-id for a second one", c.show(dep.Address, true))
	}
	at := c.show(dep.Address, true)
	r, err := d.spend(ctx, &order{
		chain: c, from: w, receiver: "registry", exit: contract.RootExit, registry: at, title: "found a network with its registry at " + at,
		transfers: []wallet.Transfer{{To: dep.Address, Amount: founding, Init: dep.Init}}, effects: foundingEffects(want, dep.Address, dep.Init),
	})
	if err != nil || r.Result == nil {
		return err
	}
	note, err := d.noteRoot(at)
	if err != nil || d.json {
		return err
	}
	configured := d.tonConfig
	if configured == "" {
		configured = filepath.Join(d.data, globalConfigFile)
	}
	_, err = fmt.Fprintf(d.talk(), "registry %s%s\n\nIn every node's settings:\n  \"root_contract_address\": %q,\n  \"ton_config\": %q\nNext: allow images and models, and add proxies; see `cocoon network --help`\n",
		at, note, at, configured)
	return err
}

// foundingEffects checks that what will be there is what was meant.
func foundingEffects(want *contract.Root, at *address.Address, init *tlb.StateInit) func(*ton.Prediction) ([]string, error) {
	return func(p *ton.Prediction) ([]string, error) {
		e := p.Of(at)
		if e == nil || e.Status != ton.Active || !same(e.Data, init.Data) || !same(e.Code, init.Code) {
			return nil, errors.New("the prediction does not end with the registry on the chain")
		}
		return []string{
			fmt.Sprintf("owner %s", want.Owner),
			fmt.Sprintf("price %d, worker fee %d nanoTON per token", int64(want.PricePerToken), int64(want.WorkerFeePerToken)),
			fmt.Sprintf("struct version %d, id %d, %s", want.StructVersion, want.UniqueID, kind(want.IsTest)),
			fmt.Sprintf("%d proxy images, %d worker images, %d models", len(want.ProxyImages), len(want.WorkerImages), len(want.Models)),
		}, nil
	}
}

func same(a, b *cell.Cell) bool { return a != nil && a.HashKey() == b.HashKey() }

// noteRoot remembers the registry in a local chain's directory, if there is
// none yet, so that other verbs find it by --data.
func (d *desk) noteRoot(at string) (string, error) {
	if d.data == "" {
		return "", nil
	}
	path := filepath.Join(d.data, rootAddressFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(f, at)
	return ", noted in " + path, errors.Join(err, f.Close())
}
