package tdx

import (
	"encoding/hex"
	"encoding/json"

	"github.com/google/go-tdx-guest/pcs"
	"github.com/opencocoon/cocoon/attest/evidence"
)

// Statuses of a platform that are not Intel's.
const (
	Unknown  = evidence.Unknown
	UpToDate = evidence.UpToDate
)

// lookupTCB reads the platform's level out of the collateral as a value. The
// library only says whether all is up to date; a screen should say what is not.
func (q *Quote) lookupTCB(get *getter) TCB {
	tcb := TCB{Status: Unknown}
	certs, err := q.certificates()
	if err != nil {
		return tcb
	}
	pck, err := pcs.PckCertificateExtensions(certs[0])
	if err != nil {
		return tcb
	}
	_, body, err := get.Get(pcs.TcbInfoURL(pck.FMSPC))
	var info pcs.TdxTcbInfo
	if err != nil || json.Unmarshal(body, &info) != nil {
		return tcb
	}
	tcb.NextUpdate = get.expires()
	if level, ok := q.platformLevel(info.TcbInfo.TcbLevels, pck.TCB); ok {
		tcb.Status, tcb.Advisories = string(level.TcbStatus), level.AdvisoryIDs
	}
	if module, ok := q.moduleLevel(info.TcbInfo.TdxModuleIdentities); ok && tcb.Status == UpToDate {
		tcb.Status, tcb.Advisories = string(module.TcbStatus), module.AdvisoryIDs
	}
	return tcb
}

// platformLevel is the first level that the platform reaches in every
// component; Intel lists the newest first.
func (q *Quote) platformLevel(levels []pcs.TcbLevel, pck pcs.PckCertTCB) (pcs.TcbLevel, bool) {
	tdx := q.Body.TCBSVN[:]
	if q.moduleVersion() > 0 {
		tdx = tdx[2:] // the first two are the module's, judged by its own identity
	}
	for _, level := range levels {
		want := level.Tcb
		if len(want.TdxTcbcomponents) != len(q.Body.TCBSVN) {
			continue
		}
		wantTDX := want.TdxTcbcomponents[len(q.Body.TCBSVN)-len(tdx):]
		if reaches(pck.CPUSvnComponents, want.SgxTcbcomponents) && pck.PCESvn >= want.Pcesvn && reaches(tdx, wantTDX) {
			return level, true
		}
	}
	return pcs.TcbLevel{}, false
}

// moduleLevel is the level of the TDX module, for modules that have an
// identity of their own.
func (q *Quote) moduleLevel(identities []pcs.TdxModuleIdentity) (pcs.TcbLevel, bool) {
	if q.moduleVersion() == 0 {
		return pcs.TcbLevel{}, false
	}
	id := "TDX_" + hex.EncodeToString([]byte{q.moduleVersion()})
	for _, identity := range identities {
		if identity.ID != id {
			continue
		}
		for _, level := range identity.TcbLevels {
			if uint32(q.Body.TCBSVN[0]) >= level.Tcb.Isvsvn {
				return level, true
			}
		}
	}
	return pcs.TcbLevel{TcbStatus: Unknown}, true
}

func (q *Quote) moduleVersion() byte { return q.Body.TCBSVN[1] }

func reaches(have []byte, want []pcs.TcbComponent) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range have {
		if have[i] < want[i].Svn {
			return false
		}
	}
	return true
}
