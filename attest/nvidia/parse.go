// Package nvidia reads and verifies the attestation of NVIDIA GPUs in
// confidential mode, Hopper and Blackwell.
//
// A GPU signs its measurements together with a nonce of the asker's; a chain
// of certificates leads from its key to NVIDIA's root; NVIDIA signs, for each
// version of driver and firmware, a manifest of the measurements to expect.
// Start with [Verifier], which asks all questions about [Evidence] and answers
// with a finding; [Command] gets evidence inside a guest; [VerifyToken] reads
// the verdicts of NVIDIA's own attestation service instead. Evidence says
// nothing about the machine around the GPU: see [Nonce] for how both are tied
// together.
//
// Layouts: DMTF DSP0274 (SPDM) 1.1, 10.11 GET_MEASUREMENTS; the opaque fields,
// certificates and manifests as NVIDIA's own verifiers
// (github.com/NVIDIA/nvtrust, github.com/NVIDIA/attestation-sdk) read them.
package nvidia

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	spdm11          = 0x11
	getMeasurements = 0xe0
	measurements    = 0x60
	wantSignature   = 1    // Param1 of the request
	allBlocks       = 0xff // Param2 of the request
	dmtf            = 1    // measurement specification

	requestSize     = 37
	digestSize      = 48 // SHA-384
	signatureSize   = 96 // ECDSA P-384, r then s
	maxMeasurements = 64
	maxReport       = 0x2000 // the driver's buffer
)

// Field is a kind of opaque field.
type Field uint16

// The fields that are judged or named. Others that NVIDIA has defined are kept
// and not looked at.
const (
	FieldDriver         Field = 3  // version, text
	FieldVBIOS          Field = 6  // version, packed
	FieldNVDEC          Field = 11 // 0xaa enabled, 0x55 disabled
	FieldChipSKU        Field = 15
	FieldProject        Field = 17
	FieldProjectSKU     Field = 18
	FieldFWID           Field = 20 // digest of the firmware that the leaf certificate names
	FieldProtectedPCIe  Field = 21 // 0xaa enabled, 0x55 disabled
	FieldSwitches       Field = 22 // NVSwitches behind the links, 8 bytes each
	FieldOpaqueVersion  Field = 34
	FieldChip           Field = 35 // name, text
	FieldFeature        Field = 36 // mode
	maxOpaqueVersion          = 1
	enabled, disabled         = 0xaa, 0x55
	nvdecMeasurement          = 35 // means nothing while the decoder is disabled
	switchIdentifierLen       = 8
)

// known tells whether NVIDIA has defined a field for GPUs.
func (f Field) known() bool { return f >= 1 && f <= 25 || f >= 32 && f <= 36 }

// Mode is how a GPU shares confidential memory with others.
type Mode string

// The modes.
const (
	SinglePassthrough Mode = "spt"   // alone
	MultiPassthrough  Mode = "mpt"   // with GPUs of the same guest, over encrypted links
	ProtectedPCIe     Mode = "ppcie" // with GPUs and switches of the same guest, over links in the clear
)

// Report is a parsed attestation report. Nothing in it has been verified.
type Report struct {
	Nonce        [32]byte // the asker's
	Answer       [32]byte // the GPU's own nonce
	Measurements [][digestSize]byte
	Fields       map[Field][]byte

	// Driver, VBIOS and the three that name a board are from the fields, and
	// are letters, digits and points.
	Driver, VBIOS                string
	Project, ProjectSKU, ChipSKU string
	Chip                         string // empty in older reports
	FWID                         []byte // nil in the reports of the oldest firmware
	NVDECDisabled                bool
	Mode                         Mode
	Unknown                      []Field // fields that have no meaning known here

	raw       []byte
	signature []byte
}

// ErrSwitch means that a report is an NVSwitch's.
var ErrSwitch = errors.New("nvidia: the report is an NVSwitch's, want a GPU's")

// ParseReport takes an attestation report apart: the request that the driver
// made and the GPU's answer. It keeps raw, which must not change afterwards.
//
//	 0 version 0x11          1      37 version 0x11             1
//	 1 GET_MEASUREMENTS      1      38 MEASUREMENTS             1
//	 2 signature wanted      1      39 0, slot                  2
//	 3 all blocks            1      41 blocks                   1
//	 4 nonce                32      42 length of record         3
//	36 slot                  1      45 record                   n
//	                                   nonce                   32
//	                                   length of fields, fields 2 + m
//	                                   signature               96
func ParseReport(raw []byte) (*Report, error) {
	if len(raw) > maxReport {
		return nil, fmt.Errorf("nvidia: report of %d bytes, want at most %d", len(raw), maxReport)
	}
	r := &reader{b: raw}
	report := &Report{raw: raw, Fields: map[Field][]byte{}}
	r.want("request", spdm11, getMeasurements, wantSignature, allBlocks)
	copy(report.Nonce[:], r.take("nonce", 32))
	r.want("slot", 0)
	r.want("response", spdm11, measurements, 0, 0)
	blocks := r.number("number of blocks", 1)
	record := &reader{b: r.take("measurement record", r.number("length of measurement record", 3))}
	copy(report.Answer[:], r.take("GPU's nonce", 32))
	fields := &reader{b: r.take("opaque fields", r.number("length of opaque fields", 2))}
	report.signature = r.take("signature", signatureSize)
	r.end("report")
	report.parseMeasurements(record, blocks)
	report.parseFields(fields)
	if err := errors.Join(r.err, record.err, fields.err); err != nil {
		return nil, err
	}
	return report, report.interpret()
}

// parseMeasurements reads the blocks, which NVIDIA numbers from 1 without
// gaps; manifests number from 0.
//
//	0 index  1      4 type  1
//	1 DMTF   1      5 size  2
//	2 size   2      7 value 48
func (p *Report) parseMeasurements(r *reader, blocks int) {
	if blocks == 0 || blocks > maxMeasurements {
		r.fail("%d measurement blocks, want 1 to %d", blocks, maxMeasurements)
	}
	for i := 0; i < blocks && r.err == nil; i++ {
		r.want("measurement's index", byte(i+1), dmtf)
		r.equal("size of measurement block", r.number("size of measurement block", 2), digestSize+3)
		if kind := r.number("type of measurement", 1); kind > 3 {
			r.fail("measurement %d has type %#x, want a digest of ROM, firmware or configuration", i, kind)
		}
		r.equal("size of measurement", r.number("size of measurement", 2), digestSize)
		if value := r.take("measurement", digestSize); value != nil {
			p.Measurements = append(p.Measurements, [digestSize]byte(value))
		}
	}
	r.end("measurement record")
}

// parseFields reads type, size and value of each field; none may come twice.
func (p *Report) parseFields(r *reader) {
	for len(r.b) > 0 && r.err == nil {
		field := Field(r.number("type of opaque field", 2))
		value := r.take(fmt.Sprintf("opaque field %d", field), r.number("size of opaque field", 2))
		if _, twice := p.Fields[field]; twice {
			r.fail("opaque field %d comes twice", field)
		}
		p.Fields[field] = value
		if !field.known() {
			p.Unknown = append(p.Unknown, field)
		}
	}
}

// interpret reads the fields that a GPU's report must have.
func (p *Report) interpret() (err error) {
	if _, gpu := p.Fields[FieldDriver]; !gpu && p.Fields[FieldSwitches] != nil {
		return ErrSwitch
	}
	for field, text := range map[Field]*string{
		FieldDriver: &p.Driver, FieldProject: &p.Project, FieldProjectSKU: &p.ProjectSKU, FieldChipSKU: &p.ChipSKU, FieldChip: &p.Chip,
	} {
		if _, ok := p.Fields[field]; !ok && field == FieldChip {
			continue
		}
		if *text, err = word(p.Fields[field]); err != nil {
			return fmt.Errorf("nvidia: opaque field %d: %w", field, err)
		}
	}
	if p.VBIOS, err = unpackVBIOS(p.Fields[FieldVBIOS]); err != nil {
		return err
	}
	if fwid, ok := p.Fields[FieldFWID]; ok && len(fwid) != digestSize {
		return fmt.Errorf("nvidia: firmware id of %d bytes, want %d", len(fwid), digestSize)
	}
	p.FWID = p.Fields[FieldFWID]
	if p.NVDECDisabled, err = p.off(FieldNVDEC); err != nil {
		return err
	}
	if n := len(p.Fields[FieldSwitches]); n%switchIdentifierLen != 0 {
		return fmt.Errorf("nvidia: list of switches has %d bytes, want a multiple of %d", n, switchIdentifierLen)
	}
	return p.readMode()
}

// readMode finds the mode. Newer reports state it; older ones only say whether
// PCIe is protected, and Blackwell's oldest say nothing.
func (p *Report) readMode() error {
	version, err := p.small(FieldOpaqueVersion)
	if err != nil {
		return err
	}
	if version > maxOpaqueVersion {
		return fmt.Errorf("nvidia: opaque fields of version %d, want at most %d", version, maxOpaqueVersion)
	}
	if _, ok := p.Fields[FieldProtectedPCIe]; ok {
		unprotected, err := p.off(FieldProtectedPCIe)
		if err != nil {
			return err
		}
		p.Mode = map[bool]Mode{true: SinglePassthrough, false: ProtectedPCIe}[unprotected]
	}
	if _, ok := p.Fields[FieldFeature]; ok {
		feature, err := p.small(FieldFeature)
		if err != nil {
			return err
		}
		if feature > 2 {
			return fmt.Errorf("nvidia: mode is %d, want 0 to 2", feature)
		}
		mode := [...]Mode{SinglePassthrough, MultiPassthrough, ProtectedPCIe}[feature]
		if (p.Mode == ProtectedPCIe) != (mode == ProtectedPCIe) && p.Mode != "" {
			return fmt.Errorf("nvidia: mode is %s, and the state of PCIe says %s", mode, p.Mode)
		}
		p.Mode = mode
	}
	if p.Mode == "" && len(p.Fields[FieldSwitches]) == 0 {
		p.Mode = SinglePassthrough
	}
	if p.Mode == "" {
		return errors.New("nvidia: switches without a mode")
	}
	return nil
}

// off reads a field that is enabled or disabled and nothing else.
func (p *Report) off(f Field) (bool, error) {
	v := p.Fields[f]
	if len(v) != 1 || v[0] != enabled && v[0] != disabled {
		return false, fmt.Errorf("nvidia: opaque field %d is %x, want aa (enabled) or 55 (disabled)", f, v)
	}
	return v[0] == disabled, nil
}

// small reads a number of up to 8 bytes; a field that is not there is 0.
func (p *Report) small(f Field) (n uint64, err error) {
	v := p.Fields[f]
	if len(v) > 8 {
		return 0, fmt.Errorf("nvidia: opaque field %d has %d bytes, want at most 8", f, len(v))
	}
	for i, b := range v {
		n |= uint64(b) << (8 * i)
	}
	return n, nil
}

// word reads text that becomes part of addresses and file names.
func word(b []byte) (string, error) {
	s := string(bytes.TrimRight(b, "\x00"))
	if s == "" || len(s) > 32 {
		return "", fmt.Errorf("text of %d bytes, want 1 to 32", len(s))
	}
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.') {
			return "", fmt.Errorf("text holds %q, want letters, digits and points", c)
		}
	}
	if strings.Contains(s, "..") || s[0] == '.' {
		return "", fmt.Errorf("text is %q", s)
	}
	return s, nil
}

// unpackVBIOS writes the five bytes of a version as NVIDIA does: of 00 9f 00
// 96 01 00 00 00 it makes 96.00.9F.00.01.
func unpackVBIOS(b []byte) (string, error) {
	if len(b) != 8 || !bytes.Equal(b[5:], []byte{0, 0, 0}) {
		return "", fmt.Errorf("nvidia: VBIOS version is %x, want five bytes and three zeros", b)
	}
	digits := strings.ToUpper(hex.EncodeToString([]byte{b[3], b[2], b[1], b[0], b[4]}))
	return strings.Join([]string{digits[:2], digits[2:4], digits[4:6], digits[6:8], digits[8:]}, "."), nil
}

// signed is what the GPU's signature covers.
func (p *Report) signed() []byte { return p.raw[:len(p.raw)-signatureSize] }

// DriverManifest and VBIOSManifest are the names under which NVIDIA publishes
// what to expect of the report's driver on that chip, and of its firmware.
func (p *Report) DriverManifest(chip string) string {
	if chip == "GH100" {
		return "NV_GPU_DRIVER_GH100_" + p.Driver
	}
	return "NV_GPU_CC_DRIVER_" + chip + "_" + p.Driver
}

// VBIOSManifest is described at [Report.DriverManifest].
func (p *Report) VBIOSManifest() string {
	return strings.Join([]string{"NV_GPU_VBIOS", p.Project, p.ProjectSKU, p.ChipSKU, strings.ReplaceAll(p.VBIOS, ".", "")}, "_")
}

// reader takes pieces from the front of b; the first failure sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("nvidia: "+format, args...)
	}
}

func (r *reader) take(what string, n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.fail("%s needs %d bytes, %d are left", what, n, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

// number reads n bytes, little end first; n is at most 4.
func (r *reader) number(what string, n int) int {
	var wide [4]byte
	copy(wide[:], r.take(what, n))
	return int(binary.LittleEndian.Uint32(wide[:]))
}

func (r *reader) want(what string, want ...byte) {
	if got := r.take(what, len(want)); got != nil && !bytes.Equal(got, want) {
		r.fail("%s is %x, want %x", what, got, want)
	}
}

func (r *reader) equal(what string, got, want int) {
	if got != want {
		r.fail("%s is %d, want %d", what, got, want)
	}
}

func (r *reader) end(what string) {
	if len(r.b) > 0 {
		r.fail("%d bytes are left in the %s", len(r.b), what)
	}
}
