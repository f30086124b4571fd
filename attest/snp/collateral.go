package snp

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Collateral gives what AMD publishes: certificates of chips, intermediates,
// revocation lists.
//
// Get must answer for the paths of AMD's Key Distribution Service, as CRLPath,
// ChainPath and VCEKPath give them, whatever it really asks; must honour ctx;
// and may be called from several goroutines. What it returns need not be
// authentic: it is signed, and the verifier checks.
type Collateral interface {
	Get(ctx context.Context, path string) ([]byte, error)
}

// CRLPath is the list of intermediates that a product's root takes back, of
// those for chips or those for cloud providers.
func CRLPath(p Product, s Signer) string { return branch(p, s) + "/crl" }

// ChainPath is the product's intermediate and root, in PEM.
func ChainPath(p Product, s Signer) string { return branch(p, s) + "/cert_chain" }

// VCEKPath is the certificate of one chip's key for one TCB, the reported one.
// Turin's chips have short names and one component more (57230, chapter 4).
func VCEKPath(p Product, chip [64]byte, tcb Parts) string {
	name, query := hex.EncodeToString(chip[:]), ""
	if p == Turin {
		name, query = name[:16], fmt.Sprintf("fmcSPL=%02d&", tcb.FMC)
	}
	query += fmt.Sprintf("blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", tcb.Bootloader, tcb.TEE, tcb.SNP, tcb.Microcode)
	return branch(p, VCEK) + "/" + name + "?" + query
}

func branch(p Product, s Signer) string {
	return fmt.Sprintf("/%s/v1/%s", strings.ToLower(s.String()), p)
}

// expiry reads out of an answer when it ends. An answer that is none is an
// error.
func expiry(path string, body []byte) (first time.Time, err error) {
	if strings.HasSuffix(path, "/crl") {
		list, err := parseCRL(body)
		if err != nil {
			return first, err
		}
		return list.NextUpdate, nil
	}
	certs, err := readCertificates(body)
	for _, c := range certs {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first, err
}

// readCertificates reads one certificate in DER, or some in PEM.
func readCertificates(body []byte) ([]*x509.Certificate, error) {
	if c, err := x509.ParseCertificate(body); err == nil {
		return []*x509.Certificate{c}, nil
	}
	certs, err := parseCertificates(body, 3)
	if err == nil && len(certs) == 0 {
		err = errNotCertificates
	}
	return certs, err
}

// parseCRL reads a revocation list in DER or PEM.
func parseCRL(body []byte) (*x509.RevocationList, error) {
	if block, rest := pem.Decode(body); block != nil && len(bytes.TrimSpace(rest)) == 0 {
		body = block.Bytes
	}
	list, err := x509.ParseRevocationList(body)
	if err != nil {
		return nil, fmt.Errorf("snp: revocation list: %w", err)
	}
	return list, nil
}

// leaf is the signing key's certificate, from the evidence or from src. A
// report of version 2 does not name its product; its chip's name and the
// answers tell.
func (e *Evidence) leaf(ctx context.Context, src Collateral) (*x509.Certificate, error) {
	r := e.Report
	switch {
	case len(e.Certificates) > 0:
		return e.Certificates[0], nil
	case r.KeyInfo.Signer() != VCEK || r.ChipID == [64]byte{}:
		return nil, errors.New("snp: evidence without a certificate names no chip to ask for")
	case src == nil:
		return nil, &UnavailableError{errors.New("evidence without a certificate, and no collateral configured")}
	}
	candidates := []Product{Milan, Genoa}
	if p, err := r.CPU.Product(); err == nil {
		candidates = []Product{p}
	} else if bytes.Equal(r.ChipID[8:], make([]byte, 56)) {
		candidates = []Product{Turin}
	}
	var last error
	for _, p := range candidates {
		body, err := src.Get(ctx, VCEKPath(p, r.ChipID, r.ReportedTCB.Parts(p)))
		if err != nil {
			last = &UnavailableError{err}
			continue
		}
		certs, err := readCertificates(body)
		if err == nil {
			return certs[0], nil
		}
		last = err
	}
	return nil, last
}
