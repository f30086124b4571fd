package insecure

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// fmspc is the processor model of all simulated machines.
var fmspc = [6]byte{0xc0, 0xc0, 0x00, 0, 0, 0}

// qeSigner is the signer of Intel's quoting enclave, which every judge looks
// for. Writing it here is free: only a root of our own vouches for it.
var qeSigner = [32]byte{
	0xdc, 0x9e, 0x2a, 0x7c, 0x6f, 0x94, 0x8f, 0x17, 0x47, 0x4e, 0x34, 0xa7, 0xfc, 0x43, 0xed, 0x03,
	0x0f, 0x7c, 0x15, 0x63, 0xf1, 0xba, 0xbd, 0xdf, 0x63, 0x40, 0xc8, 0x2e, 0x0e, 0x54, 0xa8, 0xc5,
}

// Collateral is what an authority says about its machines. The zero value
// finds them up to date for ten years.
type Collateral struct {
	TCBStatus  string    // default UpToDate; also OutOfDate, SWHardeningNeeded, …
	Advisories []string  // listed with the level
	NextUpdate time.Time // when all of it expires
	ListsUntil time.Time // when the revocation lists expire; zero: with the rest
	RevokePCK  bool      // the platforms' certificates are on the list
	RevokeCA   bool      // the CAs' are on the root's list
	// RevokeSigner puts the certificate that signs the documents on it too.
	RevokeSigner bool
	// Edit changes the documents before they are signed, by Intel's names.
	Edit func(tcbInfo, qeIdentity map[string]any)
}

// Publish signs new collateral and serves it from now on.
func (a *Authority) Publish(c Collateral) error {
	if c.TCBStatus == "" {
		c.TCBStatus = "UpToDate"
	}
	if c.NextUpdate.IsZero() {
		c.NextUpdate = a.root.cert.NotAfter
	}
	if c.ListsUntil.IsZero() {
		c.ListsUntil = c.NextUpdate
	}
	info, identity := a.tcbInfo(c), a.identity(c)
	if c.Edit != nil {
		c.Edit(info, identity)
	}
	answers := tdx.Answers{}
	for part, document := range map[tdx.Part]struct {
		name string
		object
	}{
		tdx.TCBInfo(fmspc): {"tcbInfo", info}, tdx.QEIdentity: {"enclaveIdentity", identity},
		tdx.SGXTCBInfo(fmspc): {"tcbInfo", with(info, object{"id": "SGX"})},
		tdx.SGXQEIdentity:     {"enclaveIdentity", with(identity, object{"id": "QE", "isvprodid": sgxProduct})},
	} {
		body, err := a.signJSON(document.name, document.object)
		if err != nil {
			return err
		}
		answers[part] = tdx.Statement{Body: body, Chain: a.chain(a.signer, a.root)}
	}
	pcks := []signatory{a.pck, a.single}
	var byRoot []signatory
	if c.RevokeCA {
		byRoot = append(byRoot, a.platform, a.processor)
	}
	if c.RevokeSigner {
		byRoot = append(byRoot, a.signer)
	}
	for part, list := range map[tdx.Part]struct {
		by      signatory
		on      []signatory
		revoked bool
	}{
		tdx.RootCRL:         {a.root, byRoot, true},
		tdx.PCKCRLPlatform:  {a.platform, pcks, c.RevokePCK},
		tdx.PCKCRLProcessor: {a.processor, pcks, c.RevokePCK},
	} {
		if !list.revoked {
			list.on = nil
		}
		body, err := a.revocations(list.by, c, list.on)
		if err != nil {
			return err
		}
		answers[part] = tdx.Statement{Body: body}
	}
	a.published.Store(&answers)
	return nil
}

// issued dates everything that the authority signs.
func (a *Authority) issued() time.Time { return a.root.cert.NotBefore }

func (a *Authority) revocations(by signatory, c Collateral, revoked []signatory) ([]byte, error) {
	var entries []x509.RevocationListEntry
	for _, s := range revoked {
		entries = append(entries, x509.RevocationListEntry{SerialNumber: s.cert.SerialNumber, RevocationTime: a.issued()})
	}
	return x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: a.issued(), NextUpdate: c.ListsUntil, RevokedCertificateEntries: entries,
	}, by.cert, by.key)
}

// signJSON wraps a document as Intel does: the signature is over its bytes.
func (a *Authority) signJSON(name string, document any) ([]byte, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	signature, err := sign(a.signer.key, raw)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{%q:%s,"signature":"%x"}`, name, raw, signature), nil
}

type object = map[string]any

// with is a copy of a document with other members.
func with(document, other object) object {
	out := maps.Clone(document)
	maps.Copy(out, other)
	return out
}

// level is one TCB level with the given numbers.
func (a *Authority) level(c Collateral, status string, tcb object) []object {
	return []object{{"tcb": tcb, "tcbDate": stamp(a.issued()), "tcbStatus": status, "advisoryIDs": c.Advisories}}
}

func (a *Authority) tcbInfo(c Collateral) object {
	zero48, zero8 := strings.Repeat("00", 48), strings.Repeat("00", 8)
	module := object{"mrsigner": zero48, "attributes": zero8, "attributesMask": strings.Repeat("FF", 8)}
	identity := object{
		"id": fmt.Sprintf("TDX_%02d", moduleVersion), "mrsigner": zero48, "attributes": zero8, "attributesMask": strings.Repeat("FF", 8),
		"tcbLevels": a.level(c, "UpToDate", object{"isvsvn": moduleSVN}),
	}
	return object{
		"id": "TDX", "version": 3, "issueDate": stamp(a.issued()), "nextUpdate": stamp(c.NextUpdate),
		"fmspc": hex.EncodeToString(fmspc[:]), "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 1,
		"tdxModule": module, "tdxModuleIdentities": []object{identity},
		"tcbLevels": a.level(c, c.TCBStatus, object{
			"sgxtcbcomponents": components(16, cpuSVN, 16), "pcesvn": pceSVN, "tdxtcbcomponents": components(3, tdxSVN, 16),
		}),
	}
}

func (a *Authority) identity(c Collateral) object {
	return object{
		"id": "TD_QE", "version": 2, "issueDate": stamp(a.issued()), "nextUpdate": stamp(c.NextUpdate), "tcbEvaluationDataNumber": 1,
		"miscselect": "00000000", "miscselectMask": "FFFFFFFF",
		"attributes": "11" + strings.Repeat("00", 15), "attributesMask": "FBFFFFFFFFFFFFFF" + strings.Repeat("00", 8),
		"mrsigner": hex.EncodeToString(qeSigner[:]), "isvprodid": qeProduct,
		"tcbLevels": a.level(c, "UpToDate", object{"isvsvn": qeSVN}),
	}
}

// components is n components of which the first few ask for svn.
func components(asking int, svn, n int) []object {
	out := make([]object, n)
	for i := range out {
		out[i] = object{"svn": 0}
		if i < asking {
			out[i]["svn"] = svn
		}
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
