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

func (s *service) Get(ctx context.Context, address string) (map[string][]string, []byte, error) {
	it, err := locate(address)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.target(address, it), nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("tdx: %s answers %s", req.URL.Host+req.URL.Path, resp.Status)
	}
	body, err := readBounded(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	return resp.Header, plainDER(it, body), nil
}

// target is where the answer really comes from. A caching service keeps the
// root's list, which Intel serves from another host, under a path of its own.
func (s *service) target(address string, it item) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || s.base == "":
		return address
	case it.header == "":
		return s.base + "/sgx/certification/v4/rootcacrl"
	}
	return s.base + u.RequestURI()
}

// plainDER undoes the hex and PEM forms in which caching services serve lists.
func plainDER(it item, body []byte) []byte {
	if !strings.HasSuffix(it.file, ".der") {
		return body
	}
	if block, _ := pem.Decode(body); block != nil {
		return block.Bytes
	}
	if der, err := hex.DecodeString(string(bytes.TrimSpace(body))); err == nil {
		return der
	}
	return body
}
