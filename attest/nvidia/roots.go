package nvidia

import (
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"sync"
)

// The roots, as NVIDIA's own verifiers carry them
// (guest_tools/gpu_verifiers/local_gpu_verifier/src/verifier/certs of
// github.com/NVIDIA/nvtrust). Their SHA-256 fingerprints are in the tests.
var (
	//go:embed device-root.pem
	deviceRoot []byte
	//go:embed manifest-root.pem
	manifestRoot []byte
)

// DeviceRoot is NVIDIA's device identity CA: below it is every GPU.
func DeviceRoot() *x509.Certificate { return deviceCA() }

// ManifestRoot is NVIDIA's CA of those who sign reference manifests.
func ManifestRoot() *x509.Certificate { return manifestCA() }

var (
	deviceCA   = sync.OnceValue(func() *x509.Certificate { return embedded(deviceRoot) })
	manifestCA = sync.OnceValue(func() *x509.Certificate { return embedded(manifestRoot) })
)

func embedded(file []byte) *x509.Certificate {
	block, _ := pem.Decode(file)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic("nvidia: embedded root: " + err.Error()) // a build that cannot be right
	}
	return root
}
