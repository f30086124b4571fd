package devnet

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/ton/wallet"

	"github.com/opencocoon/cocoon/ton/localnet"
)

// keys are the wallets of everybody on a devnet: v5r1 wallets whose seeds are
// files in hexadecimal, so that any wallet program can open them.
type keys struct {
	file func(name string) string
	errs error
}

func (p *plan) keys() *keys {
	return &keys{file: func(name string) string { return p.path(walletDir, name+".key") }}
}

// wallet is the address of somebody's wallet.
func (k *keys) wallet(name string) *address.Address {
	key, err := k.key(name)
	if err == nil {
		var a *address.Address
		a, err = wallet.AddressFromPubKey(key.Public().(ed25519.PublicKey), wallet.ConfigV5R1Final{NetworkGlobalID: localnet.TestnetID}, 0)
		if err == nil {
			return a.Testnet(true).Bounce(false)
		}
	}
	k.errs = errors.Join(k.errs, err)
	return address.NewAddressNone()
}

// key reads somebody's key, or draws one.
func (k *keys) key(name string) (ed25519.PrivateKey, error) {
	key, err := readKey(k.file(name))
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, replaceFile(k.file(name), []byte(hex.EncodeToString(key.Seed())+"\n"))
}

func readKey(file string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s: want the %d hexadecimal digits of a key", file, 2*ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
