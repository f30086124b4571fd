package devnet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/node"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"

	"github.com/opencocoon/cocoon/atomicfile"
)

// What the network's owner attaches to orders; the change comes back.
const (
	ownerFund   = 100 * coin.TON
	deployValue = coin.TON
	orderValue  = coin.TON / 20
)

// maxOrders is how many messages one order of a v5r1 wallet carries.
const maxOrders = 200

// startChain brings the chain up and returns a client of it.
func (n *Network) startChain(ctx context.Context, p *plan) (*ton.Client, error) {
	// Its configuration is what everybody waits for: an old one must not be there.
	if err := os.Remove(p.path(configFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// It must outlive the roles, which finish their work when ctx ends.
	if err := n.launch(context.WithoutCancel(ctx), p, p.chain); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("no answer in a minute"))
	defer cancel()
	for {
		if _, err := os.Stat(p.path(configFile)); err == nil {
			return ton.Dial(ctx, ton.Config{Path: p.path(configFile), InsecureUnsigned: true, Log: n.log})
		}
		select {
		case err := <-n.failed:
			return nil, err
		case <-ctx.Done():
			return nil, fmt.Errorf("devnet: the chain does not start: %w; the logs in %s say why", context.Cause(ctx), p.path(logDir))
		case <-time.After(pollEvery):
		}
	}
}

// found puts the registry on the chain as wanted, and says where it is. One
// that is there from an earlier run keeps its address, owner and prices.
func found(ctx context.Context, chain ton.Chain, p *plan, want *contract.Root) (*address.Address, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("not there in a minute"))
	defer cancel()
	owner, err := fundedOwner(ctx, chain, p)
	if err != nil {
		return nil, fmt.Errorf("devnet: the network's owner: %w", err)
	}
	root, err := p.readRootAddress()
	if errors.Is(err, fs.ErrNotExist) {
		return deployRoot(ctx, owner, p, want)
	}
	if err == nil {
		err = updateRoot(ctx, owner, root, want)
	}
	if err != nil {
		return nil, fmt.Errorf("devnet: registry: %w", err)
	}
	return root, nil
}

// fundedOwner is the wallet that owns the registry, with money from the faucet.
func fundedOwner(ctx context.Context, chain ton.Chain, p *plan) (*payer, error) {
	w, err := p.keys().open(ownerName)
	if err != nil {
		return nil, err
	}
	return &payer{chain, w}, p.fund(ctx, chain, w.Address(), ownerFund)
}

// fund fills a wallet up from the faucet to at least half of the amount.
func (p *plan) fund(ctx context.Context, chain ton.Chain, to *address.Address, amount coin.Nano) error {
	a, err := chain.Account(ctx, to)
	if err != nil || a.Balance >= amount/2 {
		return err
	}
	faucet, err := p.faucet(chain)
	if err != nil {
		return err
	}
	if err := faucet.pay(ctx, wallet.Transfer{To: to, Amount: amount}); err != nil {
		return err
	}
	return faucet.until(ctx, to, func(a *ton.Account) (bool, error) { return a.Balance >= amount/2, nil })
}

// faucet is the wallet that has all coins.
func (p *plan) faucet(chain ton.Chain) (*payer, error) {
	file, err := wallet.LoadKeyFile(p.faucetFile(), nil)
	if err != nil {
		return nil, err
	}
	w, err := file.Wallet()
	return &payer{chain, w}, err
}

func deployRoot(ctx context.Context, owner *payer, p *plan, want *contract.Root) (*address.Address, error) {
	d, err := want.Deploy(contract.OurCodes().Root)
	if err != nil {
		return nil, err
	}
	if err := owner.pay(ctx, wallet.Transfer{To: d.Address, Amount: deployValue, Init: d.Init}); err != nil {
		return nil, err
	}
	err = owner.until(ctx, d.Address, func(a *ton.Account) (bool, error) { return a.Status == ton.Active, nil })
	if err != nil {
		return nil, err
	}
	root := d.Address.Testnet(true).Bounce(true)
	return root, atomicfile.Replace(p.path(rootFile), []byte(root.String()+"\n"), 0o600)
}

// updateRoot brings the lists up to date: proxies have other ports after each
// start, and the model may be another.
func updateRoot(ctx context.Context, owner *payer, root *address.Address, want *contract.Root) error {
	changes := []contract.Body{nil}
	missing := func(a *ton.Account) (bool, error) {
		if a.Status != ton.Active {
			return false, fmt.Errorf("%s is %s on this chain: the directory holds parts of two networks", root, a.Status)
		}
		have, err := contract.ParseRoot(a.Data)
		if err != nil {
			return false, err
		}
		number(have, want)
		changes = append(contract.Changes(have, want), managerChange(have, want)...)
		return len(changes) == 0, nil
	}
	a, err := owner.chain.Account(ctx, root)
	if err != nil {
		return err
	}
	if done, err := missing(a); done || err != nil {
		return err
	}
	for len(changes) > 0 {
		batch := changes[:min(len(changes), maxOrders)]
		changes = changes[len(batch):]
		if err := order(ctx, owner, root, batch); err != nil {
			return err
		}
	}
	return owner.until(ctx, root, missing)
}

// managerChange names the key manager, which has another port after each start.
func managerChange(have, want *contract.Root) []contract.Body {
	if have.KeyManager == want.KeyManager && have.KeyManagerImage == want.KeyManagerImage && have.KeyManagerKey.Equal(want.KeyManagerKey) {
		return nil
	}
	key := want.KeyManagerKey
	if key == nil {
		key = make(ed25519.PublicKey, ed25519.PublicKeySize) // nobody
	}
	return []contract.Body{&contract.ChangeKeyManager{Key: key, Image: want.KeyManagerImage, Address: want.KeyManager}}
}

func order(ctx context.Context, owner *payer, root *address.Address, changes []contract.Body) error {
	var transfers []wallet.Transfer
	for _, c := range changes {
		body, err := c.Cell()
		if err != nil {
			return err
		}
		transfers = append(transfers, wallet.Transfer{To: root, Amount: orderValue, Bounce: true, Body: body})
	}
	return owner.pay(ctx, transfers...)
}

// number gives the wanted proxies the numbers that the registry has for them:
// the first so many keep theirs, more get the next.
func number(have, want *contract.Root) {
	next := have.LastProxySeqno
	for i := range want.Proxies {
		if i < len(have.Proxies) {
			want.Proxies[i].Seqno = have.Proxies[i].Seqno
		} else {
			next++
			want.Proxies[i].Seqno = next
		}
	}
}

func (p *plan) readRootAddress() (*address.Address, error) {
	text, err := os.ReadFile(p.path(rootFile))
	if err != nil {
		return nil, err
	}
	a, err := contract.ParseAddress(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.path(rootFile), err)
	}
	return a.Testnet(true), nil
}

// faucetFile is where the chain writes the key of the wallet that has all coins.
func (p *plan) faucetFile() string {
	if dir := p.chain.settings.(*node.Chain).Dir; dir != "" {
		return filepath.Join(dir, node.FaucetFile)
	}
	return p.path(node.FaucetFile)
}
