package openaigo

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/devnet"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// No gateway here: the SDK's own HTTP client is the network.
func TestTransportInPlaceOfTheGateway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := devnet.Start(ctx, devnet.Config{Listen: "127.0.0.1:0", Engine: devnet.EngineBuiltin})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	c, ended := member(ctx, t, n.Info())
	sdk := openai.NewClient(option.WithHTTPClient(&http.Client{Transport: c.Transport()}),
		option.WithBaseURL("http://cocoon/v1"), option.WithAPIKey("unused"), option.WithMaxRetries(0))

	a, err := sdk.Chat.Completions.New(ctx, params(n.Info().Model))
	if err != nil {
		t.Fatal(err)
	}
	checkUsage(t, a.Usage)
	s := sdk.Chat.Completions.NewStreaming(ctx, params(n.Info().Model))
	acc := openai.ChatCompletionAccumulator{}
	for s.Next() {
		acc.AddChunk(s.Current())
	}
	if s.Err() != nil || len(acc.Choices) != 1 || acc.Choices[0].Message.Content != a.Choices[0].Message.Content {
		t.Errorf("stream: %v, %d choices; want the plain answer again", s.Err(), len(acc.Choices))
	}
	cancel()
	<-ended
}

// member is a client of the devnet as another program would make it.
func member(ctx context.Context, t *testing.T, info devnet.Info) (*client.Client, <-chan struct{}) {
	t.Helper()
	chain, err := ton.Dial(ctx, ton.Config{Path: info.GlobalConfig, InsecureUnsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chain.Close() })
	root, err := contract.ParseAddress(info.Contracts["root"])
	if err != nil {
		t.Fatal(err)
	}
	registry, err := contract.Follow(ctx, chain, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	purse := fundedPurse(ctx, t, info, chain, registry)
	roots, err := insecure.LoadRoots(info.TestRoot)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ratls.NewIdentity(ctx, attest.NoPlatform{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{
		Registry: registry,
		RATLS: &ratls.Config{Identity: identity, Policy: &attest.Policy{
			Images: func(h attest.Hash) bool { return registry.Root().AllowsProxyImage(h) },
			Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{
				TestRoots:      roots,
				TestCollateral: tdx.Dir(filepath.Join(filepath.Dir(info.TestRoot), insecure.CollateralDir)),
			}},
		}},
		CheckImages: true, Wallet: purse.Address().String(), RootAddress: info.Contracts["root"], Secret: purse.Secret, Registrar: purse.Client, Tally: purse.Tally(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	return c, ended
}

// fundedPurse is the member's money, from the devnet's faucet.
func fundedPurse(ctx context.Context, t *testing.T, info devnet.Info, chain *ton.Client, registry *contract.OnChain) *settlement.Purse {
	t.Helper()
	file, err := wallet.LoadKeyFile(info.FaucetKeyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	faucet, err := file.Wallet()
	if err != nil {
		t.Fatal(err)
	}
	purse, err := settlement.OpenPurse(settlement.PurseConfig{Owner: faucet.Address(), ClientConfig: settlement.ClientConfig{Dir: t.TempDir(), Chain: chain, Registry: registry}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := faucet.Account(ctx, chain)
	if err != nil {
		t.Fatal(err)
	}
	order, err := faucet.Build(a, wallet.Transfer{To: purse.Address(), Amount: 500 * coin.TON})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ton.SendAndConfirm(ctx, chain, faucet.Address(), order, a.At.Time.Add(wallet.TTL)); err != nil {
		t.Fatal(err)
	}
	paying, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); purse.Run(paying) }()
	t.Cleanup(func() { stop(); <-ended })
	return purse
}
