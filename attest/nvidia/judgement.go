package nvidia

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// judgement is the work on one GPU.
type judgement struct {
	*evidence.Finding
	v       *Verifier
	ctx     context.Context
	now     time.Time
	report  *Report
	device  *Device
	anchors Anchors
	unknown bool // something could not be found out
}

func (j *judgement) judge(b Board) {
	var err error
	j.report, err = ParseReport(b.Report)
	if err == nil {
		j.device, err = ParseChain(b.Chain)
	}
	if !j.Checks.Passed(evidence.CheckFormat, err, "a GPU's report and certificates") {
		return
	}
	j.Platform = j.device.Platform
	j.register()
	chained := j.checkChain(b.Chain)
	j.checkReport()
	signed := j.Checks.Passed(evidence.CheckSignature, j.report.VerifySignature(j.device), "by the first certificate's key")
	j.checkPolicy()
	// Only of what is genuine are others asked: a peer's bytes could name any
	// certificate and any manifest.
	if !chained || !signed {
		return
	}
	j.checkRevocation(evidence.CheckRevocation, j.device.certs[1:])
	j.checkManifests()
	if _, failed := j.Checks.Failed(); !failed && !j.unknown {
		j.Status = UpToDate
	}
}

// register names all that the report and the certificates state.
func (j *judgement) register() {
	j.Registers = make([]evidence.Register, 0, 6+len(j.report.Measurements))
	add := func(name string, value []byte) {
		j.Registers = append(j.Registers, evidence.Register{Name: name, Value: value})
	}
	add("chip", []byte(j.device.Chip))
	add("serial", []byte(j.device.Serial))
	add("driver", []byte(j.report.Driver))
	add("vbios", []byte(j.report.VBIOS))
	add("mode", []byte(j.report.Mode))
	add("fwid", bytes.Clone(j.report.FWID)) // the finding must not keep the whole report
	for i := range j.report.Measurements {
		add("measurement"+strconv.Itoa(i), j.report.Measurements[i][:])
	}
}

func (j *judgement) checkChain(chain []byte) bool {
	j.anchors = j.v.Anchors
	if j.anchors.Device == nil {
		j.anchors.Device = DeviceRoot()
	}
	if j.anchors.Manifest == nil {
		j.anchors.Manifest = ManifestRoot()
	}
	certs := j.device.certs
	if t := j.v.Test; t != nil && t.Device != nil && t.Manifest != nil && t.Device.Equal(certs[len(certs)-1]) {
		j.anchors, j.Insecure = *t, true
	}
	_, err := j.v.memo.get("chain", j.anchors.Device, chain, func() (any, error) { return nil, verifyChain(certs, j.anchors.Device) })
	if err == nil {
		err = validAt(certs, j.now)
	}
	j.Expires = endOf(certs)
	want := "a chain to NVIDIA's root"
	if j.Insecure {
		want = "a chain to the test root"
	}
	return j.Checks.Passed(evidence.CheckChain, err, want)
}

// checkReport asks what report and certificates say about each other.
func (j *judgement) checkReport() {
	chips := j.v.Chips
	if chips == nil {
		chips = []string{"GH100", "GB100"}
	}
	got, err := j.device.Chip, j.device.checkChip()
	switch {
	case err != nil:
		got = err.Error()
	case j.report.Chip != "" && j.report.Chip != j.device.Chip:
		got = fmt.Sprintf("report of a %s, certificate of a %s", j.report.Chip, j.device.Chip)
	}
	j.Checks.Add(CheckArchitecture, slices.Contains(chips, got), got, strings.Join(chips, " or "))

	fwid := hex.EncodeToString(j.report.FWID)
	j.Checks.Add(CheckFWID, bytes.Equal(j.report.FWID, j.device.FWID[:]), cmp.Or(fwid, "not in the report"), hex.EncodeToString(j.device.FWID[:]))
	if j.device.Flags != 0 {
		j.Checks.Add(evidence.CheckDebug, j.device.Flags&badFlags == 0, fmt.Sprintf("flags %02x", j.device.Flags), fmt.Sprintf("none of %02x", badFlags))
	}
	j.Checks.Add(evidence.CheckReserved, len(j.report.Unknown) == 0, fmt.Sprintf("%d unknown fields %v", len(j.report.Unknown), j.report.Unknown), "0 unknown fields []")
	got = "enabled"
	if j.report.NVDECDisabled {
		got = "disabled"
	}
	j.Checks.Add(CheckNVDEC, true, got, "enabled or disabled")
}

// checkPolicy asks what the operator wants of versions and modes.
func (j *judgement) checkPolicy() {
	mode, want := j.report.Mode, string(SinglePassthrough)
	if j.v.MultiGPU {
		want += " or " + string(MultiPassthrough)
	}
	j.Checks.Add(CheckMode, mode == SinglePassthrough || mode == MultiPassthrough && j.v.MultiGPU, string(mode), want)
	least := j.v.Minimum[j.device.Chip]
	j.checkVersion(CheckDriverVersion, j.report.Driver, least.Driver, 10)
	j.checkVersion(CheckVBIOSVersion, j.report.VBIOS, least.VBIOS, 16)
}

func (j *judgement) checkVersion(name, got, least string, base int) {
	if slices.ContainsFunc(j.v.Struck, func(s string) bool { return strings.EqualFold(s, got) }) {
		j.Checks.Add(name, false, got, "one that is not struck off")
		return
	}
	want := "any"
	if least != "" {
		want = "at least " + least
	}
	j.Checks.Add(name, least == "" || notOlder(got, least, base), got, want)
}

// notOlder compares versions number by number; what is no version is old.
func notOlder(got, least string, base int) bool {
	a, ok1 := numbers(got, base)
	b, ok2 := numbers(least, base)
	return ok1 && ok2 && slices.Compare(a, b) >= 0
}

func numbers(version string, base int) (list []uint64, ok bool) {
	for _, s := range strings.Split(version, ".") {
		n, err := strconv.ParseUint(s, base, 32)
		if err != nil {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}
