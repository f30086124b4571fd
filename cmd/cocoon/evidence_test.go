package main

import (
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
)

// certificates are those of a simulated machine, of a fake one and of a peer
// without evidence, as files of several forms.
func certificates(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	authority, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Save(dir); err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, platform := range map[string]attest.Platform{"tdx": authority.Machine("an image"), "fake": insecure.Fake{}, "none": attest.NoPlatform{}} {
		id, err := ratls.NewIdentity(t.Context(), platform, nil)
		if err != nil {
			t.Fatal(err)
		}
		der := id.Certificate().Certificate[0]
		write(name+".der", der)
		write(name+".hex", []byte(hex.EncodeToString(der)+"\n"))
		write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	write("empty", nil)
	write("cut.der", []byte{derSequence, 0x82})
	write("key.pem", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	write("torn.pem", []byte("-----BEGIN CERTIFICATE-----\n"))
	return dir
}

func TestEvidenceInCertificates(t *testing.T) {
	dir := certificates(t)
	believe := " --any-image --insecure-test-root DIR/root.pem --collateral DIR/collateral"
	image := insecure.ImageHash("an image").String()
	late := " --at " + time.Now().Add(48*time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"quote --insecure-simulated-tdx DIR --insecure-simulated-image other --out DIR/made --report-data " + strings.Repeat("07", 64), exitOK, "", ""},
		{"inspect DIR/made", exitOK, "report data    " + strings.Repeat("07", 32), ""},
		{"verify DIR/made" + believe, exitOK, insecure.ImageHash("other").String(), ""},
		{"quote --insecure-simulated-tdx DIR --insecure-simulated-image other --key " + strings.Repeat("01", 32), exitOK, "0400020081000000", ""},
		{"quote --key 01", exitUsage, "", "64 hexadecimal digits"},
		{"quote --report-data zz", exitUsage, "", "128 hexadecimal digits"},
		{"quote --key 01 --report-data 02", exitUsage, "", "exclude each other"},
		{"inspect DIR/tdx.pem", exitOK, "bound to key   yes\n", ""},
		{"inspect DIR/tdx.der", exitOK, "image hash     " + image, ""},
		{"inspect DIR/tdx.hex --json", exitOK, `"bound_to_key": true`, ""},
		{"inspect DIR/fake.pem", exitOK, "fake-tdx: a mere hash", ""},
		{"inspect DIR/none.pem", exitOK, "none: no evidence", ""},
		{"inspect DIR/none.pem --json", exitOK, `"kind": "none"`, ""},
		{"inspect DIR/empty", exitFailure, "", "is empty"},
		{"inspect DIR/cut.der", exitFailure, "", "certificate: "},
		{"inspect DIR/key.pem", exitFailure, "", "malformed PEM, or not that of a CERTIFICATE"},
		{"inspect DIR/torn.pem", exitFailure, "", "malformed PEM"},
		{"inspect 127.0.0.1:1", exitFailure, "", "want a file, or the address of a proxy's door"},
		{"verify DIR/tdx.pem" + believe, exitOK, "trusted: INSECURE: simulated TDX", ""},
		{"verify DIR/tdx.der --json" + believe, exitOK, `"verdict": "trusted"`, ""},
		{"verify DIR/tdx.pem --any-image", exitRefused, "NO  chain", "evidence refused"},
		{"verify DIR/tdx.pem --key " + strings.Repeat("00", 32) + believe, exitRefused, "NO  report data", "report data"},
		{"verify DIR/tdx.pem" + late + believe, exitRefused, "NO  certificate", "certificate is valid from"},
		{"verify DIR/fake.pem --any-image", exitRefused, "refused\n", "fake-tdx evidence refused"},
		{"verify DIR/fake.pem --any-image --insecure-fake", exitOK, "trusted: INSECURE: fake", ""},
		{"verify DIR/none.pem --any-image", exitRefused, "refused\n", "none evidence refused"},
	} {
		var out, errOut strings.Builder
		args := strings.Fields("attest " + strings.ReplaceAll(c.args, "DIR", dir))
		code := run(t.Context(), args, strings.NewReader(""), &out, &errOut)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errOut.String(), c.err) || c.code == 0 && errOut.Len() > 0 {
			t.Errorf("%s: exit %d\n%s%s\nwant %d, %q, %q", c.args, code, &out, &errOut, c.code, c.out, c.err)
		}
	}
}
