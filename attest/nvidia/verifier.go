package nvidia

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Names of checks that only GPUs have.
const (
	CheckBoards          = "boards"           // as many GPUs as wanted, no two the same
	CheckNonce           = "nonce"            // is the asker's, in all of them
	CheckArchitecture    = "architecture"     // certificates and report are of the same known chip
	CheckFWID            = "fwid"             // the firmware that signed is the one that the certificate names
	CheckMode            = "mode"             // how the GPU shares confidential memory
	CheckDriverVersion   = "driver version"   //
	CheckVBIOSVersion    = "vbios version"    //
	CheckNVDEC           = "nvdec"            // whether the decoder's measurement counts
	CheckDriverManifest  = "driver manifest"  // signed by NVIDIA, valid now, of this version and chip
	CheckVBIOSManifest   = "vbios manifest"   //
	CheckManifestRevoked = "manifest signers" // none of them is on a list
	CheckMeasurements    = "measurements"     // are what the manifests say
)

// StatusMatches is the status of GPUs whose measurements are those that NVIDIA
// published, with nothing revoked.
const StatusMatches = "matches"

// Anchors are what a judgement rests on.
type Anchors struct {
	Device, Manifest *x509.Certificate // roots
	Collateral       Collateral        // nil: manifests and revocation are unknown
}

// Minimum is the oldest driver and firmware that are accepted; empty: any.
type Minimum struct{ Driver, VBIOS string }

// Verifier judges the evidence of GPUs. The zero value trusts NVIDIA's roots
// and refuses everything, since it has no collateral to know what to expect.
// It must not be copied or changed once it is used.
type Verifier struct {
	// Anchors are NVIDIA's where they are nil.
	Anchors
	// Test is whom to believe besides, with findings that are Insecure.
	Test *Anchors
	// Count is how many GPUs there must be; 0 is any number.
	Count int
	// MultiGPU admits GPUs that share memory over encrypted links. Links in
	// the clear (protected PCIe) are refused: nobody here judges the switches.
	MultiGPU bool
	// Chips are the kinds of chip that are accepted; nil is GH100 and GB100.
	Chips []string
	// Minimum is by chip.
	Minimum map[string]Minimum
	// Struck are versions of driver or VBIOS that are refused.
	Struck []string
	// AllowUnknown lets GPUs pass for which no manifest or no revocation status
	// is to be had; their status is Unknown. Whatever is had must be right.
	AllowUnknown bool

	memo memo
}

var _ evidence.Verifier = (*Verifier)(nil)

// Verify implements evidence.Verifier. Any nonce will do: the finding's report
// data is the nonce and 32 zeros, for a policy to compare. See [Verifier.VerifyFor].
func (v *Verifier) Verify(ctx context.Context, blob []byte, now time.Time) *evidence.Finding {
	return v.verify(ctx, blob, nil, now)
}

// VerifyFor judges evidence that was asked for with nonce.
func (v *Verifier) VerifyFor(ctx context.Context, blob []byte, nonce [32]byte, now time.Time) *evidence.Finding {
	return v.verify(ctx, blob, &nonce, now)
}

func (v *Verifier) verify(ctx context.Context, blob []byte, nonce *[32]byte, now time.Time) *evidence.Finding {
	f := &evidence.Finding{Kind: evidence.NVIDIA, Status: evidence.Unknown}
	if !f.Checks.Add(evidence.CheckSize, len(blob) <= MaxEvidence, fmt.Sprintf("%d bytes", len(blob)), fmt.Sprintf("at most %d", MaxEvidence)) {
		return f
	}
	boards, err := Decode(blob)
	if err != nil {
		f.Checks.Passed(evidence.CheckFormat, err, "GPU evidence")
		return f
	}
	var parts []*judgement
	for _, b := range boards {
		j := &judgement{v: v, ctx: ctx, now: now, Finding: &evidence.Finding{Kind: evidence.NVIDIA, Status: evidence.Unknown}}
		j.judge(b)
		parts = append(parts, j)
		f.Parts = append(f.Parts, j.Finding)
	}
	sum(f)
	v.checkBoards(f, parts)
	checkNonce(f, parts, nonce)
	return f
}

// sum makes the checks of all parts one list: a question is answered well if
// it is for each.
func sum(f *evidence.Finding) {
	var names []string
	answers := map[string]evidence.Check{}
	matches := true
	for i, part := range f.Parts {
		for _, c := range part.Checks {
			old, ok := answers[c.Name]
			if !ok {
				names = append(names, c.Name)
			}
			if len(f.Parts) > 1 && !c.OK {
				c.Got = fmt.Sprintf("GPU %d: %s", i, c.Got)
			}
			if !ok || old.OK && !c.OK {
				answers[c.Name] = c
			}
		}
		matches = matches && part.Status == StatusMatches
		f.Expires = earlier(f.Expires, part.Expires)
		f.Insecure, f.Passing = f.Insecure || part.Insecure, f.Passing || part.Passing
	}
	for _, name := range names {
		f.Checks = append(f.Checks, answers[name])
	}
	f.Registers = f.Parts[0].Registers
	if len(f.Parts) > 1 {
		f.Registers = nil // each part has its own
	}
	if matches {
		f.Status = StatusMatches
	}
}

// checkBoards counts the GPUs. One board cannot stand for two, whatever it is
// asked, since its identity is in its certificates.
func (v *Verifier) checkBoards(f *evidence.Finding, parts []*judgement) {
	seen := map[string]int{}
	for i, j := range parts {
		if j.device == nil {
			return // the format says why
		}
		if first, twice := seen[j.Platform]; twice {
			f.Checks.Add(CheckBoards, false, fmt.Sprintf("GPU %d and GPU %d are the same %s", first, i, j.Platform), "no GPU twice")
			return
		}
		seen[j.Platform] = i
	}
	want := "any number"
	if v.Count > 0 {
		want = strconv.Itoa(v.Count)
	}
	f.Checks.Add(CheckBoards, v.Count == 0 || v.Count == len(parts), strconv.Itoa(len(parts)), want)
}

// checkNonce compares the nonce of all GPUs with the one that is wanted, or
// with each other.
func checkNonce(f *evidence.Finding, parts []*judgement, nonce *[32]byte) {
	wanted := "the same in all"
	if nonce != nil {
		wanted = hex.EncodeToString(nonce[:])
	}
	for i, j := range parts {
		if j.report == nil {
			return // the format says why
		}
		if nonce == nil {
			nonce = &j.report.Nonce
		}
		if j.report.Nonce != *nonce {
			f.Checks.Add(CheckNonce, false, fmt.Sprintf("GPU %d: %x", i, j.report.Nonce), wanted)
			return
		}
		copy(j.ReportData[:], j.report.Nonce[:])
	}
	f.ReportData = f.Parts[0].ReportData
	f.Checks.Add(CheckNonce, true, hex.EncodeToString(nonce[:]), wanted)
}

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
		j.Status = StatusMatches
	}
}

// register names all that the report and the certificates state.
func (j *judgement) register() {
	add := func(name string, value []byte) {
		j.Registers = append(j.Registers, evidence.Register{Name: name, Value: value})
	}
	add("chip", []byte(j.device.Chip))
	add("serial", []byte(j.device.Serial))
	add("driver", []byte(j.report.Driver))
	add("vbios", []byte(j.report.VBIOS))
	add("mode", []byte(j.report.Mode))
	add("fwid", j.report.FWID)
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
	if t := j.v.Test; t != nil && t.Device != nil && t.Device.Equal(certs[len(certs)-1]) {
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

// checkRevocation asks about each certificate but the root.
func (j *judgement) checkRevocation(name string, certs ...[]*x509.Certificate) {
	wanted := "none revoked"
	for _, chain := range certs {
		for i, c := range chain[:len(chain)-1] {
			known, err := j.status(c, chain[i+1])
			if err != nil {
				j.Checks.Add(name, !known && j.v.AllowUnknown, fmt.Sprintf("%s: %v", c.Subject.CommonName, err), wanted)
				return
			}
		}
	}
	j.Checks.Add(name, true, "none", wanted)
}

// status asks about one certificate. An error is an answer, if known, or the
// lack of one.
func (j *judgement) status(c, issuer *x509.Certificate) (known bool, err error) {
	answer, err := ask(j, func(src Collateral) ([]byte, error) { return src.Status(j.ctx, c, issuer) })
	if err != nil {
		return false, err
	}
	holds, err := j.v.memo.get("status", issuer, append(c.Raw[:len(c.Raw):len(c.Raw)], answer...), func() (any, error) { return checkRevocation(c, issuer, answer) })
	if err != nil {
		return true, err
	}
	s := holds.(span)
	j.Expires = earlier(j.Expires, s.to)
	return true, s.at(j.now)
}

// ask gets collateral; whatever goes wrong makes the judgement unknown.
func ask(j *judgement, get func(Collateral) ([]byte, error)) ([]byte, error) {
	if j.anchors.Collateral == nil {
		j.unknown = true
		return nil, errors.New("unknown: no collateral configured")
	}
	b, err := get(j.anchors.Collateral)
	if err != nil {
		j.unknown = true
		j.Passing = j.Passing || !errors.Is(err, ErrNotPublished)
		return nil, fmt.Errorf("unknown: %w", err)
	}
	return b, nil
}

// checkManifests compares the measurements with what NVIDIA has published.
func (j *judgement) checkManifests() {
	driver, missing1 := j.manifest(CheckDriverManifest, j.report.DriverManifest(j.device.Chip), j.report.Driver)
	vbios, missing2 := j.manifest(CheckVBIOSManifest, j.report.VBIOSManifest(), j.report.VBIOS)
	var had []*Manifest
	var chains [][]*x509.Certificate
	for _, m := range []*Manifest{driver, vbios} {
		if m != nil {
			had, chains = append(had, m), append(chains, m.certs)
		}
	}
	if len(had) > 0 {
		j.checkRevocation(CheckManifestRevoked, chains...)
	}
	got, ok := compare(j.report, had...)
	switch {
	case len(had) == 2 || !ok:
	case missing1 || missing2:
		got, ok = "unknown: no manifest to compare all with", j.v.AllowUnknown
	default:
		got, ok = "a manifest is wrong", false
	}
	j.Checks.Add(CheckMeasurements, ok, got, "as in the manifests")
}

// manifest gets one manifest, verified. It is nil if it is wrong, or missing.
func (j *judgement) manifest(check, name, version string) (m *Manifest, missing bool) {
	wanted := name + " signed by NVIDIA"
	document, err := ask(j, func(src Collateral) ([]byte, error) { return src.Manifest(j.ctx, name) })
	if err != nil {
		j.Checks.Add(check, j.v.AllowUnknown, err.Error(), wanted)
		return nil, true
	}
	m, err = j.verified(document)
	if err == nil && (!strings.EqualFold(m.Version, version) || m.Product != j.device.Chip || m.Edition != "GPU") {
		err = fmt.Errorf("nvidia: manifest is of %s %s %s, want GPU %s %s", m.Edition, m.Product, m.Version, j.device.Chip, version)
	}
	if err == nil {
		err = m.ValidAt(j.now)
	}
	if !j.Checks.Passed(check, err, wanted) {
		return nil, false
	}
	j.Expires = earlier(j.Expires, endOf(m.certs))
	return m, false
}

// verified verifies a manifest, or remembers that it did.
func (j *judgement) verified(document []byte) (*Manifest, error) {
	v, err := j.v.memo.get("manifest", j.anchors.Manifest, document, func() (any, error) {
		m, err := ParseManifest(document)
		if err == nil {
			err = m.Verify(j.anchors.Manifest)
		}
		if err != nil {
			return nil, err
		}
		m.root, m.envelope = nil, nil // no more needed, and large
		return m, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*Manifest), nil
}

// compare tells whether each measurement that counts for either manifest has
// one of its values. No measurement may count for both.
func compare(p *Report, manifests ...*Manifest) (got string, ok bool) {
	var differ []int
	counted := map[int]bool{}
	for _, m := range manifests {
		for index, values := range m.Expected {
			if counted[index] {
				return fmt.Sprintf("measurement %d is in both manifests", index), false
			}
			counted[index] = true
			skip := index == nvdecMeasurement && p.NVDECDisabled
			if !skip && (index >= len(p.Measurements) || !slices.Contains(values, p.Measurements[index])) {
				differ = append(differ, index)
			}
		}
	}
	slices.Sort(differ)
	if len(differ) > 0 {
		return fmt.Sprintf("%d of %d differ: %v", len(differ), len(counted), differ), false
	}
	return fmt.Sprintf("all %d as in the manifests", len(counted)), true
}

// memo remembers what has been verified and does not depend on the time, so
// that a GPU seen before costs one signature.
type memo struct {
	mu   sync.Mutex // guards what follows
	done map[[32]byte]any
}

const maxMemo = 4096 // a manifest has 5 kB, the rest little

// get returns what do returned for the same kind, root and data, without an
// error, once before.
func (m *memo) get(kind string, root *x509.Certificate, data []byte, do func() (any, error)) (any, error) {
	h := sha256.New()
	for _, b := range [][]byte{[]byte(kind), {0}, root.Raw, data} { // a certificate says how long it is
		h.Write(b)
	}
	key := [32]byte(h.Sum(nil))
	m.mu.Lock()
	v, ok := m.done[key]
	m.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := do()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.done) >= maxMemo || m.done == nil {
		m.done = map[[32]byte]any{}
	}
	m.done[key] = v
	return v, nil
}
