package snp

import (
	"crypto/x509"
	_ "embed"
)

// AMD's certificates, one file for each product: root (ARK), intermediate for
// chips (ASK) and for cloud providers (ASVK). roots/README.md says where they
// come from.
var (
	//go:embed roots/milan.pem
	milanPEM []byte
	//go:embed roots/genoa.pem
	genoaPEM []byte
	//go:embed roots/turin.pem
	turinPEM []byte
)

var embedded = map[Product][]*x509.Certificate{
	Milan: mustParse(milanPEM), Genoa: mustParse(genoaPEM), Turin: mustParse(turinPEM),
}

func mustParse(b []byte) []*x509.Certificate {
	certs, err := parseCertificates(b, 3)
	if err != nil || len(certs) != 3 {
		panic("snp: embedded certificates cannot be read") // a build that cannot be right
	}
	return certs
}

// Root returns AMD's root of a product, the ARK; nil for no product of ours.
func Root(p Product) *x509.Certificate {
	if certs := embedded[p]; certs != nil {
		return certs[0]
	}
	return nil
}

// AMDRoots are the roots of a production network.
func AMDRoots() []*x509.Certificate {
	var roots []*x509.Certificate
	for _, p := range Products {
		roots = append(roots, Root(p))
	}
	return roots
}

// intermediates are AMD's, for peers that send the first certificate alone, as
// the network's do. They are no roots: each must lead to one.
func intermediates() (certs []*x509.Certificate) {
	for _, p := range Products {
		certs = append(certs, embedded[p][1:]...)
	}
	return certs
}
