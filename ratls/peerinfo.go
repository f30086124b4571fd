package ratls

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/tl"
)

// MaxPeerInfo bounds a peer-info record, in bytes (16536, sic).
const MaxPeerInfo = 16536

// PeerInfo is what a router reports about a peer, on the local connection and
// before anything else.
type PeerInfo struct {
	attest.Relayed
	// Measurement is MRENCLAVE (32 bytes) for KindSGX, the launch measurement
	// (48 bytes) for KindSEVSNP, and nil for others.
	Measurement []byte
	// ReportData is that of the evidence, zero without.
	ReportData [64]byte

	Source      netip.AddrPort // the remote peer or, when dialing, ourselves
	Destination netip.AddrPort
}

// Generation is a form of the record. Readers accept both.
type Generation int

// The forms. A router and the node behind it must be of the same.
const (
	GenerationBase    Generation = iota // wire.md 3.8
	GenerationCurrent                   // current.md 6.3
)

// First words of a record, and kinds of evidence in the second.
const (
	recordNone     = 0
	recordAttested = 1
	recordCurrent  = 2

	familyTDX   = 0
	familyOther = 1 // SGX in the base form, SEV-SNP in the current one
)

// ReadPeerInfo reads one record and not a byte more.
func ReadPeerInfo(r io.Reader) (*PeerInfo, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, fmt.Errorf("peer-info record: %w", err)
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n > MaxPeerInfo {
		return nil, fmt.Errorf("peer-info record of %d bytes, want at most %d: does the router write records?", n, MaxPeerInfo)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("peer-info record: %w", err)
	}
	return ParsePeerInfo(b)
}

// ParsePeerInfo reads a record without its length.
//
//	base                            current
//	0 none, 1 attested     4        2                      4
//	variant if attested    4        variant                4
//	registers, report data          registers, report data
//	root key              48        root key if TDX       48
//	key, addresses                  key, addresses
func ParsePeerInfo(b []byte) (*PeerInfo, error) {
	r := &recordReader{Reader: tl.NewReader(b)}
	p := &PeerInfo{}
	switch first := r.Uint32("generation"); first {
	case recordNone:
		p.Kind = attest.KindNone
		r.raw("root key", 48)
	case recordAttested:
		r.report(p, attest.KindSGX, 32)
		if p.Kind == attest.KindSGX {
			r.raw("root key", 48)
		}
	case recordCurrent:
		r.report(p, attest.KindSEVSNP, 48)
	default:
		return nil, fmt.Errorf("peer-info record: begins with %d, want 0, 1 or 2", first)
	}
	p.Key = ed25519.PublicKey(r.String("public key"))
	p.Source, p.Destination = r.address("source"), r.address("destination")
	switch {
	case r.err() != nil:
		return nil, fmt.Errorf("peer-info record: %w", r.err())
	case r.Len() != 0:
		return nil, fmt.Errorf("peer-info record: %d bytes too many", r.Len())
	case len(p.Key) != ed25519.PublicKeySize:
		return nil, fmt.Errorf("peer-info record: key of %d bytes, want %d", len(p.Key), ed25519.PublicKeySize)
	}
	return p, nil
}

// recordReader reads the untagged parts of a record.
type recordReader struct {
	*tl.Reader
	failed error
}

func (r *recordReader) err() error {
	var e *tl.Error
	if r.failed == nil && errors.As(r.Err(), &e) {
		return fmt.Errorf("%s at byte %d: %w", e.Field, e.Offset, e.Err)
	}
	return r.failed
}

// raw takes n bytes; a multiple of four.
func (r *recordReader) raw(field string, n int) []byte {
	b := make([]byte, 0, n)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint32(b, r.Uint32(field))
	}
	return b
}

// report reads the evidence: of a TDX guest, or of the other kind with one
// measurement of that size.
func (r *recordReader) report(p *PeerInfo, other attest.Kind, size int) {
	switch variant := r.Uint32("variant"); variant {
	case familyTDX:
		p.Kind, p.Measurements = attest.KindTDX, &attest.Measurements{}
		for _, register := range registers(p.Measurements) {
			copy(register[:], r.raw("registers", 48))
		}
		copy(p.ReportData[:], r.raw("report data", 64))
		p.Measurements.ReportData = p.ReportData
		copy(p.Measurements.RootKey[:], r.raw("root key", 48))
		p.ImageHash = p.Measurements.ImageHash()
	case familyOther:
		p.Kind, p.Measurement = other, r.raw("measurement", size)
		copy(p.ReportData[:], r.raw("report data", 64))
		p.ImageHash = attest.HashOf(p.Measurement)
	default:
		r.fail("variant is %d, want 0 or 1", variant)
	}
}

func (r *recordReader) fail(format string, args ...any) {
	if r.failed == nil {
		r.failed = fmt.Errorf(format, args...)
	}
}

func (r *recordReader) address(field string) netip.AddrPort {
	text, port := r.String(field), r.Int32(field)
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if r.err() == nil && (err != nil || port < 0 || port > 65535) {
		r.fail("%s is %.50q port %d, want a numeric address", field, text, port)
	}
	return netip.AddrPortFrom(ip, uint16(port))
}

// registers are the eight in the order of record and image hash.
func registers(m *attest.Measurements) []*[48]byte {
	return []*[48]byte{&m.MRTD, &m.MRConfigID, &m.MROwner, &m.MROwnerConfig, &m.RTMR[0], &m.RTMR[1], &m.RTMR[2], &m.RTMR[3]}
}

// Append appends the record with its length, as a router would write it. A
// peer without evidence has all-zero registers in the current form.
func (p *PeerInfo) Append(b []byte, form Generation) ([]byte, error) {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, 0) // the length, known at the end
	b, err := p.appendReport(b, form)
	if err != nil {
		return nil, err
	}
	b = tl.AppendBytes(b, p.Key)
	for _, a := range []netip.AddrPort{p.Source, p.Destination} {
		b = tl.AppendString(b, a.Addr().String())
		b = binary.LittleEndian.AppendUint32(b, uint32(a.Port()))
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b, nil
}

func (p *PeerInfo) appendReport(b []byte, form Generation) ([]byte, error) {
	first, other := uint32(recordAttested), attest.KindSGX
	if form == GenerationCurrent {
		first, other = recordCurrent, attest.KindSEVSNP
	}
	le := binary.LittleEndian
	switch {
	case p.Kind == attest.KindNone && form == GenerationBase:
		return append(le.AppendUint32(b, recordNone), make([]byte, 48)...), nil
	case p.Kind == attest.KindNone:
		return appendTDX(le.AppendUint32(b, first), &attest.Measurements{}), nil
	case p.Kind == attest.KindTDX && p.Measurements != nil:
		return appendTDX(le.AppendUint32(b, first), p.Measurements), nil
	case p.Kind == other:
		b = le.AppendUint32(le.AppendUint32(b, first), familyOther)
		b = append(append(b, p.Measurement...), p.ReportData[:]...)
		if p.Kind == attest.KindSGX {
			b = append(b, make([]byte, 48)...)
		}
		return b, nil
	}
	return nil, fmt.Errorf("peer-info record: evidence of kind %s has no place in form %d", p.Kind, form)
}

func appendTDX(b []byte, m *attest.Measurements) []byte {
	b = binary.LittleEndian.AppendUint32(b, familyTDX)
	for _, register := range registers(m) {
		b = append(b, register[:]...)
	}
	return append(append(b, m.ReportData[:]...), m.RootKey[:]...)
}
