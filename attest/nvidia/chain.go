package nvidia

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A GPU's chain, by the names of an H100's:
//
//	0 GH100 A01 GSP FMC LF           the key that signs reports; made by the GPU for its firmware
//	1 GH100 A01 GSP BROM             the GPU's own, from the factory
//	2 NVIDIA GH100 Provisioner ICA 1
//	3 NVIDIA GH100 Identity
//	4 NVIDIA Device Identity CA      the root
const deviceChain = 5

var (
	oidDMTFName     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 412, 274, 1}  // DSP0274: manufacturer:product:serial
	oidTCBInfo      = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1, 1}         // TCG DICE: TcbInfo
	oidCompositeID  = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}            // older; what Hopper writes
	oidSHA384       = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2} //
	oidSubjectNames = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// Device is what a GPU's certificates say. It means something only once their
// chain is verified.
type Device struct {
	Chip string // "GH100"
	// Platform names this one GPU for ever: the serial number, in hex, of the
	// certificate that NVIDIA issued to it in the factory.
	Platform string
	Model    string           // of that certificate, as NVIDIA's service calls hardware
	Serial   string           // the GPU's own word, in the first certificate
	FWID     [digestSize]byte // digest of the firmware that holds the key
	Flags    byte             // TCG DICE operational flags, first byte; 0 if the certificate has none
	certs    []*x509.Certificate
}

// Operational flags of TCG DICE Attestation Architecture 6.1.1 that a
// production GPU must not show: not secure, recovery, debug.
const badFlags = 0x70

// ParseChain reads the certificates of a GPU, its own first.
func ParseChain(text []byte) (*Device, error) {
	certs, err := parsePEM(text, deviceChain)
	if err != nil {
		return nil, err
	}
	d := &Device{certs: certs, Platform: hex.EncodeToString(certs[1].SerialNumber.Bytes()), Model: certs[1].Subject.CommonName}
	d.Chip, _, _ = strings.Cut(certs[0].Subject.CommonName, " ")
	if err := d.readName(); err != nil {
		return nil, err
	}
	return d, d.readFirmware()
}

// parsePEM reads exactly n certificates with nothing but space around them.
func parsePEM(text []byte, n int) (certs []*x509.Certificate, err error) {
	for rest := bytes.Trim(text, " \r\n\t\x00"); len(rest) > 0; rest = bytes.TrimLeft(rest, " \r\n\t") {
		if len(certs) == n || !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, fmt.Errorf("nvidia: certificates: something else after %d of them, want %d in PEM", len(certs), n)
		}
		block, after := pem.Decode(rest)
		if block == nil || len(block.Headers) > 0 {
			return nil, fmt.Errorf("nvidia: certificate %d is not PEM", len(certs))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("nvidia: certificate %d: %w", len(certs), err)
		}
		certs, rest = append(certs, c), after
	}
	if len(certs) != n {
		return nil, fmt.Errorf("nvidia: chain of %d certificates, want %d", len(certs), n)
	}
	return certs, nil
}

func extension(c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}

// readName reads manufacturer, chip and serial number from the alternative
// name of the first certificate.
func (d *Device) readName() error {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(extension(d.certs[0], oidSubjectNames), &names); err != nil || len(rest) > 0 || len(names) != 1 {
		return errors.New("nvidia: first certificate has no alternative name, want one")
	}
	var id asn1.ObjectIdentifier
	var name string
	rest, err := asn1.Unmarshal(names[0].Bytes, &id)
	if err == nil {
		rest, err = asn1.UnmarshalWithParams(rest, &name, "explicit,tag:0,utf8")
	}
	parts := strings.Split(name, ":")
	if err != nil || len(rest) > 0 || !id.Equal(oidDMTFName) || len(parts) != 3 || parts[0] != "NVIDIA" {
		return fmt.Errorf("nvidia: first certificate is of %q, want NVIDIA:chip:serial", name)
	}
	if parts[1] != d.Chip {
		return fmt.Errorf("nvidia: first certificate is named %s and is of a %s", d.certs[0].Subject.CommonName, parts[1])
	}
	d.Serial = parts[2]
	return nil
}

type fwid struct {
	Algorithm asn1.ObjectIdentifier
	Digest    []byte
}

// readFirmware finds the digest of the firmware to which the GPU's factory key
// issued the first certificate.
func (d *Device) readFirmware() error {
	var id fwid
	if value := extension(d.certs[0], oidTCBInfo); value != nil {
		var info struct {
			Vendor     string         `asn1:"optional,tag:0,utf8"`
			Model      string         `asn1:"optional,tag:1,utf8"`
			Version    string         `asn1:"optional,tag:2,utf8"`
			SVN        int            `asn1:"optional,tag:3"`
			Layer      int            `asn1:"optional,tag:4"`
			Index      int            `asn1:"optional,tag:5"`
			FWIDs      []fwid         `asn1:"optional,tag:6"`
			Flags      asn1.BitString `asn1:"optional,tag:7"`
			VendorInfo []byte         `asn1:"optional,tag:8"`
			Type       []byte         `asn1:"optional,tag:9"`
		}
		if rest, err := asn1.Unmarshal(value, &info); err != nil || len(rest) > 0 || len(info.FWIDs) == 0 {
			return fmt.Errorf("nvidia: TcbInfo of the first certificate: %v, %d firmware ids", err, len(info.FWIDs))
		}
		id = info.FWIDs[0]
		if len(info.Flags.Bytes) > 0 {
			d.Flags = info.Flags.Bytes[0]
		}
	} else {
		var composite struct {
			Version int
			Key     asn1.RawValue // of the GPU
			FWID    fwid
		}
		if rest, err := asn1.Unmarshal(extension(d.certs[0], oidCompositeID), &composite); err != nil || len(rest) > 0 {
			return fmt.Errorf("nvidia: first certificate names no firmware: %v", err)
		}
		id = composite.FWID
	}
	if !id.Algorithm.Equal(oidSHA384) || len(id.Digest) != digestSize {
		return fmt.Errorf("nvidia: firmware id of %d bytes by algorithm %s, want SHA-384", len(id.Digest), id.Algorithm)
	}
	d.FWID = [digestSize]byte(id.Digest)
	return nil
}

// checkChip tells whether all certificates are of one kind of chip. NVIDIA's
// own word is the name of the authority below the root.
func (d *Device) checkChip() error {
	if got, want := d.certs[3].Subject.CommonName, "NVIDIA "+d.Chip+" Identity"; got != want {
		return fmt.Errorf("a %s below the authority %q", d.Chip, got)
	}
	if !strings.HasPrefix(d.Model, d.Chip+" ") {
		return fmt.Errorf("a %s with the factory's certificate of a %q", d.Chip, d.Model)
	}
	return nil
}

// verifyChain checks that each certificate is signed by the next one, which
// may do so, and that the last is root itself. Dates are left to validAt.
func verifyChain(certs []*x509.Certificate, root *x509.Certificate) error {
	last := len(certs) - 1
	if !certs[last].Equal(root) {
		return fmt.Errorf("chain ends at %q, want the trusted root %q", certs[last].Subject, root.Subject)
	}
	for i, c := range certs {
		if err := verifyLink(certs, i); err != nil {
			return fmt.Errorf("certificate %d (%s): %w", i, c.Subject.CommonName, err)
		}
	}
	if certs[0].IsCA || certs[0].KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("first certificate may not sign data")
	}
	return nil
}

func verifyLink(certs []*x509.Certificate, i int) error {
	c, issuer := certs[i], certs[min(i+1, len(certs)-1)]
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok || key.Curve != elliptic.P384():
		return errors.New("key is not P-384")
	case c.SignatureAlgorithm != x509.ECDSAWithSHA384:
		return fmt.Errorf("signed by %s, want ECDSA with SHA-384", c.SignatureAlgorithm)
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("critical extension %s", c.UnhandledCriticalExtensions[0])
	case !bytes.Equal(c.RawIssuer, issuer.RawSubject):
		return fmt.Errorf("issuer is %q, want %q", c.Issuer, issuer.Subject)
	case len(c.AuthorityKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId):
		return fmt.Errorf("issuer's key is %x, want %x", c.AuthorityKeyId, issuer.SubjectKeyId)
	case issuer.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("issuer may not sign certificates")
	// Between the issuer at i+1 and the first certificate are i others.
	case (issuer.MaxPathLen > 0 || issuer.MaxPathLenZero) && issuer != c && i > issuer.MaxPathLen:
		return fmt.Errorf("issuer may stand above %d authorities, not %d", issuer.MaxPathLen, i)
	}
	return c.CheckSignatureFrom(issuer) // version 3, a CA, the signature
}

// validAt checks the dates of certificates.
func validAt(certs []*x509.Certificate, now time.Time) error {
	for i, c := range certs {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return fmt.Errorf("certificate %d (%s) is valid from %s to %s", i, c.Subject.CommonName, day(c.NotBefore), day(c.NotAfter))
		}
	}
	return nil
}

// endOf is when the first of certificates ends.
func endOf(certs []*x509.Certificate) (end time.Time) {
	for _, c := range certs {
		end = earlier(end, c.NotAfter)
	}
	return end
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
