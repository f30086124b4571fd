package attest

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Check is one question that was asked about a peer, and its answer. Got and
// Want are for people; Name is stable.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Got  string `json:"got"`
	Want string `json:"want"`
}

// Names of checks, in the order in which they are made.
const (
	CheckEvidence   = "evidence"         // is there any, of a kind that the policy accepts
	CheckSize       = "size"             // at most MaxEvidence
	CheckFormat     = "format"           // can be taken apart
	CheckSignature  = "signature"        // chain of signatures up to a trusted root
	CheckRoot       = "root key"         // of evidence that a router judged
	CheckEnclave    = "quoting enclave"  // the vendor's own
	CheckModule     = "tdx module"       // the vendor's own
	CheckTCB        = "tcb"              // platform up to date, nothing revoked
	CheckDebug      = "debug attributes" // off
	CheckMigration  = "migration"        // off
	CheckReportData = "report data"      // binds the peer's key
	CheckImage      = "image hash"       // is wanted
)

// Levels of a verdict, from most to least.
const (
	LevelTDX          = "TDX: genuine machine, platform up to date"
	LevelTDXUnknown   = "TDX: genuine machine, platform state UNKNOWN (no collateral)"
	LevelTDXRelayed   = "TDX: judged by the router on this machine"
	LevelSimulatedTDX = "INSECURE: simulated TDX under a test root, anyone with its files can look inside"
	LevelFakeTDX      = "INSECURE: fake TDX, proves only that the peer has its key"
	LevelNone         = "INSECURE: no attestation"
	LevelRefused      = "refused"
)

// Verdict is the outcome of judging one peer. It is not changed after it was
// returned.
type Verdict struct {
	Kind     Kind
	Trusted  bool
	Insecure bool   // believed only because the policy opted in to proof that proves nothing
	Level    string // one of the Level constants: what the verdict rests on

	ImageHash    Hash          // zero without evidence
	Measurements *Measurements // nil without evidence, or if it could not be read
	TCB          string        // Intel's word for the platform's state, or "unknown"
	Checks       []Check
	GPU          *evidence.Finding // about the peer's GPUs; nil if nobody asked or there is no evidence

	At      time.Time
	Expires time.Time // when it should be judged anew
}

// Failed returns the first check that refused the peer.
func (v *Verdict) Failed() (Check, bool) {
	for _, c := range v.Checks {
		if !c.OK {
			return c, true
		}
	}
	return Check{}, false
}

// check records an answer and passes it on.
func (v *Verdict) check(name string, ok bool, got, want string) bool {
	v.Checks = append(v.Checks, Check{name, ok, got, want})
	return ok
}

// verdictJSON is what `cocoon attest verify --json` prints.
type verdictJSON struct {
	Verdict      string            `json:"verdict"` // trusted, refused
	Level        string            `json:"level"`
	Kind         Kind              `json:"kind"`
	Insecure     bool              `json:"insecure"`
	TCB          string            `json:"tcb,omitempty"`
	Measurements map[string]string `json:"measurements"`
	Checks       []Check           `json:"checks"`
	At           time.Time         `json:"at"`
	Expires      time.Time         `json:"expires"`
}

// MarshalJSON writes the verdict for scripts.
func (v *Verdict) MarshalJSON() ([]byte, error) {
	word := "refused"
	if v.Trusted {
		word = "trusted"
	}
	return json.Marshal(verdictJSON{word, v.Level, v.Kind, v.Insecure, v.TCB, v.Measurements.fields(), v.Checks, v.At.UTC(), v.Expires.UTC()})
}

// fields are the measurements by name, in hexadecimal; empty for nil.
func (m *Measurements) fields() map[string]string {
	out := map[string]string{}
	if m == nil {
		return out
	}
	for name, b := range map[string][]byte{
		"mrtd": m.MRTD[:], "mrconfigid": m.MRConfigID[:], "mrowner": m.MROwner[:], "mrownerconfig": m.MROwnerConfig[:],
		"rtmr0": m.RTMR[0][:], "rtmr1": m.RTMR[1][:], "rtmr2": m.RTMR[2][:], "rtmr3": m.RTMR[3][:],
		"mrseam": m.MRSeam[:], "tcb_svn": m.TCBSVN[:], "report_data": m.ReportData[:], "root_key": m.RootKey[:],
	} {
		out[name] = hex.EncodeToString(b)
	}
	out["td_attributes"] = fmt.Sprintf("%016x", m.TDAttributes)
	out["xfam"] = fmt.Sprintf("%016x", m.XFAM)
	out["image_hash"] = m.ImageHash().String()
	return out
}
