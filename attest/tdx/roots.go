package tdx

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

//go:embed intel-root.pem
var intelRoot []byte

// IntelRootKey is the key id of Intel's SGX root CA, as [KeyID] computes it;
// the network's routers pin the same value (wire.md 3.7).
var IntelRootKey = [48]byte(mustHex("46e403bd34f05a3f2817ab9badcaacc7ffc98e0f261008cd30dae936cace18d5dcf58eef31463613de1570d516200993"))

// intelQESigner signs Intel's quoting enclaves.
var intelQESigner = [32]byte(mustHex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5"))

// intelQEVendor is the vendor of the quoting enclave in a quote's header.
var intelQEVendor = [16]byte(mustHex("939a7233f79c4ca9940a0db3957f0607"))

// Root returns Intel's SGX root CA, the only root of a production network.
func Root() *x509.Certificate {
	block, _ := pem.Decode(intelRoot)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic("tdx: embedded root: " + err.Error()) // a build that cannot be right
	}
	return root
}

// IntelRoots returns a pool that holds only Intel's root.
func IntelRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(Root())
	return pool
}

// KeyID names a root as routers do: SHA-384 over its public key as an
// uncompressed point.
func KeyID(root *x509.Certificate) (id [48]byte, err error) {
	key, ok := root.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return id, errors.New("tdx: root's key is not ECDSA")
	}
	point, err := key.Bytes()
	if err != nil {
		return id, fmt.Errorf("tdx: root's key: %w", err)
	}
	return sha512.Sum384(point), nil
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
