package tdx

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Registers of an enclave.
const (
	RegisterMREnclave  = "mrenclave"
	RegisterMRSigner   = "mrsigner"
	RegisterProduct    = "isvprodid"  // as a number, most significant byte first
	RegisterSVN        = "isvsvn"     // so too
	RegisterAttributes = "attributes" // of the enclave
)

// CheckEnclaveAttributes is the check that the enclave was started as enclaves
// are.
const CheckEnclaveAttributes = "enclave attributes"

const (
	sgxInitialised = 1 << 0 // bits of an enclave's attributes
	sgxDebug       = 1 << 1
	sgx64Bit       = 1 << 2
	sgxProduct     = 1 // ISVPRODID of Intel's quoting enclave for enclaves
	tdProduct      = 2 // and of that for guests
)

// EnclaveQuote is a parsed quote about an SGX enclave, such as the sealing
// service that a host of TDX guests runs. Nothing in it has been verified.
type EnclaveQuote struct {
	Quote         // header, signatures and certificates; without a guest
	About Enclave // the enclave that the quote is about; Quote.Enclave signed it
}

// ParseEnclave takes a quote of version 3 apart, as Parse does one about a
// guest:
//
//	 0 header   48     432 length             4
//	48 enclave 384     436 signature, key, enclave report … as in a guest's
//	                       quote, without type 6 and its size before the report
func ParseEnclave(raw []byte) (*EnclaveQuote, error) {
	q := &EnclaveQuote{}
	r := reader{b: raw}
	r.decode("header", headerSize, &q.Header)
	if h := q.Header; r.err == nil && (h.Version != 3 || h.KeyType != keyTypeP256 || h.TEEType != 0) {
		r.fail("quote of version %d, key type %d, TEE type %#x, want version 3, key type 2 (ECDSA P-256) and TEE type 0 (SGX)", h.Version, h.KeyType, h.TEEType)
	}
	r.decode("enclave", reportSize, &q.About)
	if r.err != nil {
		return nil, r.err
	}
	q.signed = raw[:headerSize+reportSize]
	if n := r.u32("length of signature data"); r.err == nil && n != len(r.b) {
		r.fail("signature data of %d bytes, %d are left", n, len(r.b))
	}
	both := r.take("signature and key", 128)
	q.parseReport(&r)
	if r.err != nil {
		return nil, r.err
	}
	q.signature, q.key = both[:64], both[64:]
	return q, nil
}

// VerifyEnclave judges a quote about an SGX enclave like one about a guest.
// Which enclave is wanted, the caller decides by the registers.
func (v *Verifier) VerifyEnclave(ctx context.Context, raw []byte, now time.Time) *evidence.Finding {
	f := &evidence.Finding{Kind: evidence.SGX, Status: Unknown, Reason: "no collateral configured"}
	q, err := ParseEnclave(raw)
	if !f.Checks.Passed(evidence.CheckFormat, err, "an SGX quote") {
		return f
	}
	e := &q.About
	f.ReportData, f.Image, f.Registers = e.ReportData, evidence.HashOf(e.MREnclave[:]), e.registers()
	i := &inquiry{Finding: f, quote: &q.Quote, now: now}
	i.header()
	sound := v.certificates(i)
	if i.chain.pck != nil {
		sound = i.signatures(sgxProduct) && sound
	}
	f.Checks.Add(evidence.CheckDebug, e.Attributes[0]&sgxDebug == 0, fmt.Sprintf("attributes %x", e.Attributes[:8]), "off: the host cannot look inside")
	f.Checks.Add(CheckEnclaveAttributes, e.Attributes[0]&(sgxInitialised|sgx64Bit) == sgxInitialised|sgx64Bit, fmt.Sprintf("%x", e.Attributes[:8]), "initialised, 64 bit")
	if sound && i.src != nil {
		i.askEnclave(ctx, v.MinEvaluationNumber)
	}
	return f
}

func (e *Enclave) registers() []evidence.Register {
	return []evidence.Register{
		{Name: RegisterMREnclave, Value: e.MREnclave[:]}, {Name: RegisterMRSigner, Value: e.MRSigner[:]},
		{Name: RegisterProduct, Value: binary.BigEndian.AppendUint16(nil, e.ISVProdID)}, {Name: RegisterSVN, Value: binary.BigEndian.AppendUint16(nil, e.ISVSVN)},
		{Name: RegisterAttributes, Value: e.Attributes[:]},
	}
}

// askEnclave is ask for a quote about an enclave: other documents, and no
// module.
func (i *inquiry) askEnclave(ctx context.Context, minNumber int) {
	var info tcbInfoDocument
	var identity qeIdentityDocument
	haveInfo := i.document(ctx, SGXTCBInfo(i.pck.FMSPC), CheckTCBInfo, "tcbInfo", "SGX", 3, &info, &info.documentHead)
	haveIdentity := i.document(ctx, SGXQEIdentity, CheckQEIdentity, "enclaveIdentity", "QE", 2, &identity, &identity.documentHead)
	i.revocations(ctx)
	if haveInfo {
		i.number(CheckTCBInfo, info.TCBEvaluationDataNumber, minNumber)
		at, err := info.processorLevel(i.pck)
		i.level(CheckPlatformTCB, at, err)
	}
	if haveIdentity {
		i.number(CheckQEIdentity, identity.TCBEvaluationDataNumber, minNumber)
		i.enclave(&identity)
	}
	i.silent = i.silent || !haveInfo || !haveIdentity
	i.conclude()
}
