package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
)

// Sizes in bytes.
const (
	ReportSize  = 1184
	signedSize  = 672     // what the signature covers: all before it
	MaxEvidence = 1 << 14 // report and three certificates have 8 kB
)

// Body is the signed part of a report, 672 bytes, little endian
// (ATTESTATION_REPORT in 56860, MSG_REPORT_RSP). All versions from 2 to 5 have
// this form; what an older version does not have is zero in it.
//
//	offset                     bytes   offset                     bytes
//	0x000 version                 4    0x140 report id               32
//	0x004 guest SVN               4    0x160 migration agent's       32
//	0x008 guest policy            8    0x180 reported TCB             8
//	0x010 family id              16    0x188 family, model, stepping  3  since 3
//	0x020 image id               16    0x18b reserved                21
//	0x030 VMPL                    4    0x1a0 chip id                 64
//	0x034 signature algorithm     4    0x1e0 committed TCB            8
//	0x038 current TCB             8    0x1e8 current version          3, 1 reserved
//	0x040 platform info           8    0x1ec committed version        3, 1 reserved
//	0x048 key info                4    0x1f0 launch TCB               8
//	0x04c reserved                4    0x1f8 launch mitigations       8  since 5
//	0x050 report data            64    0x200 current mitigations      8  since 5
//	0x090 measurement            48    0x208 reserved               152
//	0x0c0 host data              32    0x2a0 signature              512
//	0x0e0 id key digest          48          R 72, S 72, reserved 368
//	0x110 author key digest      48
type Body struct {
	Version            uint32
	GuestSVN           uint32
	Policy             GuestPolicy
	FamilyID, ImageID  [16]byte // of the id block, if the guest was launched with one
	VMPL               uint32   // the privilege level that asked for the report; 0 is the highest
	SignatureAlgorithm uint32   // 1: ECDSA P-384 with SHA-384
	CurrentTCB         TCB
	PlatformInfo       PlatformInfo
	KeyInfo            KeyInfo
	Reserved1          [4]byte
	ReportData         [64]byte // chosen by the guest
	Measurement        [48]byte // of memory and processor state at launch
	HostData           [32]byte // chosen by the host at launch
	IDKeyDigest        [48]byte // SHA-384 of the key that signed the id block, or zeros
	AuthorKeyDigest    [48]byte // of the key that signed the id key, or zeros
	ReportID           [32]byte
	ReportIDMA         [32]byte // of the guest's migration agent; all ones: it has none
	ReportedTCB        TCB      // the host's choice, at most the committed one; the VCEK is derived from it
	CPU                CPU
	Reserved2          [21]byte
	ChipID             [64]byte // zeros where the host masks it, or with a VLEK
	CommittedTCB       TCB      // below which the host cannot roll back
	CurrentVersion     Version
	Reserved3          byte
	CommittedVersion   Version
	Reserved4          byte
	LaunchTCB          TCB // current when the guest was launched
	LaunchMitigations  uint64
	CurrentMitigations uint64
	Reserved5          [152]byte
}

// CPU names a processor model by family, model and stepping as CPUID gives
// them, extended parts added in. Zeros in a report of version 2.
type CPU struct{ Family, Model, Stepping uint8 }

// Version is a version of the firmware of the secure processor.
type Version struct{ Build, Minor, Major uint8 }

// String is the version as AMD writes it.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Build) }

// Signature is ECDSA's two numbers, little endian, with room to spare.
type Signature struct {
	R, S     [72]byte
	Reserved [368]byte
}

// Report is a parsed report. Nothing in it has been verified.
type Report struct {
	Body
	Signature Signature

	signed []byte
}

// ParseReport takes a report apart, which must have exactly ReportSize bytes.
// It keeps raw, which must not change afterwards. What is in the fields is for
// the checks of a [Verifier] to judge.
func ParseReport(raw []byte) (*Report, error) {
	if len(raw) != ReportSize {
		return nil, fmt.Errorf("snp: report of %d bytes, want %d", len(raw), ReportSize)
	}
	r := &Report{signed: raw[:signedSize]}
	if _, err := binary.Decode(raw, binary.LittleEndian, &r.Body); err != nil {
		return nil, fmt.Errorf("snp: report: %w", err)
	}
	if _, err := binary.Decode(raw[signedSize:], binary.LittleEndian, &r.Signature); err != nil {
		return nil, fmt.Errorf("snp: signature: %w", err)
	}
	return r, nil
}

// Evidence is a report with the certificates that came with it. Nothing in it
// has been verified.
type Evidence struct {
	Report *Report
	// Certificates are the signing key's own (VCEK or VLEK) and then, if the
	// peer sent them, the intermediate (ASK or ASVK) and the root (ARK). Empty
	// if it sent none.
	Certificates []*x509.Certificate
}

// Parse takes evidence apart: a report, and at most three certificates in PEM
// with nothing but white space between and after them. It keeps evidence, which
// must not change afterwards.
func Parse(evidence []byte) (*Evidence, error) {
	if len(evidence) < ReportSize {
		return nil, fmt.Errorf("snp: %d bytes, want a report of %d", len(evidence), ReportSize)
	}
	r, err := ParseReport(evidence[:ReportSize])
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(evidence[ReportSize:], 3)
	if err != nil {
		return nil, err
	}
	return &Evidence{r, certs}, nil
}

var errNotCertificates = errors.New("snp: bytes that are no certificate in PEM")

// parseCertificates reads at most so many certificates in PEM. encoding/pem
// skips what it does not understand; here that is an error, or two readers
// could see different chains in the same bytes.
func parseCertificates(b []byte, atMost int) (certs []*x509.Certificate, err error) {
	for b = bytes.TrimSpace(b); len(b) > 0; b = bytes.TrimSpace(b) {
		if !bytes.HasPrefix(b, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errNotCertificates
		}
		block, rest := pem.Decode(b)
		if block == nil || len(block.Headers) > 0 || bytes.Count(b[:len(b)-len(rest)], []byte("-----BEGIN ")) != 1 {
			return nil, errNotCertificates
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("snp: certificate %d: %w", len(certs), err)
		}
		if certs = append(certs, c); len(certs) > atMost {
			return nil, fmt.Errorf("snp: more than %d certificates", atMost)
		}
		b = rest
	}
	return certs, nil
}

// Join is the inverse of Parse: evidence out of a report and certificates.
func Join(report []byte, certs ...*x509.Certificate) []byte {
	out := bytes.Clone(report)
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
