package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/wallet"
)

// purse is what a client that pays is made of.
type purse struct {
	secret  string
	wallet  *wallet.Driver
	settler *settlement.Client
}

// openPurse opens everything in the data directory, or makes it.
func (s *Client) openPurse(env Env, b *base) (p *purse, err error) {
	p = &purse{secret: s.Secret}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("data %s: %w", s.Data, err)
		if p.wallet != nil {
			err = errors.Join(err, p.wallet.Close())
		}
	}()
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return p, err
	}
	owner, err := contract.ParseAddress(s.OwnerAddress)
	if err != nil {
		return p, err
	}
	key, err := wallet.NodeKey(filepath.Join(s.Data, "wallet.key"))
	if err != nil {
		return p, err
	}
	if p.secret == "" {
		if p.secret, err = settlement.Secret(filepath.Join(s.Data, "secret")); err != nil {
			return p, err
		}
	}
	p.wallet, err = wallet.Open(wallet.Config{Dir: filepath.Join(s.Data, "wallet"), Key: key, Owner: owner, Chain: b.chain, Idle: walletIdle, Log: env.Log})
	if err != nil {
		return p, err
	}
	p.settler, err = settlement.NewClient(settlement.ClientConfig{
		Chain: b.chain, Wallet: p.wallet, Registry: b.registry, Dir: filepath.Join(s.Data, "settlement"), Secret: p.secret, Log: env.Log,
	})
	if err != nil {
		return p, err
	}
	env.log().Info("settlement: the client pays from its node wallet", "address", p.wallet.Address().String())
	return p, nil
}
