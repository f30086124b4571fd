package router

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	if b, n, ok := strings.Cut(s, "*"); ok { // "12*48" is 48 times 12
		size := map[string]int{"48": 48, "64": 64}[n]
		s = strings.Repeat(b, size)
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loadJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// written is the record that a policy of a type writes about a peer.
func written(t *testing.T, kind string, form ratls.Generation, peer *ratls.Peer, source, destination string) string {
	t.Helper()
	r := &rule{Policy: Policy{Type: kind}}
	at := &stand{Port: Port{Record: true}, rule: r, plan: &plan{form: form}}
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	b, err := at.record(nil, r, peer, net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// Records of the base form, byte for byte what the deployed router writes.
func TestRecordsOfTheBaseForm(t *testing.T) {
	var v struct {
		Records []struct {
			Label  string
			Framed string
			Fields struct {
				Attestation   string
				MRTD          string `json:"mr_td"`
				MRConfigID    string `json:"mr_config_id"`
				MROwner       string `json:"mr_owner"`
				MROwnerConfig string `json:"mr_owner_config"`
				RTMR          []string
				ReportData    string `json:"report_data"`
				Root          string `json:"collateral_root_hash"`
				Key           string `json:"public_key"`
				Source        string
				Destination   string
			}
		}
	}
	loadJSON(t, "../ratls/testdata/peer_info.json", &v)
	if len(v.Records) < 3 {
		t.Fatalf("%d records, want three or more", len(v.Records))
	}
	for _, c := range v.Records {
		f := c.Fields
		if f.Key == "" { // captured: its key is in the record
			f.Key = hex.EncodeToString(unhex(t, c.Framed)[4+53:][:32])
		}
		peer := &ratls.Peer{Key: unhex(t, f.Key), Verdict: &attest.Verdict{Kind: attest.KindNone}}
		kinds := []string{typeAny}
		if f.Attestation == "tdx" {
			peer.Verdict = &attest.Verdict{Kind: attest.KindTDX, ReportData: [64]byte(unhex(t, f.ReportData))}
			for name, value := range map[string]string{
				tdx.RegisterMRTD: f.MRTD, tdx.RegisterMRConfigID: f.MRConfigID, tdx.RegisterMROwner: f.MROwner, tdx.RegisterMROwnerConfig: f.MROwnerConfig,
				tdx.RegisterRTMR0: f.RTMR[0], tdx.RegisterRTMR1: f.RTMR[1], tdx.RegisterRTMR2: f.RTMR[2], tdx.RegisterRTMR3: f.RTMR[3], tdx.RegisterRootKey: f.Root,
			} {
				peer.Verdict.Registers = append(peer.Verdict.Registers, attest.Register{Name: name, Value: unhex(t, value)})
			}
			kinds = []string{typeTDX, typeTEE}
		}
		for _, kind := range kinds {
			if got := written(t, kind, ratls.GenerationBase, peer, f.Source, f.Destination); got != c.Framed {
				t.Errorf("%s, policy %s:\n%s, want\n%s", c.Label, kind, got, c.Framed)
			}
		}
	}
}

// Records of the current form, as its own code writes them.
func TestRecordsOfTheCurrentForm(t *testing.T) {
	var v struct {
		Key        string `json:"public_key"`
		ReportData string `json:"reportdata_hex"`
		Cases      []struct {
			Name, Report, Frame string
			Kind                int
		}
	}
	loadJSON(t, "../ratls/testdata/peer_record.json", &v)
	seen := 0
	for _, c := range v.Cases {
		report := unhex(t, c.Report)
		peer := &ratls.Peer{Key: unhex(t, v.Key), Verdict: &attest.Verdict{ReportData: [64]byte(unhex(t, v.ReportData))}}
		kind := typeTEE
		switch {
		case c.Kind == 1:
			peer.Verdict.Kind = attest.KindSEVSNP
			peer.Verdict.Registers = []attest.Register{{Name: registerMeasurement, Value: report[:48]}}
		case bytes.Count(report, []byte{0}) == len(report):
			kind, peer.Verdict = typeAny, &attest.Verdict{Kind: attest.KindNone}
		default:
			peer.Verdict.Kind = attest.KindTDX
			for i, name := range []string{tdx.RegisterMRTD, tdx.RegisterMRConfigID, tdx.RegisterMROwner, tdx.RegisterMROwnerConfig,
				tdx.RegisterRTMR0, tdx.RegisterRTMR1, tdx.RegisterRTMR2, tdx.RegisterRTMR3} {
				peer.Verdict.Registers = append(peer.Verdict.Registers, attest.Register{Name: name, Value: report[48*i:][:48]})
			}
			peer.Verdict.Registers = append(peer.Verdict.Registers, attest.Register{Name: tdx.RegisterRootKey, Value: report[448:]})
		}
		info, err := ratls.ParsePeerInfo(unhex(t, c.Frame)[4:])
		if err != nil {
			t.Fatal(err)
		}
		if got := written(t, kind, ratls.GenerationCurrent, peer, info.Source.String(), info.Destination.String()); got != c.Frame {
			t.Errorf("%s:\n%s, want\n%s", c.Name, got, c.Frame)
		}
		seen++
	}
	if seen < 3 {
		t.Errorf("%d cases, want three or more", seen)
	}
}

// A machine that has no place in a form gets no record, and so no connection.
func TestNoRecord(t *testing.T) {
	peer := &ratls.Peer{Key: make([]byte, 32), Verdict: &attest.Verdict{Kind: attest.KindSEVSNP}}
	at := &stand{Port: Port{Record: true}, rule: &rule{Policy: Policy{Type: typeTEE}}, plan: &plan{form: ratls.GenerationBase}}
	if b, err := at.record(nil, at.rule, peer, net.TCPAddrFromAddrPort(netip.AddrPort{}), net.TCPAddrFromAddrPort(netip.AddrPort{})); err == nil {
		t.Errorf("record %x about SEV-SNP in the base form", b)
	}
}

// The record at the head of each recorded session is what we write about the
// same certificate: it is judged as in the recording, at that time.
func TestRecordsOfTheRecordedSessions(t *testing.T) {
	pemBytes, err := os.ReadFile("../ratls/testdata/router_client_cert.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pemBytes)
	shown, err := ratls.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var p Problems
	r := Policy{Name: "fake", Type: typeFakeTDX}.rule(attest.Policy{}, &Settings{}, &p)
	verdict, err := r.attest.Judge(t.Context(), shown.Evidence, shown.Key, time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC))
	if err == nil {
		err = r.admits(verdict)
	}
	if err != nil || p != nil {
		t.Fatal(err, p)
	}
	peer := &ratls.Peer{Key: shown.Key, Verdict: verdict}
	for _, name := range []string{"proxy_clients", "proxy_workers"} {
		b, err := os.ReadFile("../tl/testdata/sessions/" + name + ".frames.txt")
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 7 || f[3] != "ATTESTED_PEER_INFO" {
				continue
			}
			info, err := ratls.ParsePeerInfo(unhex(t, f[6])[4:])
			if err != nil {
				t.Fatal(err)
			}
			if got := written(t, typeFakeTDX, ratls.GenerationBase, peer, info.Source.String(), info.Destination.String()); got != f[6] {
				t.Errorf("%s:\n%s, want\n%s", name, got, f[6])
			}
			seen++
		}
		if seen == 0 {
			t.Errorf("%s: no record", name)
		}
	}
}
