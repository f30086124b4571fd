package contract

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/atomicfile"
)

// pseudo is rootConfig.pseudo of the current generation, as it is written.
type pseudo struct {
	ProxyHashes       []string      `json:"proxy_hashes"`
	WorkerHashes      []string      `json:"worker_hashes"`
	ModelHashes       []string      `json:"model_hashes"`
	RegisteredProxies []pseudoProxy `json:"registered_proxies"`
	PricePerToken     uint64        `json:"price_per_token"`
	WorkerFeePerToken uint64        `json:"worker_fee_per_token"`
	LastProxySeqno    uint32        `json:"last_proxy_seqno"`
	Version           uint32        `json:"version"`
	ParamsVersion     uint32        `json:"params_version"`
	RegisteredKeys    []pseudoKey   `json:"registered_public_keys"`
	KeyManagerAddress string        `json:"key_manager_address"`
	ProxyCode         string        `json:"proxy_sc_code"`
	WorkerCode        string        `json:"worker_sc_code"`
	ClientCode        string        `json:"client_sc_code"`
	RootOwnerAddress  string        `json:"root_owner_address"`
}

type pseudoProxy struct {
	Seqno   uint32 `json:"seqno"`
	Address string `json:"address"`
}

type pseudoKey struct {
	PublicKey string `json:"public_key"`
	KeyType   uint8  `json:"key_type"`
	ExpireAt  uint32 `json:"expire_at"`
}

// WriteFile writes the snapshot as a registry file that [OpenFile] and the
// network's own programs read. A reader sees the old file or the new one,
// never a part. What the mode without a chain fixes (struct version, delays,
// stakes, multipliers) has no place in the file and is not kept.
func WriteFile(path string, r *Root) error {
	if err := r.Check(); err != nil {
		return err
	}
	p := pseudo{
		ProxyHashes: texts(r.ProxyImages), WorkerHashes: texts(r.WorkerImages), ModelHashes: texts(r.Models),
		RegisteredProxies: []pseudoProxy{}, RegisteredKeys: []pseudoKey{},
		PricePerToken: uint64(r.PricePerToken), WorkerFeePerToken: uint64(r.WorkerFeePerToken),
		LastProxySeqno: r.LastProxySeqno, Version: r.Version, ParamsVersion: r.ParamsVersion,
		KeyManagerAddress: r.KeyManager, RootOwnerAddress: r.Owner.String(),
		ProxyCode: codeText(r.ProxyCode), WorkerCode: codeText(r.WorkerCode), ClientCode: codeText(r.ClientCode),
	}
	for _, x := range r.Proxies {
		p.RegisteredProxies = append(p.RegisteredProxies, pseudoProxy{x.Seqno, x.String()})
	}
	for _, k := range r.PublicKeys {
		p.RegisteredKeys = append(p.RegisteredKeys, pseudoKey{base64.StdEncoding.EncodeToString(k.Key), k.Type, k.ExpireAt})
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(path, append(text, '\n'), 0o644)
}

func texts(set map[[32]byte]struct{}) []string {
	list := make([]string, 0, len(set))
	for h := range set {
		list = append(list, base64.StdEncoding.EncodeToString(h[:]))
	}
	slices.Sort(list)
	return list
}

func codeText(code *cell.Cell) string {
	if code == nil {
		return ""
	}
	return hex.EncodeToString(code.ToBOC())
}
