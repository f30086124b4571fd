package contract

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// rootJSON is the registry as statistics show it, with the network's names.
// Source: roles.md section 2.12.
type rootJSON struct {
	Owner                string      `json:"owner_address"`
	ProxyHashes          []string    `json:"proxy_hashes"`
	RegisteredProxies    []proxyJSON `json:"registered_proxies"`
	LastProxySeqno       uint32      `json:"last_proxy_seqno"`
	WorkerHashes         []string    `json:"worker_hashes"`
	ModelHashes          []string    `json:"model_hashes"`
	Version              uint32      `json:"version"`
	StructVersion        uint8       `json:"struct_version"`
	ParamsVersion        uint32      `json:"params_version"`
	UniqueID             uint32      `json:"unique_id"`
	IsTest               bool        `json:"is_test"`
	PricePerToken        uint64      `json:"price_per_token"`
	WorkerFeePerToken    uint64      `json:"worker_fee_per_token"`
	PromptMultiplier     uint32      `json:"prompt_tokens_price_multiplier"`
	CachedMultiplier     uint32      `json:"cached_tokens_price_multiplier"`
	CompletionMultiplier uint32      `json:"completion_tokens_price_multiplier"`
	ReasoningMultiplier  uint32      `json:"reasoning_tokens_price_multiplier"`
	ProxyDelay           uint32      `json:"proxy_delay_before_close"`
	ClientDelay          uint32      `json:"client_delay_before_close"`
	ProxyMinStake        uint64      `json:"proxy_min_stake"`
	ClientMinStake       uint64      `json:"client_min_stake"`
	ProxyCodeHash        string      `json:"proxy_code_hash"`
	WorkerCodeHash       string      `json:"worker_code_hash"`
	ClientCodeHash       string      `json:"client_code_hash"`
}

type proxyJSON struct {
	Seqno   uint32 `json:"seqno"`
	Clients string `json:"address_for_clients"`
	Workers string `json:"address_for_workers"`
}

// MarshalJSON writes the snapshot under the names that /jsonstats has in the network.
func (r *Root) MarshalJSON() ([]byte, error) {
	j := rootJSON{
		ProxyHashes: hashTexts(r.ProxyImages), WorkerHashes: hashTexts(r.WorkerImages), ModelHashes: hashTexts(r.Models),
		RegisteredProxies: []proxyJSON{}, LastProxySeqno: r.LastProxySeqno,
		Version: r.Version, StructVersion: r.StructVersion, ParamsVersion: r.ParamsVersion, UniqueID: r.UniqueID, IsTest: r.IsTest,
		PricePerToken: uint64(r.PricePerToken), WorkerFeePerToken: uint64(r.WorkerFeePerToken),
		PromptMultiplier: r.Multipliers.Prompt, CachedMultiplier: r.Multipliers.Cached,
		CompletionMultiplier: r.Multipliers.Completion, ReasoningMultiplier: r.Multipliers.Reasoning,
		ProxyDelay: r.ProxyDelay, ClientDelay: r.ClientDelay, ProxyMinStake: uint64(r.MinProxyStake), ClientMinStake: uint64(r.MinClientStake),
		ProxyCodeHash: codeHash(r.ProxyCode), WorkerCodeHash: codeHash(r.WorkerCode), ClientCodeHash: codeHash(r.ClientCode),
	}
	if r.Owner != nil {
		j.Owner = r.Owner.String()
	}
	for _, p := range r.Proxies {
		j.RegisteredProxies = append(j.RegisteredProxies, proxyJSON{p.Seqno, "[" + p.Clients.String() + "]", "[" + p.Workers.String() + "]"})
	}
	return json.Marshal(j)
}

func hashTexts(set map[[32]byte]struct{}) []string {
	list := make([]string, 0, len(set))
	for h := range set {
		list = append(list, upperHex(h[:]))
	}
	slices.Sort(list)
	return list
}

func codeHash(code *cell.Cell) string {
	if code == nil {
		code = emptyCell
	}
	return upperHex(code.Hash(0))
}

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
