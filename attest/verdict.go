package attest

import (
	"encoding/hex"
	"encoding/json"
	"time"
)

// Names of checks that are made here and not by a verifier; the others are in
// attest/evidence and the vendors' packages.
const (
	CheckEvidence   = "evidence"   // is there any, of a kind that the policy accepts
	CheckRoot       = "root key"   // of evidence that a router judged
	CheckAdvisories = "advisories" // known weaknesses of a platform that is not up to date
	CheckRegister   = "register "  // and its name: has a value that the policy wants
	CheckLevel      = "level"      // high enough
)

// Verdict is the outcome of judging one peer. It is not changed after it was
// returned.
type Verdict struct {
	Kind     Kind
	Trusted  bool
	Insecure bool  // believed only because the policy opted in to proof that proves nothing
	Level    Level // what the verdict rests on

	ImageHash  Hash       // zero without evidence
	Registers  []Register // everything measured; nil without evidence, or if it could not be read
	ReportData [64]byte
	Platform   string   // one machine, for ever; empty if the evidence does not say
	TCB        string   // the vendor's word for the platform's state, or "unknown"
	Advisories []string // known weaknesses of the platform
	Checks     Checks
	GPU        *Finding // about the peer's GPUs; nil without evidence, or if nobody asked

	At      time.Time
	Expires time.Time // when it should be judged anew

	gpuAt  time.Time // when GPU was found
	reason string    // why TCB is unknown, or may be worse than it says; else empty
}

// Failed returns the first check that refused the peer.
func (v *Verdict) Failed() (Check, bool) { return v.Checks.Failed() }

// Register returns the value of a register, nil if there is none of that name.
func (v *Verdict) Register(name string) []byte {
	return (&Finding{Registers: v.Registers}).Register(name)
}

// check records an answer and passes it on.
func (v *Verdict) check(name string, ok bool, got, want string) bool {
	return v.Checks.Add(name, ok, got, want)
}

// verdictJSON is what `cocoon attest verify --json` prints.
type verdictJSON struct {
	Verdict      string            `json:"verdict"`    // trusted, refused
	Level        string            `json:"level"`      // in words
	LevelName    string            `json:"level_name"` // as settings name it
	Kind         Kind              `json:"kind"`
	Insecure     bool              `json:"insecure"`
	TCB          string            `json:"tcb,omitempty"`
	Advisories   []string          `json:"advisories,omitempty"`
	Platform     string            `json:"platform,omitempty"`
	Measurements map[string]string `json:"measurements"`
	GPU          *gpuJSON          `json:"gpu,omitempty"`
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
	return json.Marshal(verdictJSON{word, v.Level.String(), v.Level.Name(), v.Kind, v.Insecure, v.TCB, v.Advisories, v.Platform,
		v.fields(), v.gpu(), v.Checks, v.At.UTC(), v.Expires.UTC()})
}

// gpuJSON is about the peer's GPUs.
type gpuJSON struct {
	Status    string   `json:"status"`
	Insecure  bool     `json:"insecure"`
	Platforms []string `json:"platforms"`
}

func (v *Verdict) gpu() *gpuJSON {
	if v.GPU == nil {
		return nil
	}
	return &gpuJSON{v.GPU.Status, v.GPU.Insecure, v.GPU.Platforms()}
}

// UnmarshalJSON reads what MarshalJSON wrote: enough to show it again. The
// bytes of the registers are not taken back.
func (v *Verdict) UnmarshalJSON(text []byte) error {
	var j verdictJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	var level Level
	if err := level.UnmarshalText([]byte(j.LevelName)); err != nil {
		return err
	}
	*v = Verdict{Kind: j.Kind, Trusted: j.Verdict == "trusted", Insecure: j.Insecure, Level: level, TCB: j.TCB, Advisories: j.Advisories,
		Platform: j.Platform, Checks: j.Checks, At: j.At, Expires: j.Expires}
	return nil
}

// fields are the measurements by name, in hexadecimal; empty without any.
func (v *Verdict) fields() map[string]string {
	out := map[string]string{}
	if v.Registers == nil {
		return out
	}
	for _, r := range v.Registers {
		out[r.Name] = hex.EncodeToString(r.Value)
	}
	out["report_data"] = hex.EncodeToString(v.ReportData[:])
	out["image_hash"] = v.ImageHash.String()
	return out
}
