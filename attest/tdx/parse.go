// Package tdx reads and verifies Intel TDX quotes.
//
// [Verifier] does both. It takes a quote apart with [Parse], which never
// trusts a length in it, follows the signatures from Intel's root down to the
// guest's registers, one named check for each step, and compares the platform
// with what Intel publishes about it, its [Collateral]. Simulated quotes go
// the same way; only the root and the source of collateral differ. Whether the
// machine is one we want is not asked here: that is package attest. A guest
// gets quotes about itself from a [Guest], and explains its registers with an
// [EventLog].
//
// Layouts and rules: Intel TDX DCAP Quoting Library API, appendix A; Intel
// TDX Module Base Architecture Specification (TDREPORT, ATTRIBUTES, XFAM);
// Intel SGX and TDX Provisioning Certification Service API, version 4.
package tdx

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	headerSize  = 48
	body10Size  = 584 // TD 1.0
	body15Size  = 648 // TD 1.5: 1.0, then a second TCB SVN (16) and MRSERVICETD (48)
	reportSize  = 384 // the quoting enclave's SGX report
	teeTDX      = 0x81
	keyTypeP256 = 2
)

// Header begins every quote.
type Header struct {
	Version  uint16   // 4 or 5
	KeyType  uint16   // 2: ECDSA P-256
	TEEType  uint32   // 0x81: TDX
	SVNs     [4]byte  // of the quoting and certification enclaves; not meaningful for TDX
	QEVendor [16]byte // who wrote the quoting enclave
	UserData [20]byte
}

// Body is the part of a quote that describes the guest, 584 bytes.
//
//	offset in body                       offset in body
//	  0 TCBSVN          16                232 MROwner         48
//	 16 MRSeam          48                280 MROwnerConfig   48
//	 64 MRSignerSeam    48                328 RTMR[0..3]  4 × 48
//	112 SeamAttributes   8                520 ReportData      64
//	120 TDAttributes     8
//	128 XFAM             8
//	136 MRTD            48
//	184 MRConfigID      48
type Body struct {
	TCBSVN         [16]byte
	MRSeam         [48]byte // the TDX module; Intel's signer is all zeros
	MRSignerSeam   [48]byte
	SeamAttributes uint64
	TDAttributes   uint64
	XFAM           uint64
	MRTD           [48]byte // initial memory: the firmware
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte // extended while booting
	ReportData     [64]byte    // chosen by the guest
}

// Body15 is what a body of TD 1.5 has behind that of 1.0.
type Body15 struct {
	TCBSVN2     [16]byte // of the module that runs now; TCBSVN is that which built the guest
	MRServiceTD [48]byte // binds service TDs, such as one that migrates the guest; zero: none
}

// Enclave is the SGX report of the quoting enclave that signed the quote.
type Enclave struct {
	CPUSVN     [16]byte
	MiscSelect uint32
	_          [28]byte
	Attributes [16]byte
	MREnclave  [32]byte
	_          [32]byte
	MRSigner   [32]byte
	_          [96]byte
	ISVProdID  uint16
	ISVSVN     uint16
	_          [60]byte
	ReportData [64]byte
}

// Quote is a parsed quote. Nothing in it has been verified.
type Quote struct {
	Header  Header
	Body    Body
	Body15  *Body15 // nil for a guest of TD 1.0
	Enclave Enclave

	signed             []byte // header and body
	signature, key     []byte // of signed: r, s; and who signed: x, y
	report             []byte // Enclave as it was signed
	reportSignature    []byte // by the PCK certificate's key
	authenticationData []byte // bound by the report, beside key
	chain              []byte // PEM: PCK certificate, intermediate, root
}

// Parse takes a quote of version 4 or 5 apart. It keeps parts of raw, which
// must not change afterwards. Padding with zeros behind the quote is accepted: the
// guest driver returns it.
//
//	version 4                    version 5
//	  0 header         48          0 header            48
//	 48 body          584         48 body type (2, 3)   2
//	632 length          4         50 body size          4
//	636 signature data            54 body, length, signature data
func Parse(raw []byte) (*Quote, error) {
	q := &Quote{}
	r := reader{b: raw}
	r.decode("header", headerSize, &q.Header)
	size := q.bodySize(&r)
	body := r.take("body", size)
	if r.err != nil {
		return nil, r.err
	}
	q.signed = raw[:len(raw)-len(r.b)]
	b := reader{b: body}
	b.decode("body", body10Size, &q.Body)
	if size == body15Size {
		q.Body15 = &Body15{}
		b.decode("body of TD 1.5", body15Size-body10Size, q.Body15)
	}
	signed := reader{b: r.take("signature data", r.u32("length of signature data"))}
	if r.err != nil {
		return nil, r.err
	}
	if len(bytes.Trim(r.b, "\x00")) != 0 {
		return nil, fmt.Errorf("tdx: %d bytes behind the signature data, want none or zeros", len(r.b))
	}
	q.parseSignature(&signed)
	return q, signed.err
}

// bodySize checks the header and says how many bytes of body follow.
func (q *Quote) bodySize(r *reader) int {
	h := q.Header
	switch {
	case r.err != nil:
	case h.TEEType != teeTDX:
		r.fail("TEE type is %#x, want %#x (TDX)", h.TEEType, teeTDX)
	case h.KeyType != keyTypeP256:
		r.fail("attestation key type is %d, want %d (ECDSA P-256)", h.KeyType, keyTypeP256)
	case h.Version == 4:
		return body10Size
	case h.Version == 5:
		return q.bodySizeV5(r)
	default:
		r.fail("quote version is %d, want 4 or 5", h.Version)
	}
	return 0
}

func (q *Quote) bodySizeV5(r *reader) int {
	kind, size := r.u16("body type"), r.u32("body size")
	if want := map[int]int{2: body10Size, 3: body15Size}[kind]; r.err == nil && (want == 0 || size != want) {
		r.fail("body of type %d has %d bytes, want type 2 with %d or type 3 with %d", kind, size, body10Size, body15Size)
	}
	return size
}

// parseSignature reads what follows the body:
//
//	  0 signature      64      134 enclave report       384
//	 64 public key     64      518 its signature         64
//	128 type 6          2      582 length, auth data  2 + n
//	130 size            4          type 5, size, certificates
//
// Both sizes must fill what is left.
func (q *Quote) parseSignature(r *reader) {
	both := r.take("signature and key", 128)
	r.container("certification data", 6)
	q.report = r.take("enclave report", reportSize)
	q.reportSignature = r.take("enclave report's signature", 64)
	q.authenticationData = r.take("authentication data", r.u16("length of authentication data"))
	r.container("certificates", 5)
	q.chain = r.b
	if r.err == nil {
		q.signature, q.key = both[:64], both[64:]
		report := reader{b: q.report}
		report.decode("enclave report", reportSize, &q.Enclave)
	}
}

// reader takes pieces from the front of b; the first failure sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("tdx: "+format, args...)
	}
}

func (r *reader) take(what string, n int) []byte {
	if r.err == nil && uint(n) > uint(len(r.b)) {
		r.fail("%s needs %d bytes, %d are left", what, n, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) u16(what string) int {
	if b := r.take(what, 2); b != nil {
		return int(binary.LittleEndian.Uint16(b))
	}
	return 0
}

func (r *reader) u32(what string) int {
	if b := r.take(what, 4); b != nil {
		return int(binary.LittleEndian.Uint32(b))
	}
	return 0
}

func (r *reader) decode(what string, n int, into any) {
	if b := r.take(what, n); b != nil {
		if _, err := binary.Decode(b, binary.LittleEndian, into); err != nil {
			r.fail("%s: %v", what, err)
		}
	}
}

// container reads a type and a size that must span the rest.
func (r *reader) container(what string, kind int) {
	got, size := r.u16("type of "+what), r.u32("size of "+what)
	if r.err == nil && (got != kind || size != len(r.b)) {
		r.fail("%s has type %d and size %d, want type %d and the %d bytes left", what, got, size, kind, len(r.b))
	}
}
