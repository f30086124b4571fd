package insecure

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/nvidia"
	"golang.org/x/crypto/ocsp"
)

// GPUCollateral is what a GPU authority says of its GPUs. The zero value
// publishes manifests of what they run and revokes nothing.
type GPUCollateral struct {
	Revoked []string // common names of certificates that were taken back
	Unknown []string // of those that the responder does not know
	// Until is when statuses end; zero: with the roots.
	Until time.Time
	// Document changes a manifest before it is signed, Signed afterwards.
	Document, Signed func(string) string
	// Missing leaves manifests out whose names contain it; empty: none.
	Missing string
}

// Publish serves other collateral from now on.
func (a *GPUAuthority) Publish(c GPUCollateral) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.published, a.answers = c, nil
}

// answer makes an answer once.
func (a *GPUAuthority) answer(to string, make func(GPUCollateral) ([]byte, error)) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, ok := a.answers[to]; ok {
		return b, nil
	}
	c := a.published
	if c.Until.IsZero() {
		c.Until = a.device.cert.NotAfter
	}
	b, err := make(c)
	if err != nil {
		return nil, err
	}
	if a.answers == nil {
		a.answers = map[string][]byte{}
	}
	a.answers[to] = b
	return b, nil
}

// Status implements nvidia.Collateral: the issuer itself answers.
func (a *GPUAuthority) Status(_ context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	return a.answer(fmt.Sprintf("status of %x by %s", cert.SerialNumber, issuer.Subject), func(c GPUCollateral) ([]byte, error) {
		return a.status(c, cert, issuer)
	})
}

func (a *GPUAuthority) status(c GPUCollateral, cert, issuer *x509.Certificate) ([]byte, error) {
	answer := ocsp.Response{
		Status: ocsp.Good, SerialNumber: cert.SerialNumber, IssuerHash: crypto.SHA384,
		ThisUpdate: a.device.cert.NotBefore, NextUpdate: c.Until,
	}
	for _, name := range c.Revoked {
		if strings.Contains(cert.Subject.CommonName, name) {
			answer.Status, answer.RevokedAt, answer.RevocationReason = ocsp.Revoked, a.device.cert.NotBefore, ocsp.KeyCompromise
		}
	}
	for _, name := range c.Unknown {
		if strings.Contains(cert.Subject.CommonName, name) {
			answer.Status = ocsp.Unknown
		}
	}
	for _, s := range a.signatories() {
		if s.cert.Equal(issuer) {
			return ocsp.CreateResponse(issuer, issuer, answer, s.key)
		}
	}
	return nil, fmt.Errorf("%w: %s is not of this authority", nvidia.ErrNotPublished, issuer.Subject)
}

// Keys implements nvidia.Collateral: there is no token service.
func (a *GPUAuthority) Keys(context.Context) ([]byte, error) { return nil, nvidia.ErrNotPublished }

// Manifest implements nvidia.Collateral for any version, as the name says.
func (a *GPUAuthority) Manifest(_ context.Context, name string) ([]byte, error) {
	return a.answer("manifest "+name, func(c GPUCollateral) ([]byte, error) { return a.write(c, name) })
}

func (a *GPUAuthority) write(c GPUCollateral, name string) ([]byte, error) {
	if c.Missing != "" && strings.Contains(name, c.Missing) {
		return nil, fmt.Errorf("%w: %s", nvidia.ErrNotPublished, name)
	}
	document, err := gpuManifest(name)
	if err != nil {
		return nil, err
	}
	if c.Document != nil {
		document = c.Document(document)
	}
	if document, err = a.signManifest(document); err != nil {
		return nil, err
	}
	if c.Signed != nil {
		document = c.Signed(document)
	}
	return []byte(document), nil
}

const (
	gpuTagNames = `xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd"`
	gpuHashes   = `xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"`
	gpuDS       = `xmlns:ds="http://www.w3.org/2000/09/xmldsig#"`
)

// gpuManifest writes what the driver or the firmware of that name measures, in
// canonical form.
func gpuManifest(name string) (string, error) {
	var version string
	first := 0
	if v, ok := strings.CutPrefix(name, "NV_GPU_DRIVER_"+gpuChip+"_"); ok {
		version = v
	} else if v, ok := strings.CutPrefix(name, "NV_GPU_VBIOS_TEST_0000_000_"); ok && len(v) == 10 {
		version, first = strings.Join([]string{v[:2], v[2:4], v[4:6], v[6:8], v[8:]}, "."), 1
	} else {
		return "", fmt.Errorf("%w: %s", nvidia.ErrNotPublished, name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<SoftwareIdentity %s %s name="%s">`+"\n", gpuTagNames, gpuHashes, gpuChip)
	fmt.Fprintf(&b, `  <Meta colloquialVersion="%s" edition="GPU" product="%s"></Meta>`+"\n  <Payload>\n", version, gpuChip)
	for i := first; i < gpuMeasurements; i += 2 {
		fmt.Fprintf(&b, `    <Resource active="True" alternatives="1" index="%d" name="Measurement_%d" size="48" type="Measurement" ns2:Hash0="%x"></Resource>`+"\n",
			i, i, gpuMeasurement(i, version, version))
	}
	b.WriteString("  </Payload>\n</SoftwareIdentity>")
	return b.String(), nil
}

// signManifest puts a signature at the end of a document that is in canonical
// form. What it signs is written out as the canonical form has it, with the
// namespaces of the elements around.
func (a *GPUAuthority) signManifest(document string) (string, error) {
	const end = "</SoftwareIdentity>"
	digest := sha512.Sum384([]byte(document))
	info := `><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:CanonicalizationMethod>` +
		`<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"></ds:SignatureMethod>` +
		`<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform>` +
		`<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:Transform></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"></ds:DigestMethod>` +
		`<ds:DigestValue>` + base64.StdEncoding.EncodeToString(digest[:]) + `</ds:DigestValue></ds:Reference></ds:SignedInfo>`
	signature, err := signRaw(a.sign.key, []byte("<ds:SignedInfo "+gpuTagNames+" "+gpuDS+" "+gpuHashes+info))
	if err != nil {
		return "", err
	}
	certs := ""
	for _, s := range []signatory{a.sign, a.values3, a.values, a.manifest} {
		certs += "<ds:X509Certificate>" + base64.StdEncoding.EncodeToString(s.cert.Raw) + "</ds:X509Certificate>"
	}
	return strings.TrimSuffix(document, end) + "<ds:Signature " + gpuDS + "><ds:SignedInfo" + info +
		"<ds:SignatureValue>" + base64.StdEncoding.EncodeToString(signature) + "</ds:SignatureValue><ds:KeyInfo><ds:X509Data>" + certs +
		"</ds:X509Data></ds:KeyInfo></ds:Signature>" + end, nil
}

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

// Chain returns the certificates of both chains, from their roots down.
func (a *GPUAuthority) Chain() (certs []*x509.Certificate) {
	for _, s := range a.signatories() {
		certs = append(certs, s.cert)
	}
	return certs
}
