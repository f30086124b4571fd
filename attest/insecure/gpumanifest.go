package insecure

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/opencocoon/cocoon/attest/nvidia"
)

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
	if document, err = a.signManifest(document, c.SignedInfo); err != nil {
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
func (a *GPUAuthority) signManifest(document string, change func(string) string) (string, error) {
	const end = "</SoftwareIdentity>"
	digest := sha512.Sum384([]byte(document))
	info := `><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:CanonicalizationMethod>` +
		`<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"></ds:SignatureMethod>` +
		`<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform>` +
		`<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:Transform></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"></ds:DigestMethod>` +
		`<ds:DigestValue>` + base64.StdEncoding.EncodeToString(digest[:]) + `</ds:DigestValue></ds:Reference></ds:SignedInfo>`
	if change != nil {
		info = change(info)
	}
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
