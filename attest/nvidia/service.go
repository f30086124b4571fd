package nvidia

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/collateral"
)

// Service fetches collateral from NVIDIA, or from services with the same
// paths. The zero value is NVIDIA's own. Wrap it in [Cached].
type Service struct {
	Manifests string // address of the manifest service; empty: NVIDIA's
	Responder string // of the OCSP responder
	Tokens    string // of the attestation service; its keys are at /.well-known/jwks.json
	Key       string // NVIDIA's service key, sent to all three; empty: none
	Client    *http.Client
}

var _ Collateral = (*Service)(nil)

const serviceTimeout = 10 * time.Second

// Manifest implements [Collateral].
func (s *Service) Manifest(ctx context.Context, name string) ([]byte, error) {
	body, err := s.do(ctx, http.MethodGet, address(s.Manifests, "https://rim.attestation.nvidia.com")+"/v1/rim/"+url.PathEscape(name), nil)
	if err != nil {
		return nil, err
	}
	var answer struct{ ID, RIM, SHA256 string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("nvidia: manifest service: %w", err)
	}
	if answer.ID != name {
		return nil, fmt.Errorf("nvidia: manifest service answers with %q, want %q", answer.ID, name)
	}
	document, err := base64.StdEncoding.DecodeString(answer.RIM)
	if err != nil {
		return nil, fmt.Errorf("nvidia: manifest service: %w", err)
	}
	if digest := sha256.Sum256(document); answer.SHA256 != "" && !strings.EqualFold(answer.SHA256, hex.EncodeToString(digest[:])) {
		return nil, fmt.Errorf("nvidia: manifest %s came damaged", name)
	}
	return document, nil
}

// Status implements [Collateral] by OCSP.
func (s *Service) Status(ctx context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	request, err := statusRequest(cert, issuer)
	if err != nil {
		return nil, err
	}
	return s.do(ctx, http.MethodPost, address(s.Responder, "https://ocsp.ndis.nvidia.com")+"/", request)
}

// Keys implements [Collateral].
func (s *Service) Keys(ctx context.Context) ([]byte, error) {
	return s.do(ctx, http.MethodGet, address(s.Tokens, NVIDIAIssuer)+"/.well-known/jwks.json", nil)
}

func address(set, standard string) string {
	if set == "" {
		return standard
	}
	return strings.TrimSuffix(set, "/")
}

func (s *Service) do(ctx context.Context, method, address string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/ocsp-request")
	}
	if s.Key != "" {
		req.Header.Set("Authorization", "Bearer "+s.Key)
	}
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return collateral.Read(resp.Body)
	case http.StatusNotFound:
		err = ErrNotPublished
	default:
		err = fmt.Errorf("nvidia: status %s", resp.Status)
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	return nil, fmt.Errorf("%w: %s", err, req.URL.Host+req.URL.Path)
}
