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
