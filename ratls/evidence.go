package ratls

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/attest"
)

// Extensions of ours, all critical. The content is the raw bytes: no wrapper,
// no length.
//
//	TDX   .1 quote                        .2 public key; never read
//	SNP   .100 report data of the key     .101 report    .102 chip's certificate, PEM
var (
	oidQuote      = oidOurs(1)
	oidClaims     = oidOurs(2)
	oidSNPData    = oidOurs(100)
	oidSNPReport  = oidOurs(101)
	oidSNPChipKey = oidOurs(102)
)

func oidOurs(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 12345, n} }

const snpReportSize = 1184

// evidenceExtensions are how a certificate for key carries evidence.
func evidenceExtensions(e attest.Evidence, key ed25519.PublicKey) ([]pkix.Extension, error) {
	if e.Raw == nil {
		return nil, nil
	}
	if e.Kind != attest.KindSEVSNP {
		return []pkix.Extension{
			{Id: oidQuote, Critical: true, Value: e.Raw},
			{Id: oidClaims, Critical: true, Value: key},
		}, nil
	}
	if len(e.Raw) <= snpReportSize {
		return nil, fmt.Errorf("SEV-SNP evidence of %d bytes, want a report of %d and its certificates", len(e.Raw), snpReportSize)
	}
	chip, _ := pem.Decode(e.Raw[snpReportSize:])
	if chip == nil {
		return nil, errors.New("SEV-SNP evidence without the chip's certificate")
	}
	data := attest.ReportData(key)
	return []pkix.Extension{
		{Id: oidSNPData, Critical: true, Value: data[:]},
		{Id: oidSNPReport, Critical: true, Value: e.Raw[:snpReportSize]},
		{Id: oidSNPChipKey, Critical: true, Value: pem.EncodeToMemory(chip)},
	}, nil
}

// extensions of ours that a certificate was seen to carry; nil is absent.
type extensions struct {
	quote                       []byte
	snpData, snpReport, snpChip []byte
}

// place is where the content of an extension of ours goes, nil for others.
func (x *extensions) place(id asn1.ObjectIdentifier) *[]byte {
	for _, p := range []struct {
		id asn1.ObjectIdentifier
		to *[]byte
	}{{oidQuote, &x.quote}, {oidSNPData, &x.snpData}, {oidSNPReport, &x.snpReport}, {oidSNPChipKey, &x.snpChip}} {
		if p.id.Equal(id) {
			return p.to
		}
	}
	return nil
}

// evidence puts together what the extensions carry for key.
func (x *extensions) evidence(key ed25519.PublicKey) (attest.Evidence, error) {
	snp := x.snpData != nil || x.snpReport != nil || x.snpChip != nil
	data := attest.ReportData(key)
	switch {
	case !snp:
		return attest.Quoted(x.quote), nil
	case x.quote != nil:
		return attest.Evidence{}, errors.New("certificate: evidence of two vendors, want one")
	case x.snpData == nil || x.snpReport == nil || x.snpChip == nil:
		return attest.Evidence{}, errors.New("certificate: a part of the SEV-SNP evidence is missing, want report data, report and the chip's certificate")
	case !bytes.Equal(x.snpData, data[:]):
		return attest.Evidence{}, errors.New("certificate: SEV-SNP report data is not that of the certificate's key")
	case len(x.snpReport) != snpReportSize:
		return attest.Evidence{}, fmt.Errorf("certificate: SEV-SNP report of %d bytes, want %d", len(x.snpReport), snpReportSize)
	}
	return attest.Evidence{Kind: attest.KindSEVSNP, Raw: append(x.snpReport, x.snpChip...)}, nil
}
