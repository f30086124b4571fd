package tdx

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// level is what Intel says about one set of SVNs.
type level struct {
	status     string
	date       string
	advisories []string
}

func (l tcbLevel) level() (level, error) {
	if !known(l.TCBStatus) {
		return level{}, fmt.Errorf("status %.40q is none that we know", l.TCBStatus)
	}
	return level{l.TCBStatus, l.TCBDate, l.AdvisoryIDs}, nil
}

func (l level) String() string {
	if len(l.date) < len("2006-01-02") {
		return l.status
	}
	return l.status + " (level of " + l.date[:len("2006-01-02")] + ")"
}

// platformLevel is the first level that the platform reaches in every
// component: those of the processor's firmware as the PCK certificate states
// them, and those of TDX as the quote does.
func (d *tcbInfoDocument) platformLevel(pck *pckFacts, svn [16]byte) (level, error) {
	if !bytes.Equal(d.FMSPC, pck.FMSPC[:]) || !bytes.Equal(d.PCEID, pck.PCEID[:]) {
		return level{}, fmt.Errorf("TCB info is about FMSPC %x and PCEID %x, the machine has %x and %x", []byte(d.FMSPC), []byte(d.PCEID), pck.FMSPC, pck.PCEID)
	}
	first := 0
	if moduleVersion(svn) > 0 {
		first = 2 // the first two are the module's, judged by its own identity
	}
	for _, l := range d.TCBLevels {
		if reaches(pck.CPUSVN[:], l.TCB.SGX, 0) && pck.PCESVN >= l.TCB.PCESVN && reaches(svn[:], l.TCB.TDX, first) {
			return l.level()
		}
	}
	return level{}, fmt.Errorf("no level for PCESVN %d, CPUSVN %x, TDX SVN %x", pck.PCESVN, pck.CPUSVN, svn)
}

// moduleVersion is which TDX module it is; 0 are those before modules had
// identities of their own.
func moduleVersion(svn [16]byte) byte { return svn[1] }

func reaches(have []byte, want []component, first int) bool {
	if len(have) != len(want) {
		return false
	}
	for i := first; i < len(have); i++ {
		if int(have[i]) < want[i].SVN {
			return false
		}
	}
	return true
}

// module is the identity of a guest's TDX module: who signed it, and its
// attributes under a mask.
func (d *tcbInfoDocument) module(b *Body) (*moduleIdentity, error) {
	m := &d.TDXModule
	if v := moduleVersion(b.TCBSVN); v > 0 {
		id := fmt.Sprintf("TDX_%02x", v)
		m = nil
		for i := range d.ModuleIdentities {
			if d.ModuleIdentities[i].ID == id {
				m = &d.ModuleIdentities[i]
			}
		}
		if m == nil {
			return nil, fmt.Errorf("no identity %s of a TDX module", id)
		}
	}
	attributes := binary.LittleEndian.AppendUint64(nil, b.SeamAttributes)
	switch {
	case !bytes.Equal(m.MRSigner, b.MRSignerSeam[:]):
		return nil, fmt.Errorf("TDX module signed by %x…, want %.16x…", b.MRSignerSeam[:8], []byte(m.MRSigner))
	case !matches(attributes, m.Attributes, m.AttributesMask):
		return nil, fmt.Errorf("TDX module with attributes %x, want %x", attributes, []byte(m.Attributes))
	}
	return m, nil
}

// level is that of the module's SVN; a module without an identity of its own
// is judged with the platform.
func (m *moduleIdentity) level(svn [16]byte) (level, error) {
	if moduleVersion(svn) == 0 {
		return level{status: UpToDate}, nil
	}
	return isvLevel(m.TCBLevels, int(svn[0]))
}

// isvLevel is the first level that an SVN reaches.
func isvLevel(levels []tcbLevel, svn int) (level, error) {
	for _, l := range levels {
		if svn >= l.TCB.ISVSVN {
			return l.level()
		}
	}
	return level{}, fmt.Errorf("no level for SVN %d", svn)
}

// identified checks that the enclave is the one that the identity describes.
func (d *qeIdentityDocument) identified(e *Enclave) error {
	misc := binary.LittleEndian.AppendUint32(nil, e.MiscSelect)
	switch {
	case !bytes.Equal(d.MRSigner, e.MRSigner[:]):
		return fmt.Errorf("signed by %x…, the identity says %.16x…", e.MRSigner[:8], []byte(d.MRSigner))
	case d.ISVProdID != e.ISVProdID:
		return fmt.Errorf("product %d, the identity says %d", e.ISVProdID, d.ISVProdID)
	case !matches(e.Attributes[:], d.Attributes, d.AttributesMask):
		return fmt.Errorf("attributes %x, the identity says %x", e.Attributes, []byte(d.Attributes))
	case !matches(misc, d.MiscSelect, d.MiscSelectMask):
		return fmt.Errorf("MISCSELECT %x, the identity says %x", misc, []byte(d.MiscSelect))
	}
	return nil
}

// matches tells whether have, where mask has ones, is want.
func matches(have, want, mask []byte) bool {
	if len(have) != len(want) || len(have) != len(mask) {
		return false
	}
	for i := range have {
		if have[i]&mask[i] != want[i] {
			return false
		}
	}
	return true
}
