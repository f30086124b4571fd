package tdx

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/collateral"
)

// PCS fetches collateral from Intel's provisioning certification service, or
// from a caching service with the same paths: base is its address, such as
// https://localhost:8081. An empty base is Intel. Wrap it in [Cached].
func PCS(base string, client *http.Client) Collateral {
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	return &service{strings.TrimSuffix(base, "/"), client}
}

type service struct {
	base   string
	client *http.Client
}

const (
	intelService = "https://api.trustedservices.intel.com"
	// intelRootCRL is where Intel serves the root's list. A caching service has
	// it under a path of its own.
	intelRootCRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
)

// address is where a part is, and the header that holds its issuers.
func (s *service) address(part Part) (address, header string) {
	base := s.base
	if base == "" {
		base = intelService
	}
	switch part.what {
	case tcbInfo:
		return fmt.Sprintf("%s/tdx/certification/v4/tcb?fmspc=%x", base, part.fmspc), "Tcb-Info-Issuer-Chain"
	case qeIdentity:
		return base + "/tdx/certification/v4/qe/identity", "Sgx-Enclave-Identity-Issuer-Chain"
	case sgxTCBInfo:
		return fmt.Sprintf("%s/sgx/certification/v4/tcb?fmspc=%x", base, part.fmspc), "Tcb-Info-Issuer-Chain"
	case sgxQEIdentity:
		return base + "/sgx/certification/v4/qe/identity", "Sgx-Enclave-Identity-Issuer-Chain"
	case pckCRLPlatform:
		return base + "/sgx/certification/v4/pckcrl?ca=platform&encoding=der", ""
	case pckCRLProcessor:
		return base + "/sgx/certification/v4/pckcrl?ca=processor&encoding=der", ""
	}
	if s.base == "" {
		return intelRootCRL, ""
	}
	return base + "/sgx/certification/v4/rootcacrl", ""
}

func (s *service) Get(ctx context.Context, part Part) (out Statement, err error) {
	address, header := s.address(part)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return out, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return out, fmt.Errorf("tdx: %s answers %s", req.URL.Host+req.URL.Path, resp.Status)
	}
	if out.Body, err = collateral.Read(resp.Body); err != nil {
		return out, err
	}
	if !part.signedJSON() {
		out.Body = plainDER(out.Body)
		return out, nil
	}
	chain, err := url.QueryUnescape(resp.Header.Get(header))
	if err != nil || chain == "" {
		return out, fmt.Errorf("tdx: %s answers without %s", req.URL.Host+req.URL.Path, header)
	}
	out.Chain = []byte(chain)
	return out, nil
}

// plainDER undoes the hex and PEM forms in which caching services serve lists.
func plainDER(body []byte) []byte {
	if block, _ := pem.Decode(body); block != nil {
		return block.Bytes
	}
	if der, err := hex.DecodeString(string(bytes.TrimSpace(body))); err == nil {
		return der
	}
	return body
}
