package client

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/opencocoon/cocoon/attest"
)

const pathAttestation = "/v1/attestation"

// attestationList is the answer to GET /v1/attestation: whom requests may go
// to, and why each of them is believed. A proxy that is not connected has no
// verdict; what it failed on is its error.
type attestationList struct {
	Object string             `json:"object"` // "list"
	Data   []proxyAttestation `json:"data"`
}

type proxyAttestation struct {
	Object  string          `json:"object"` // "attestation"
	Proxy   string          `json:"proxy"`  // its address
	Ready   bool            `json:"ready"`
	Error   string          `json:"error,omitempty"`
	Verdict *attest.Verdict `json:"verdict,omitempty"`
}

func (c *Client) attestations() attestationList {
	list := attestationList{Object: "list", Data: []proxyAttestation{}}
	c.mu.Lock()
	for _, t := range c.targets {
		i := t.info()
		list.Data = append(list.Data, proxyAttestation{"attestation", i.Address, i.Ready, i.Error, i.Verdict})
	}
	c.mu.Unlock()
	slices.SortFunc(list.Data, func(a, b proxyAttestation) int { return cmp.Compare(a.Proxy, b.Proxy) })
	return list
}

// document is the answer to what is read and not asked of a model.
func (c *Client) document(ctx context.Context, path string) ([]byte, error) {
	if path == pathAttestation {
		return json.Marshal(c.attestations())
	}
	return c.modelsDocument(ctx, path)
}
