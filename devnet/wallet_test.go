package devnet

import (
	"context"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/ton/wallet"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ton/localnet"
	keyfile "github.com/opencocoon/cocoon/wallet"
)

// What any program of tonutils-go does on a TON network, with nothing but the
// global configuration and a key: the devnet's chain is one.
func TestOrdinaryTONProgram(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	data := n.net.Info().Data
	file, err := keyfile.LoadKeyFile(data+"/chain/faucet.key", nil)
	if err != nil {
		t.Fatal(err)
	}
	to := address.NewAddress(0, 0, make([]byte, 32)).Bounce(false)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pool := liteclient.NewConnectionPool()
	defer pool.Stop()
	if err := pool.AddConnectionsFromConfigFile(data + "/global.config.json"); err != nil {
		t.Fatal(err)
	}
	api := ton.NewAPIClient(pool)
	w, err := wallet.FromPrivateKey(api, file.Key.Private(), wallet.ConfigV5R1Final{NetworkGlobalID: localnet.TestnetID})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.SendWaitTransaction(ctx, wallet.SimpleMessageAutoBounce(to, tlb.MustFromTON("7"), nil))
	if err != nil {
		t.Fatal(err)
	}
	block, err := api.GetMasterchainInfo(ctx) // the other one is cached for a second
	if err != nil {
		t.Fatal(err)
	}
	got, err := api.GetAccount(ctx, block, to)
	if err != nil || got.State == nil || got.State.Balance.String() != "7" {
		t.Errorf("account after a transfer of 7 TON: %+v, %v", got, err)
	}
}
