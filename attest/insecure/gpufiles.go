package insecure

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencocoon/cocoon/attest/nvidia"
)

// Names of the files that GPUAuthority.Save writes. GPURootsFile and
// GPUCollateralDir are all that a node needs which only judges.
const (
	GPUAuthorityFile = "gpu-authority.pem"
	GPURootsFile     = "gpu-roots.pem"
	GPUCollateralDir = "gpu-collateral"
)

// Save writes the authority to a directory that exists, with the collateral of
// the GPUs of those names.
func (a *GPUAuthority) Save(dir string, names ...string) error {
	var secret bytes.Buffer
	for _, s := range a.signatories() {
		der, err := x509.MarshalPKCS8PrivateKey(s.key)
		if err != nil {
			return err
		}
		pem.Encode(&secret, &pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
		pem.Encode(&secret, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	var gpus []GPU
	for _, name := range names {
		gpus = append(gpus, GPU{Name: name})
		b, err := a.board(name)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(b.key)
		if err != nil {
			return err
		}
		pem.Encode(&secret, &pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"GPU": strconv.Quote(name)}, Bytes: b.cert.Raw})
		pem.Encode(&secret, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	if err := os.WriteFile(filepath.Join(dir, GPUAuthorityFile), secret.Bytes(), 0o600); err != nil {
		return err
	}
	var roots bytes.Buffer
	for _, s := range []signatory{a.device, a.manifest} {
		pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
	}
	if err := os.WriteFile(filepath.Join(dir, GPURootsFile), roots.Bytes(), 0o644); err != nil {
		return err
	}
	path := filepath.Join(dir, GPUCollateralDir)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	evidence, err := a.Guest(gpus...).Evidence(context.Background(), [32]byte{})
	if err != nil {
		return err
	}
	return nvidia.Save(context.Background(), a, evidence, path)
}

// LoadGPUAuthority reads what Save wrote, with the GPUs that it named.
func LoadGPUAuthority(dir string) (*GPUAuthority, error) {
	rest, err := os.ReadFile(filepath.Join(dir, GPUAuthorityFile))
	if err != nil {
		return nil, err
	}
	a := &GPUAuthority{boards: map[string]*board{}}
	for i, s := range a.signatories() {
		if rest, err = s.read(rest); err != nil {
			return nil, fmt.Errorf("insecure: %s in %s: %w", gpuNames[i], GPUAuthorityFile, err)
		}
	}
	for len(rest) > 0 {
		block, _ := pem.Decode(rest)
		b := &board{}
		if rest, err = b.read(rest); err != nil {
			return nil, fmt.Errorf("insecure: GPU in %s: %w", GPUAuthorityFile, err)
		}
		name, err := strconv.Unquote(block.Headers["GPU"])
		if err != nil {
			return nil, fmt.Errorf("insecure: GPU without a name in %s", GPUAuthorityFile)
		}
		b.serial = gpuSerial(name)
		a.boards[name] = b
	}
	return a, nil
}

// LoadGPUAnchors reads the roots and the collateral of a saved authority, for a
// verifier's Test.
func LoadGPUAnchors(dir string) (*nvidia.Anchors, error) {
	rest, err := os.ReadFile(filepath.Join(dir, GPURootsFile))
	if err != nil {
		return nil, err
	}
	var roots []*x509.Certificate
	for range 2 {
		block, after := pem.Decode(rest)
		if block == nil {
			return nil, errors.New("insecure: " + GPURootsFile + " does not hold two certificates")
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("insecure: %s: %w", GPURootsFile, err)
		}
		roots, rest = append(roots, root), after
	}
	return &nvidia.Anchors{Device: roots[0], Manifest: roots[1], Collateral: nvidia.Dir(filepath.Join(dir, GPUCollateralDir))}, nil
}
