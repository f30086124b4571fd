package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/devnet"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/ton"
)

// A program that talks to a devnet (`cocoon devnet --data DIR`) without its
// gateway: the transport verifies the proxy, asks and pays by itself. On a real
// network the three lines about test roots fall away.
func ExampleClient_Transport() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	info, err := devnet.ReadInfo("DIR")
	if err != nil {
		log.Fatal(err)
	}
	chain, err := ton.Dial(ctx, ton.Config{Path: info.GlobalConfig, InsecureUnsigned: true}) // a local chain has no validators
	if err != nil {
		log.Fatal(err)
	}
	defer chain.Close()
	root, err := contract.ParseAddress(info.Contracts["root"])
	if err != nil {
		log.Fatal(err)
	}
	registry, err := contract.Follow(ctx, chain, root, nil)
	if err != nil {
		log.Fatal(err)
	}
	go registry.Run(ctx, 0)
	owner, err := contract.ParseAddress("UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m") // your wallet, which can take everything back
	if err != nil {
		log.Fatal(err)
	}
	testRoots, err := insecure.LoadRoots(info.TestRoot)
	if err != nil {
		log.Fatal(err)
	}
	identity, err := ratls.NewIdentity(ctx, attest.NoPlatform{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	purse, err := settlement.OpenPurse(settlement.PurseConfig{Owner: owner, ClientConfig: settlement.ClientConfig{Dir: "purse", Chain: chain, Registry: registry}})
	if err != nil {
		log.Fatal(err)
	}
	go purse.Run(ctx)
	fmt.Println("requests are paid from", purse.Address()) // it needs a deposit and some TON for fees
	c, err := client.New(client.Config{
		Registry: registry,
		RATLS: &ratls.Config{Identity: identity, Policy: &attest.Policy{
			Images: func(h attest.Hash) bool { return registry.Root().AllowsProxyImage(h) },
			Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{
				TestRoots:      testRoots,
				TestCollateral: tdx.Dir(filepath.Join(filepath.Dir(info.TestRoot), insecure.CollateralDir)),
			}},
		}},
		CheckImages: true,
		Wallet:      purse.Address().String(),
		RootAddress: info.Contracts["root"],
		Secret:      purse.Secret,
		Registrar:   purse.Client,
		Tally:       purse.Tally(),
	})
	if err != nil {
		log.Fatal(err)
	}
	go c.Run(ctx)

	web := &http.Client{Transport: c.Transport()} // for openai-go: option.WithHTTPClient(web)
	answer, err := web.Post("http://cocoon/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"`+info.Model+`","messages":[{"role":"user","content":"Hello!"}]}`))
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status)
}
