package insecure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// sgxProduct is the product number of the quoting enclave for enclaves.
const sgxProduct = 1

// EnclaveDraft is what a quote about an enclave is made of, for tests to
// change.
type EnclaveDraft struct {
	Header  tdx.Header
	About   tdx.Enclave // what the quote is about
	Quoting tdx.Enclave // who signs it
}

// Enclave is a simulated SGX enclave of this measurement, as the sealing
// service of a TDX host is one. edit may change its quote before it is signed;
// nil changes nothing.
func (a *Authority) Enclave(measurement [32]byte, svn uint16, reportData [64]byte, edit func(*EnclaveDraft)) ([]byte, error) {
	d := &EnclaveDraft{
		Header:  tdx.Header{Version: 3, KeyType: 2, QEVendor: qeVendor},
		About:   tdx.Enclave{MREnclave: measurement, ISVSVN: svn, ReportData: reportData},
		Quoting: quotingEnclave(),
	}
	d.About.Attributes[0] = 0x05 // initialised, 64 bit
	d.Quoting.ISVProdID = sgxProduct
	if edit != nil {
		edit(d)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := point(key)
	if err != nil {
		return nil, err
	}
	quote, err := encode(nil, d.Header, d.About)
	if err != nil {
		return nil, err
	}
	signature, err := sign(key, quote)
	if err != nil {
		return nil, err
	}
	certification, err := (&Machine{authority: a}).certification(public, d.Quoting)
	if err != nil {
		return nil, err
	}
	section := append(append(signature, public...), certification...)
	return append(binary.LittleEndian.AppendUint32(quote, uint32(len(section))), section...), nil
}
