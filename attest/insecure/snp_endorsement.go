package insecure

import (
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/opencocoon/cocoon/attest/snp"
)

// endorsement is what AMD writes into the certificate of a chip's key, or into
// that of a cloud provider's.
func (a *SNPAuthority) endorsement() []pkix.Extension {
	name, tcb := string(a.product), snpTCB
	out := []pkix.Extension{SNPExtension(der(1), 1), SNPExtension(ia5(name), 2)}
	for component, n := range map[int]uint8{1: tcb.Bootloader, 2: tcb.TEE, 3: tcb.SNP, 8: tcb.Microcode} {
		out = append(out, SNPExtension(der(int(n)), 3, component))
	}
	if a.product == snp.Turin {
		out = append(out, SNPExtension(der(int(tcb.FMC)), 3, 9))
	}
	chip := a.chip()
	switch {
	case a.signer == snp.VLEK:
		return append(out, SNPExtension(ia5("CN=cloud.invalid"), 5))
	case a.product == snp.Turin:
		return append(out, SNPExtension(chip[:8], 4))
	}
	return append(out, SNPExtension(chip[:], 4))
}

// SNPExtension is one of AMD's, below 1.3.6.1.4.1.3704.1.
func SNPExtension(value []byte, tail ...int) pkix.Extension {
	return pkix.Extension{Id: append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, tail...), Value: value}
}

func der(n int) []byte {
	b, err := asn1.Marshal(n)
	if err != nil {
		panic(err) // of a number: it cannot
	}
	return b
}

func ia5(s string) []byte { return append([]byte{asn1.TagIA5String, byte(len(s))}, s...) }

// chip is the name of the one simulated chip of an authority: by its key.
func (a *SNPAuthority) chip() (id [64]byte) {
	public, err := x509.MarshalPKIXPublicKey(a.leaf.key.Public())
	if err != nil {
		panic(err) // of a key that was just made
	}
	id = sha512.Sum512(public)
	if a.product == snp.Turin {
		clear(id[8:])
	}
	return id
}
