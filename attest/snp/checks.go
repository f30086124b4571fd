package snp

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// checkReserved asks whether everything that has no meaning is zero, or one
// where it must be. A bit that a later firmware gives a meaning is one that we
// do not know the meaning of.
func (j *judgement) checkReserved() {
	r := j.report
	var bad []string
	zero := func(name string, b ...byte) {
		if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
			bad = append(bad, name)
		}
	}
	zero("0x4c", r.Reserved1[:]...)
	zero("0x18b", r.Reserved2[:]...)
	zero("0x1eb", r.Reserved3)
	zero("0x1ef", r.Reserved4)
	zero("0x208", r.Reserved5[:]...)
	zero("policy", bigEndian(uint64((r.Policy^policyMustBeOne)&^(policyKnown&^policyMustBeOne)), 8)...)
	zero("platform info", bigEndian(uint64(r.PlatformInfo&^platformKnown), 8)...)
	zero("key info", bigEndian(uint64(r.KeyInfo&^keyKnown), 4)...)
	zero("signature", slices.Concat(r.Signature.R[48:], r.Signature.S[48:], r.Signature.Reserved[:])...)
	if r.Version < 3 {
		zero("processor before version 3", r.CPU.Family, r.CPU.Model, r.CPU.Stepping)
	}
	if r.Version < 5 {
		zero("mitigations before version 5", bigEndian(r.LaunchMitigations|r.CurrentMitigations, 8)...)
	}
	if j.product != "" {
		for _, t := range []TCB{r.CurrentTCB, r.CommittedTCB, r.ReportedTCB, r.LaunchTCB} {
			zero("tcb of "+string(j.product), t.reserved(j.product)...)
		}
	}
	j.Checks.Add(evidence.CheckReserved, bad == nil, word(bad == nil, "zero", "not zero: "+strings.Join(bad, ", ")), "zero")
}

// checkProduct compares the three who say what processor this is. Until
// version 3 a report does not.
func (j *judgement) checkProduct() {
	if j.said == nil {
		return
	}
	got, ok := j.said.Name, true
	if j.report.Version >= 3 {
		c := j.report.CPU
		p, err := c.Product()
		ok = err == nil && p == j.said.Product
		got += fmt.Sprintf(", processor family %#x model %#x", c.Family, c.Model)
	}
	issuer := j.leaf.Issuer.CommonName
	ok = ok && issuer == word(j.said.Signer == VLEK, "SEV-VLEK-", "SEV-")+string(j.said.Product)
	j.Checks.Add(CheckProduct, ok, got+", issued by "+issuer, "one product: "+string(j.said.Product))
}

// checkTCB asks whether the firmware is what the key was derived for, cannot
// go below it, and is good enough.
func (j *judgement) checkTCB() {
	if j.said == nil {
		return
	}
	r, p := j.report, j.product
	reported, committed, current, launch := r.ReportedTCB.Parts(p), r.CommittedTCB.Parts(p), r.CurrentTCB.Parts(p), r.LaunchTCB.Parts(p)
	j.Checks.Add(CheckKeyTCB, reported == j.said.TCB, reported.String(), j.said.TCB.String()+", by the certificate")
	j.Checks.Add(CheckOrder, committed.Reaches(reported) && current.Reaches(committed) && !older(r.CurrentVersion, r.CommittedVersion),
		fmt.Sprintf("reported %s; committed %s (firmware %s); current %s (firmware %s)", reported, committed, r.CommittedVersion, current, r.CurrentVersion),
		"reported ≤ committed ≤ current")
	least, known := j.policy.Minimum[p]
	if !known {
		want := word(j.policy.AllowUnknown, "anything", "at least what the policy says of "+string(p)+", which is nothing")
		j.Checks.Add(evidence.CheckTCB, j.policy.AllowUnknown, reported.String(), want)
		j.Checks.Add(CheckLaunchTCB, j.policy.AllowUnknown, launch.String(), want)
		return
	}
	ok := j.Checks.Add(evidence.CheckTCB, reported.Reaches(least), reported.String(), "at least "+least.String())
	launched := j.Checks.Add(CheckLaunchTCB, launch.Reaches(least), launch.String(), "at least "+least.String())
	j.Status = word(ok && launched, StatusMeets, StatusBelow)
}

// older tells whether firmware a is older than b.
func older(a, b Version) bool {
	return slices.Compare([]byte{a.Major, a.Minor, a.Build}, []byte{b.Major, b.Minor, b.Build}) < 0
}

// checkGuest asks what the guest's owner lets the host do, and how the
// platform is set up.
func (j *judgement) checkGuest() {
	r, p := j.report, j.policy
	off := func(name string, bit GuestPolicy, got, want string) {
		j.Checks.Add(name, r.Policy&bit == 0, word(r.Policy&bit == 0, "off", got), want)
	}
	off(evidence.CheckDebug, PolicyDebug, "on: the host may read its memory", "off")
	off(evidence.CheckMigration, PolicyMigrate, "on: the host may move the guest elsewhere", "off")
	none := [32]byte(slices.Repeat([]byte{0xff}, 32))
	j.Checks.Add(CheckAgent, r.ReportIDMA == none, word(r.ReportIDMA == none, "none", short(r.ReportIDMA[:])), "none")
	j.bit(CheckSMT, PolicySMT)
	j.bit(CheckSocket, PolicySingleSocket)
	j.bit(CheckCXL, PolicyCXL)
	const rest = ^(PolicySMT | PolicySingleSocket | PolicyCXL)
	require, forbid := p.Require&rest, p.Forbid&rest
	j.Checks.Add(CheckGuestPolicy, r.Policy&require == require && r.Policy&forbid == 0, r.Policy.String(), bits(uint64(require), uint64(forbid), policyNames))
	info := r.PlatformInfo
	j.Checks.Add(CheckPlatformInfo, info&p.RequirePlatform == p.RequirePlatform && info&p.ForbidPlatform == 0,
		info.String(), bits(uint64(p.RequirePlatform), uint64(p.ForbidPlatform), platformNames))
	j.Checks.Add(CheckVMPL, r.VMPL == p.VMPL, fmt.Sprint(r.VMPL), fmt.Sprint(p.VMPL))
}

// bit checks one bit of the guest policy.
func (j *judgement) bit(name string, bit GuestPolicy) {
	set, must, mustNot := j.report.Policy&bit != 0, j.policy.Require&bit != 0, j.policy.Forbid&bit != 0
	want := word(must, "on", word(mustNot, "off", "either"))
	j.Checks.Add(name, !(must && !set) && !(mustNot && set), word(set, "on", "off"), want)
}

// bits are what a policy wants, in words.
func bits(require, forbid uint64, names map[int]string) string {
	var want []string
	if require != 0 {
		want = append(want, "with"+strings.ReplaceAll(bitNames(require, names), ",", ""))
	}
	if forbid != 0 {
		want = append(want, "without"+strings.ReplaceAll(bitNames(forbid, names), ",", ""))
	}
	if want == nil {
		return "anything"
	}
	return strings.Join(want, ", ")
}

// checkKeys asks who signed for the guest, and what the host says about it.
func (j *judgement) checkKeys() {
	r, p := j.report, j.policy
	j.signedBy(CheckIDKey, true, r.IDKeyDigest, p.IDKeys)
	j.signedBy(CheckAuthorKey, r.KeyInfo.Author() == (r.AuthorKeyDigest != [48]byte{}), r.AuthorKeyDigest, p.AuthorKeys)
	want := "anything"
	if p.HostData != nil {
		want = hex.EncodeToString(p.HostData[:])
	}
	j.Checks.Add(CheckHostData, p.HostData == nil || r.HostData == *p.HostData, hex.EncodeToString(r.HostData[:]), want)
}

func (j *judgement) signedBy(name string, consistent bool, digest [48]byte, keys [][48]byte) {
	got := word(digest == [48]byte{}, "none", short(digest[:])) + word(consistent, "", ", which the key info denies")
	want := word(len(keys) == 0, "anything", fmt.Sprintf("one of %d keys", len(keys)))
	j.Checks.Add(name, consistent && (len(keys) == 0 || slices.Contains(keys, digest)), got, want)
}

// checkKernel asks those who know the image. The report cannot tell.
func (j *judgement) checkKernel() {
	p := j.policy
	vouched := p.KernelMeasured != nil && p.KernelMeasured(j.Image)
	j.Checks.Add(CheckKernel, vouched || p.InsecureAnyKernel,
		word(vouched, "measured", "unknown: the host may have booted anything under this measurement"),
		word(p.InsecureAnyKernel, "anything", "an image whose measurement covers kernel, initrd and command line"))
}
