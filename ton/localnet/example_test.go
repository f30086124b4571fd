package localnet_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/ton/wallet"

	"github.com/opencocoon/cocoon/ton/localnet"
)

// An ordinary program of the tonutils-go library reads a balance and sends a
// transfer, knowing nothing of the local chain but its global.config.json and
// the words of a wallet.
func Example() {
	config, words, stop := chainWithWallet()
	defer stop()
	ctx, friend := context.Background(), address.MustParseRawAddr("0:"+strings.Repeat("f4", 32)).Bounce(false)

	pool := liteclient.NewConnectionPool()
	defer pool.Stop()
	must(pool.AddConnectionsFromConfigFile(config))
	api := ton.NewAPIClient(pool)
	w, err := wallet.FromSeedWithOptions(api, words, wallet.V4R2)
	must(err)
	block, err := api.CurrentMasterchainInfo(ctx)
	must(err)
	has, err := w.GetBalance(ctx, block)
	must(err)
	fmt.Println("balance", has)
	must(w.TransferNoBounce(ctx, friend, tlb.MustFromTON("2.5"), "for tea", true)) // true: returns when it has been executed

	block, err = api.GetMasterchainInfo(ctx)
	must(err)
	friendly, err := api.GetAccount(ctx, block, friend)
	must(err)
	fmt.Println("the friend has", friendly.State.Balance)
	// Output:
	// balance 100
	// the friend has 2.5
}

// chainWithWallet starts a chain with its liteserver and a wallet of 100 TON.
func chainWithWallet() (config string, words []string, stop func()) {
	chain, err := localnet.New(localnet.Config{})
	must(err)
	server, err := localnet.Listen(chain, "127.0.0.1:0")
	must(err)
	dir, err := os.MkdirTemp("", "localnet")
	must(err)
	config = filepath.Join(dir, "global.config.json")
	must(server.WriteGlobalConfig(config))
	words = wallet.NewSeed()
	w, err := wallet.FromSeedWithOptions(nil, words, wallet.V4R2)
	must(err)
	_, err = chain.Fund(context.Background(), w.WalletAddress(), tlb.MustFromTON("100"))
	must(err)
	return config, words, func() {
		must(server.Close())
		must(chain.Close())
		must(os.RemoveAll(dir))
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
