package devnet

import (
	"errors"
	"io/fs"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/ton/localnet"
	"github.com/opencocoon/cocoon/wallet"
)

// keys are the wallets of everybody on a devnet, as key files that
// `cocoon wallet` opens.
type keys struct {
	file func(name string) string
	errs error
}

func (p *plan) keys() *keys {
	return &keys{file: func(name string) string { return p.path(walletDir, name+".key") }}
}

// wallet is the address of somebody's wallet.
func (k *keys) wallet(name string) *address.Address {
	w, err := k.open(name)
	if err != nil {
		k.errs = errors.Join(k.errs, err)
		return address.NewAddressNone()
	}
	return w.Address()
}

// open opens somebody's wallet, or makes one.
func (k *keys) open(name string) (*wallet.Wallet, error) {
	file, err := wallet.LoadKeyFile(k.file(name), nil)
	if errors.Is(err, fs.ErrNotExist) {
		file = &wallet.KeyFile{Network: localnet.TestnetID, Key: wallet.NewKey()}
		err = file.Save(k.file(name), "")
	}
	if err != nil {
		return nil, err
	}
	return file.Wallet()
}
