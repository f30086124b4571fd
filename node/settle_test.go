package node

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	library "github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/proxy"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// localChain is a chain with a registry on it, and the file by which it is found.
func localChain(t *testing.T) (chain *localnet.Chain, root *address.Address, config string) {
	t.Helper()
	chain, err := localnet.New(localnet.Config{Seed: [32]byte{9}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chain.Close() })
	server, err := localnet.Listen(chain, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	config = filepath.Join(t.TempDir(), "global.config.json")
	if err := server.WriteGlobalConfig(config); err != nil {
		t.Fatal(err)
	}
	codes := contract.OurCodes()
	ends := netip.MustParseAddrPort("127.0.0.1:1")
	registry := &contract.Root{
		Owner: chain.FaucetAddress(), Version: 1, ParamsVersion: 1, StructVersion: 3, UniqueID: 5, IsTest: true, PricePerToken: 20, WorkerFeePerToken: 18,
		Multipliers: ledger.Plain, ProxyDelay: 600, ClientDelay: 300, MinProxyStake: coin.TON, MinClientStake: coin.TON,
		LastProxySeqno: 1, Proxies: []contract.ProxyEntry{{Seqno: 1, Workers: ends, Clients: ends}},
		ProxyCode: codes.Proxy, WorkerCode: codes.Worker, ClientCode: codes.Client,
	}
	d, err := registry.Deploy(codes.Root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = chain.Pay(t.Context(), chain.FaucetKey(), &library.Message{Mode: library.PayGasSeparately + library.IgnoreErrors, InternalMessage: &tlb.InternalMessage{
		IHRDisabled: true, DstAddr: d.Address, Amount: tlb.FromNanoTON(coin.TON.Big()), StateInit: d.Init, Body: cell.BeginCell().EndCell(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return chain, d.Address, config
}

// A proxy with a data directory deploys its contract, commits to the chain,
// and goes on under the same key after a restart.
func TestProxySettles(t *testing.T) {
	t.Parallel()
	chain, root, config := localChain(t)
	dir := t.TempDir()
	s := &Proxy{
		Common: Common{Listen: "127.0.0.1:0", TONConfig: config, InsecureUnsigned: true, RootAddress: root.String(), OwnerAddress: owner,
			ControlTokenFile: filepath.Join(dir, "token"), Attestation: Attestation{NoAttestation: true}},
		WorkersListen: "127.0.0.1:0", ClientsListen: "127.0.0.1:0", Settlement: Settlement{Data: filepath.Join(dir, "data"), ChargeFrom: "0.5", NoteEvery: Duration(time.Second)},
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	var contracts []string
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := s.Run(ctx, Env{Ready: func(http string) {
			go func() {
				defer cancel()
				contracts = append(contracts, visit(t, ctx, chain, http, filepath.Join(dir, "token")))
			}()
		}})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(contracts) != 2 || contracts[0] != contracts[1] {
		t.Errorf("contracts %q, want the same twice", contracts)
	}
	for _, file := range []string{"proxy.key", "wallet.key"} {
		if info, err := os.Stat(filepath.Join(s.Data, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v: want a file for its owner alone", file, info, err)
		}
	}
}

// visit pays the node wallet, waits until the proxy serves, and tries an action.
func visit(t *testing.T, ctx context.Context, chain *localnet.Chain, base, token string) string {
	for {
		s := statistics(t, ctx, base)
		if s.Status.Enabled {
			if !strings.Contains(post(t, ctx, base+"/request/withdraw", token), "no income to withdraw") {
				t.Error("withdraw: want to hear that there is nothing")
			}
			if s.Wallet.Balance < int64(coin.TON) || s.Contract.ParamsVersion != 1 || s.Money == nil || s.Money.LastError != "" && !strings.Contains(s.Money.LastError, "too little") {
				t.Errorf("statistics: %+v %+v %+v", s.Wallet, s.Contract, s.Money)
			}
			return s.Contract.Address
		}
		if s.Wallet.Balance >= 0 && s.Wallet.Balance < int64(coin.TON) {
			to, err := contract.ParseAddress(s.Wallet.Address)
			if err == nil {
				_, err = chain.Fund(ctx, to, tlb.MustFromTON("20"))
			}
			if err != nil {
				t.Error(err)
				return ""
			}
		}
		select {
		case <-ctx.Done():
			t.Errorf("the proxy does not serve: %+v %+v", s.Status, s.Money)
			return ""
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func statistics(t *testing.T, ctx context.Context, base string) (s proxy.Snapshot) {
	req, err := http.NewRequestWithContext(ctx, "GET", base+"/jsonstats", nil)
	if err != nil {
		t.Error(err)
		return s
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return s // not open yet
	}
	defer res.Body.Close()
	var got struct {
		Status   proxy.StatusInfo   `json:"status"`
		Wallet   proxy.WalletInfo   `json:"wallet"`
		Contract proxy.ContractInfo `json:"smartcontract"`
		Money    *proxy.Settlement  `json:"settlement"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Errorf("jsonstats: %v", err)
	}
	s.Status, s.Wallet, s.Contract, s.Money = got.Status, got.Wallet, got.Contract, got.Money
	return s
}

func post(t *testing.T, ctx context.Context, url, file string) string {
	token, err := Token(file)
	if err != nil {
		t.Error(err)
		return ""
	}
	req, err := http.NewRequestWithContext(ctx, "POST", url, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return string(text)
}
