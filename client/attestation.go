package client

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/opencocoon/cocoon/attest"
)

// pathAttestation tells what the proxies in use have proven.
const pathAttestation = "/v1/attestation"

// headerAttestation tells what the proxy that answered has proven: the name of
// a level.
const headerAttestation = "X-Cocoon-Attestation"

// attestations is the answer to GET /v1/attestation.
type attestations struct {
	Object string        `json:"object"` // "list"
	Data   []attestation `json:"data"`
}

// attestation is one proxy. Without a verdict it is not connected, and gets
// nothing sent.
type attestation struct {
	Object   string          `json:"object"` // "attestation"
	Proxy    string          `json:"proxy"`  // address in the registry
	Contract string          `json:"proxy_contract,omitempty"`
	InUse    bool            `json:"in_use"`
	Since    int64           `json:"connected_at,omitempty"` // Unix seconds
	Level    string          `json:"level"`
	Verdict  *attest.Verdict `json:"verdict"`          // every check with what was found and what was wanted
	Reason   string          `json:"reason,omitempty"` // why it is not in use
}

func (c *Client) attestations() *attestations {
	list := &attestations{Object: "list", Data: []attestation{}}
	for _, p := range c.Snapshot().Connections {
		a := attestation{Object: "attestation", Proxy: p.Address, Contract: p.Contract, InUse: p.Ready, Since: p.Since,
			Level: levelName(p.Verdict), Verdict: p.Verdict, Reason: p.Error}
		list.Data = append(list.Data, a)
	}
	return list
}

// levelName is the name of a verdict's level, the lowest without a verdict.
func levelName(v *attest.Verdict) string {
	if v == nil {
		return attest.LevelRefused.Name()
	}
	return v.Level.Name()
}

// document is the answer to a GET of what isInference does not name.
func (c *Client) document(ctx context.Context, path string) ([]byte, error) {
	if path == pathAttestation {
		return json.Marshal(c.attestations())
	}
	if isMarket(path) {
		return c.marketDocument(ctx, path)
	}
	return c.modelsDocument(ctx, path)
}

func isMarket(path string) bool {
	return path == pathMarket || strings.HasPrefix(path, pathMarket+"/") && len(path) > len(pathMarket)+1
}

func isDocument(path string) bool {
	return path == pathModels || path == pathAttestation || isMarket(path) || strings.HasPrefix(path, pathModels+"/") && len(path) > len(pathModels)+1
}
