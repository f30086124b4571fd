package router

import (
	"net/netip"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
)

// facts are what a verdict states about a machine, for lists and records.
type facts struct {
	mrtd        [48]byte
	rtmr        [4][48]byte
	rootKey     [48]byte
	measurement [48]byte // of a SEV-SNP guest
}

// registerMeasurement is the vendor's name of a SEV-SNP guest's measurement.
const registerMeasurement = "measurement"

func factsOf(v *attest.Verdict) (f facts) {
	if m := v.Measurements(); m != nil {
		f.mrtd, f.rtmr, f.rootKey = m.MRTD, m.RTMR, m.RootKey
	}
	copy(f.measurement[:], v.Register(registerMeasurement))
	return f
}

// record is what the program on this machine is told about a peer. Under a
// policy that lets anybody in nobody has been judged, whatever the
// peer showed, and the record says so.
func (r *rule) record(peer *ratls.Peer, source, destination netip.AddrPort) *ratls.PeerInfo {
	info := &ratls.PeerInfo{Source: unmap(source), Destination: unmap(destination)}
	info.Key, info.Kind = peer.Key, attest.KindNone
	v := peer.Verdict
	switch {
	case r.Type == typeAny:
	case v.Kind == attest.KindTDX, v.Kind == attest.KindFakeTDX: // fake evidence is a TDX report of zeros
		info.Kind, info.Measurements, info.ReportData = attest.KindTDX, v.Measurements(), v.ReportData
	default:
		info.Kind, info.Measurement, info.ReportData = v.Kind, v.Register(registerMeasurement), v.ReportData
	}
	return info
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
