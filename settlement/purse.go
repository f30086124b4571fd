package settlement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// PurseConfig is what a client pays from. Of the settlement's part, Wallet is
// made here, and Secret too if it is empty. Keep a copy of Dir's wallet.key.
type PurseConfig struct {
	ClientConfig
	// Key is the node wallet's; zero is that in Dir's wallet.key, which is made
	// if there is none.
	Key wallet.Key
	// Owner is the wallet of the person behind the client, who can take
	// everything out of the node wallet.
	Owner *address.Address
}

// Purse is a client's money: its node wallet and the settlement of its
// accounts. Give the client role its [Purse.Address], Secret, Client (the
// Registrar) and Client.Tally, and Run it as long as the client runs.
type Purse struct {
	*Client
	Secret string
	wallet *wallet.Driver
}

// walletIdle is how often the node wallet is looked at when nothing waits: a
// person who has just paid it watches.
const walletIdle = 5 * time.Second

// OpenPurse opens everything in the directory, or makes it.
func OpenPurse(cfg PurseConfig) (p *Purse, err error) {
	p = &Purse{}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("data %s: %w", cfg.Dir, err)
		if p.wallet != nil {
			err = errors.Join(err, p.wallet.Close())
		}
	}()
	if p.wallet, err = OpenWallet(cfg.Dir, cfg.Key, cfg.Owner, cfg.Chain, cfg.Log); err != nil {
		return nil, err
	}
	if cfg.Secret == "" {
		if cfg.Secret, err = Secret(filepath.Join(cfg.Dir, "secret")); err != nil {
			return nil, err
		}
	}
	cfg.Wallet, p.Secret = p.wallet, cfg.Secret
	p.Client, err = NewClient(cfg.ClientConfig)
	return p, err
}

// OpenWallet opens the node wallet in a role's data directory, or makes it. A
// zero key is that of the directory's wallet.key, which is made if missing.
func OpenWallet(dir string, key wallet.Key, owner *address.Address, chain ton.Chain, log *slog.Logger) (*wallet.Driver, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if key.IsZero() {
		var err error
		if key, err = wallet.NodeKey(filepath.Join(dir, "wallet.key")); err != nil {
			return nil, err
		}
	}
	return wallet.Open(wallet.Config{Dir: filepath.Join(dir, "wallet"), Key: key, Owner: owner, Chain: chain, Idle: walletIdle, Log: log})
}

// Address is the node wallet's: money sent there pays for requests.
func (p *Purse) Address() *address.Address { return p.wallet.Address() }

// Run pays until ctx ends, and closes the purse.
func (p *Purse) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { _ = p.wallet.Run(ctx) }) // it ends with ctx only
	err := p.Client.Run(ctx)
	running.Wait()
	return errors.Join(err, p.Close())
}

// Close lets a purse go that does not run.
func (p *Purse) Close() error { return p.wallet.Close() }
