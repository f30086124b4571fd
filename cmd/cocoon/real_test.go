package main

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// evidenceFiles are quotes and reports of genuine machines, with what their
// vendors published about them.
func evidenceFiles(t *testing.T) (intel, amd string) {
	t.Helper()
	intel, amd = filepath.Join("..", "..", "attest", "tdx", "testdata"), t.TempDir()
	source := filepath.Join("..", "..", "attest", "snp", "testdata")
	for _, name := range []string{"milan", "milan-debug", "genoa"} {
		report, err := os.ReadFile(filepath.Join(source, name+"-report.bin"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(source, name+"-vcek.der"))
		if err != nil {
			t.Fatal(err)
		}
		both := append(report, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key})...)
		if err := os.WriteFile(filepath.Join(amd, name), both, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return intel, amd
}

// Real evidence, offline, at the date of its collateral.
func TestAttestRealEvidence(t *testing.T) {
	intel, amd := evidenceFiles(t)
	const milan = "c4400e2404e0c2ca5cc5be8986731cf9c8795bb52103b55dcfcd8f4be5b44265"
	const mrtd = "7357a10d2e2724dffe68813e3cc4cfcde6814d749f2fb62e3953e54f6e0b50a219786afe2cd478f684b52c61837e1114"
	at2026 := " --collateral TDX/collateral-2026-02 --at 2026-03-01T00:00:00Z"
	for _, c := range []struct {
		args string
		code int
		out  string // each line must be there
	}{
		{"verify TDX/quote.dat --any-image" + at2026, exitOK, "trusted: attested: genuine machine, platform in order\nok  platform tcb\nok  pck crl\nok  tcb "},
		{"verify TDX/quote.dat --require image --image 04b3afd931d28680af91a15b09d672c40ad6b141f7f9089a8d67d595220f7436" + at2026, exitOK, "trusted: attested: genuine machine, platform in order, image listed\nok  level"},
		{"verify TDX/quote.dat --require image --any-image" + at2026, exitRefused, "NO  level"},
		{"verify TDX/quote.dat --any-image --register mrtd=" + mrtd + at2026, exitOK, "ok  register mrtd"},
		{"verify TDX/quote.dat --any-image --register mrtd=" + mrtd[2:] + "00" + at2026, exitRefused, "NO  register mrtd"},
		{"verify TDX/quote.dat --any-image --platform ed8ccfd483682eae3651ccf5a224e872" + at2026, exitOK, "ok  platform  "},
		{"verify TDX/quote.dat --any-image --deny-platform ed8ccfd483682eae3651ccf5a224e872" + at2026, exitRefused, "NO  platform  "},
		{"verify TDX/quote.dat --any-image --min-evaluation 19" + at2026, exitRefused, "NO  evaluation number tcb info\nNO  evaluation number qe identity"},
		{"verify TDX/quote.dat --any-image --collateral TDX/collateral-2026-02 --at 2026-04-01T00:00:00Z", exitRefused, "NO  tcb info\nNO  qe identity\nok  root crl\nNO  pck crl\nNO  tcb "},
		{"verify TDX/quote.dat --any-image --collateral TDX/collateral-2025-06 --at 2025-12-01T00:00:00Z", exitRefused, "NO  qe identity\nNO  tcb "},
		{"verify TDX/quote-v4.dat --any-image --collateral TDX/collateral-2025-06 --at 2025-06-25T00:00:00Z", exitOK, "trusted: attested"},
		{"verify TDX/quote-v5.dat --any-image" + at2026, exitRefused, "ok  service td\nNO  platform tcb"},
		{"verify AMD/milan --any-image --allow-unknown-tcb --snp-image " + milan + " --at 2025-06-01T00:00:00Z", exitRefused, "NO  tcb "},
		{"verify AMD/milan --any-image --allow-unknown-tcb --snp-minimum Milan:snp=8 --snp-image " + milan + " --at 2025-06-01T00:00:00Z", exitOK, "ok  kernel hashes\nok  revocation"},
		{"verify AMD/milan --any-image --allow-unknown-tcb --snp-minimum Milan:snp=8 --at 2025-06-01T00:00:00Z", exitRefused, "NO  kernel hashes"},
		{"verify AMD/milan-debug --any-image --at 2025-06-01T00:00:00Z", exitRefused, "NO  debug"},
		{"verify GPU/gb100x8.evidence --any-image --gpu-linked --allow-unknown-tcb --at 2026-01-01T00:00:00Z", exitOK, "trusted: genuine machine, platform state UNKNOWN\nok  boards  8\nok  platform  41"},
		{"verify GPU/gb100x8.evidence --any-image --gpu-linked --at 2026-01-01T00:00:00Z", exitRefused, "ok  signature\nNO  revocation\nNO  measurements"},
		{"verify GPU/gb100x8.evidence --any-image --allow-unknown-tcb --at 2026-01-01T00:00:00Z", exitRefused, "NO  mode"},
		{"verify GPU/h100x4-ppcie.json --any-image --gpu-linked --allow-unknown-tcb --at 2026-01-01T00:00:00Z", exitRefused, "NO  mode  GPU 0: ppcie"},
		{"inspect GPU/gb100x8.evidence", exitOK, "gpu7 chip  GB100\ngpu7 driver  590.48.01"},
		{"inspect GPU/h100x4-ppcie.json --json", exitOK, "\"gpu0_mode\": \"ppcie\","},
		{"inspect AMD/genoa", exitOK, "kind  sev-snp: an AMD SEV-SNP report"},
		{"inspect TDX/quote-v5.dat --event-log TDX/ccel.bin", exitOK, "RTMR1 the log does not lead to its value\nRTMR3 is what the log leads to"},
		{"inspect AMD/genoa --event-log TDX/ccel.bin", exitFailure, ""},
		{"inspect TDX/quote.dat --event-log TDX/quote.dat", exitFailure, ""},
		{"verify TDX/quote.dat --require high --collateral TDX/none --register x --snp-minimum Rome:snp=1 --snp-image 1", exitUsage, ""},
	} {
		var out, errOut strings.Builder
		args := strings.Fields("attest " + strings.NewReplacer("TDX", intel, "AMD/", amd+"/", "GPU/", filepath.Join("..", "..", "attest", "nvidia", "testdata")+"/").Replace(c.args))
		code := run(t.Context(), args, strings.NewReader(""), &out, &errOut)
		if code != c.code {
			t.Errorf("%s: exit %d, want %d\n%s%s", c.args, code, c.code, &out, &errOut)
		}
		got := spaces(out.String())
		for _, line := range strings.Split(c.out, "\n") {
			if !strings.Contains(got, spaces(line)) {
				t.Errorf("%s: no %q in\n%s", c.args, line, got)
			}
		}
	}
}

// spaces makes one space of several.
func spaces(s string) string {
	var lines []string
	for _, line := range strings.Split(s, "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

// What scripts rely on.
func TestAttestVerifyJSON(t *testing.T) {
	intel, _ := evidenceFiles(t)
	var out, errOut strings.Builder
	args := strings.Fields("attest verify " + intel + "/quote.dat --any-image --json --collateral " + intel + "/collateral-2026-02 --at 2026-03-01T00:00:00Z")
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, &errOut)
	}
	var v struct {
		Verdict, Level, Kind, TCB, Platform string
		LevelName                           string `json:"level_name"`
		Measurements                        map[string]string
		Checks                              []struct {
			Name, Got, Want string
			OK              bool
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &v); err != nil {
		t.Fatal(err)
	}
	if v.Verdict != "trusted" || v.LevelName != "attested" || v.Kind != "tdx" || v.TCB != "UpToDate" || v.Platform != "ed8ccfd483682eae3651ccf5a224e872" {
		t.Errorf("%+v", v)
	}
	for _, name := range []string{"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "image_hash", "report_data", "td_attributes", "xfam", "mrseam", "root_key", "fmspc"} {
		if v.Measurements[name] == "" {
			t.Errorf("no measurement %s", name)
		}
	}
	if len(v.Checks) < 30 {
		t.Errorf("%d checks, want 30 at least", len(v.Checks))
	}
	for _, c := range v.Checks {
		if !c.OK || c.Name == "" || c.Got == "" || c.Want == "" {
			t.Errorf("check %+v", c)
		}
	}
}

// A caching service with Intel's paths fills the directory that verify reads.
func TestAttestCollateral(t *testing.T) {
	authority, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part, header := tdx.RootCRL, ""
		switch {
		case strings.HasSuffix(r.URL.Path, "/tcb"):
			part, header = tdx.TCBInfo([6]byte{0xc0, 0xc0}), "Tcb-Info-Issuer-Chain"
		case strings.HasSuffix(r.URL.Path, "/identity"):
			part, header = tdx.QEIdentity, "Sgx-Enclave-Identity-Issuer-Chain"
		case strings.HasSuffix(r.URL.Path, "/pckcrl"):
			part = tdx.PCKCRLPlatform
		}
		s, err := authority.Get(r.Context(), part)
		if err != nil {
			t.Error(err)
		}
		if header != "" {
			w.Header().Set(header, url.QueryEscape(string(s.Chain)))
		}
		w.Write(s.Body)
	}))
	defer service.Close()
	dir := t.TempDir()
	if err := authority.Save(dir); err != nil {
		t.Fatal(err)
	}
	raw, err := authority.Machine("x").Quote(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	quote := filepath.Join(dir, "quote")
	if err := os.WriteFile(quote, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
	}{
		{"collateral QUOTE", exitUsage},
		{"collateral QUOTE --to DIR/here --from http://127.0.0.1:1", exitFailure},
		{"collateral QUOTE --to DIR/here --from " + service.URL, exitOK},
		{"verify QUOTE --any-image --insecure-test-root DIR/root.pem --collateral DIR/here", exitOK},
	} {
		var out, errOut strings.Builder
		args := strings.Fields("attest " + strings.NewReplacer("QUOTE", quote, "DIR", dir).Replace(c.args))
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errOut); code != c.code {
			t.Errorf("%s: exit %d, want %d\n%s%s", c.args, code, c.code, &out, &errOut)
		}
	}
}
