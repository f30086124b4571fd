package attest

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Rules are the part of a policy that a person writes down, on a command line
// or in a file. The zero Rules want a platform that is up to date, and nothing
// else. Every entry that cannot be read refuses; [Rules.Problems] tells.
type Rules struct {
	// Require is the lowest level that is good enough.
	Require Level `json:"require,omitzero"`
	// RequireFresh refuses peers that show only a certificate and no evidence
	// made for the connection; see [Policy.JudgeSession]. Peers of the reference
	// cannot make any.
	RequireFresh bool `json:"require_fresh,omitempty"`
	// AllowUnknownTCB accepts platforms whose state is unknown, because there
	// is no collateral or it does not answer. A platform that is known to be bad
	// stays refused.
	AllowUnknownTCB bool `json:"allow_unknown_tcb,omitempty"`
	// Statuses of a platform that are good enough besides UpToDate, in the
	// vendor's words.
	Statuses []string `json:"tcb_status,omitempty"`
	// Advisories are weaknesses that a platform may have which is not up to
	// date. One that is not listed refuses it. "*" tolerates all.
	Advisories []string `json:"advisory,omitempty"`
	// Registers pin what is measured, each as name=value with the value in
	// hexadecimal. Several for one name are alternatives.
	Registers []string `json:"register,omitempty"`
	// Platforms are the only ones accepted, by id. Empty accepts all.
	Platforms []string `json:"platform,omitempty"`
	// DenyPlatforms are refused, by id.
	DenyPlatforms []string `json:"deny_platform,omitempty"`
}

// Problems names the entries that cannot be read.
func (r *Rules) Problems() (out []string) {
	for _, pin := range r.Registers {
		name, value, ok := strings.Cut(pin, "=")
		if _, err := hex.DecodeString(value); !ok || err != nil || name == "" || value == "" {
			out = append(out, fmt.Sprintf("register %q: want a name, = and hexadecimal digits", pin))
		}
	}
	for _, id := range slices.Concat(r.Platforms, r.DenyPlatforms) {
		if _, err := hex.DecodeString(id); err != nil || id == "" {
			out = append(out, fmt.Sprintf("platform %q: want hexadecimal digits", id))
		}
	}
	return out
}

// check asks a verdict that rests on a finding for everything in the rules but
// the level, which is known last.
func (r *Rules) check(v *Verdict) {
	r.checkTCB(v)
	r.checkPlatform(v)
	r.checkRegisters(v)
}

// checkTCB tells three outcomes apart: in order, known to be bad, unknown. The
// last passes only where the rules say so. A verifier of a vendor that names no
// statuses has compared with minima of its own.
func (r *Rules) checkTCB(v *Verdict) {
	if slices.ContainsFunc(v.Checks, func(c Check) bool { return c.Name == evidence.CheckTCB }) {
		return
	}
	want := strings.Join(append([]string{evidence.UpToDate}, r.Statuses...), " or ")
	if v.TCB == evidence.Unknown {
		if r.AllowUnknownTCB {
			want = "anything"
		}
		v.check(evidence.CheckTCB, r.AllowUnknownTCB, strings.TrimSuffix("unknown: "+v.reason, ": "), want)
		return
	}
	inOrder, got := v.TCB == evidence.UpToDate, v.TCB
	ok := inOrder || slices.Contains(r.Statuses, v.TCB)
	if v.reason != "" { // what a source keeps to itself may be worse than what is tolerated
		ok, got, want = ok && r.AllowUnknownTCB, got+" or worse: "+v.reason, want+", and all of it known"
	}
	v.check(evidence.CheckTCB, ok, got, want)
	bad := slices.DeleteFunc(slices.Clone(v.Advisories), r.tolerates)
	v.check(CheckAdvisories, inOrder || len(bad) == 0, listed(v.Advisories), "none that the policy does not list, or up to date")
}

func (r *Rules) tolerates(advisory string) bool {
	return slices.Contains(r.Advisories, "*") || slices.Contains(r.Advisories, advisory)
}

func (r *Rules) checkPlatform(v *Verdict) {
	ids := v.platforms()
	got := want(len(ids) > 0, strings.Join(ids, " "), "not named by the evidence")
	in := func(list []string) func(string) bool {
		return func(id string) bool {
			return slices.ContainsFunc(list, func(entry string) bool { return strings.EqualFold(entry, id) })
		}
	}
	switch {
	case slices.ContainsFunc(ids, in(r.DenyPlatforms)):
		v.check(evidence.CheckPlatform, false, got, "one that is not struck off")
	case len(r.DenyPlatforms)+len(r.Platforms) > 0 && len(ids) == 0:
		v.check(evidence.CheckPlatform, false, got, "a name to look up in the policy's lists")
	case len(r.Platforms) > 0:
		stranger := slices.ContainsFunc(ids, func(id string) bool { return !in(r.Platforms)(id) })
		v.check(evidence.CheckPlatform, !stranger, got, "one that the policy lists")
	default:
		v.check(evidence.CheckPlatform, true, got, "one that is not struck off")
	}
}

// platforms are the ids of what the evidence is about: a processor, or GPUs
// where these are all there is.
func (v *Verdict) platforms() []string {
	switch {
	case v.Platform != "":
		return []string{v.Platform}
	case v.Kind == KindNVIDIA && v.GPU != nil:
		return v.GPU.Platforms()
	}
	return nil
}

// checkRegisters makes one check for each register that is pinned.
func (r *Rules) checkRegisters(v *Verdict) {
	wanted, names := map[string][]string{}, []string{}
	for _, pin := range r.Registers {
		name, value, _ := strings.Cut(pin, "=")
		if wanted[name] == nil {
			names = append(names, name)
		}
		wanted[name] = append(wanted[name], strings.ToLower(value))
	}
	for _, name := range names {
		got := hex.EncodeToString(v.Register(name))
		v.check(CheckRegister+name, got != "" && slices.Contains(wanted[name], got), want(got != "", got, "not in the evidence"), strings.Join(wanted[name], " or "))
	}
}

func listed(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}
