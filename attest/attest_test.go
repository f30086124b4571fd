package attest_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

type vectors struct {
	Sample struct {
		ImageHash string `json:"image_hash"`
		Fields    map[string]struct {
			Hex string `json:"hex"`
		} `json:"body_fields"`
	} `json:"sample_quote"`
	Pin struct {
		Expected string `json:"expected"`
	} `json:"collateral_root_pin"`
	ImageHash []struct {
		Label         string
		MRTD          string   `json:"mr_td"`
		MRConfigID    string   `json:"mr_config_id"`
		MROwner       string   `json:"mr_owner"`
		MROwnerConfig string   `json:"mr_owner_config"`
		RTMR          []string `json:"rtmr"`
		ImageHash     string   `json:"image_hash"`
	} `json:"image_hash"`
	SGX []struct {
		MREnclave string `json:"mr_enclave"`
		ImageHash string `json:"image_hash"`
	} `json:"image_hash_sgx"`
	Claims []struct {
		PublicKey  string `json:"public_key"`
		ReportData string `json:"report_data"`
	} `json:"user_claims"`
	Fake []struct {
		PublicKey string `json:"public_key"`
		Quote     string
	} `json:"fake_tdx_quote"`
}

func load(t *testing.T) *vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/attestation.json")
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
	if len(v.ImageHash) == 0 || len(v.SGX) == 0 || len(v.Claims) == 0 || len(v.Fake) == 0 || len(v.Sample.Fields) == 0 {
		t.Fatal("testdata/attestation.json lacks a section")
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("tdx/testdata/quote.dat")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSampleFields(t *testing.T) {
	v := load(t)
	q, err := tdx.Parse(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	b := q.Body
	for name, got := range map[string][]byte{
		"tee_tcb_svn": b.TCBSVN[:], "mr_seam": b.MRSeam[:], "mr_signer_seam": b.MRSignerSeam[:], "mr_td": b.MRTD[:],
		"mr_config_id": b.MRConfigID[:], "mr_owner": b.MROwner[:], "mr_owner_config": b.MROwnerConfig[:], "report_data": b.ReportData[:],
		"rtmr0": b.RTMR[0][:], "rtmr1": b.RTMR[1][:], "rtmr2": b.RTMR[2][:], "rtmr3": b.RTMR[3][:],
	} {
		if want := v.Sample.Fields[name].Hex; hex.EncodeToString(got) != want {
			t.Errorf("%s is %x, want %s", name, got, want)
		}
	}
	if got := b.ImageHash().String(); got != v.Sample.ImageHash {
		t.Errorf("image hash %s, want %s", got, v.Sample.ImageHash)
	}
	if got := hex.EncodeToString(tdx.IntelRootKey[:]); got != v.Pin.Expected {
		t.Errorf("pinned root key %s, want %s", got, v.Pin.Expected)
	}
}

func TestImageHashes(t *testing.T) {
	v := load(t)
	for _, c := range v.ImageHash {
		m := attest.Measurements{}
		for to, from := range map[*[48]byte]string{
			&m.MRTD: c.MRTD, &m.MRConfigID: c.MRConfigID, &m.MROwner: c.MROwner, &m.MROwnerConfig: c.MROwnerConfig,
			&m.RTMR[0]: c.RTMR[0], &m.RTMR[1]: c.RTMR[1], &m.RTMR[2]: c.RTMR[2], &m.RTMR[3]: c.RTMR[3],
		} {
			copy(to[:], unhex(t, from))
		}
		m.ReportData[0], m.RootKey[0] = 1, 1 // not part of it
		if got := m.ImageHash().String(); got != c.ImageHash {
			t.Errorf("%s: %s, want %s", c.Label, got, c.ImageHash)
		}
	}
	for _, c := range v.SGX {
		if got := attest.HashOf(unhex(t, c.MREnclave)).String(); got != c.ImageHash {
			t.Errorf("SGX: %s, want %s", got, c.ImageHash)
		}
	}
	if got := attest.Unmeasured.String(); got != "5c55c8f4db4010ba9203d83536d0609856af8c847ac039e37e7dde8fbd574b61" {
		t.Errorf("unmeasured is %s", got)
	}
}

func TestReportData(t *testing.T) {
	v := load(t)
	for _, c := range v.Claims {
		got := attest.ReportData(unhex(t, c.PublicKey))
		if !bytes.Equal(got[:], unhex(t, c.ReportData)) {
			t.Errorf("report data %x, want %s", got, c.ReportData)
		}
	}
	for _, c := range v.Fake {
		got, err := insecure.Fake{}.Quote(t.Context(), attest.ReportData(unhex(t, c.PublicKey)))
		if err != nil || !bytes.Equal(got, unhex(t, c.Quote)) {
			t.Errorf("fake evidence %x, %v, want %s", got, err, c.Quote)
		}
	}
}

func TestParseHash(t *testing.T) {
	h, err := attest.ParseHash(attest.Unmeasured.String())
	if err != nil || h != attest.Unmeasured {
		t.Errorf("%v, %v", h, err)
	}
	for _, bad := range []string{"", "5c", attest.Unmeasured.String() + "00", "zz" + attest.Unmeasured.String()[2:]} {
		if _, err := attest.ParseHash(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

// Every platform must do what its interface says.
func TestPlatforms(t *testing.T) {
	a := authority(t)
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]attest.Platform{"none": attest.NoPlatform{}, "fake": insecure.Fake{}, "simulated": a.Machine("image")} {
		evidence, err := p.Quote(t.Context(), attest.ReportData(key))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := attest.KindOf(evidence); got != p.Kind() {
			t.Errorf("%s: evidence looks like %s, platform says %s", name, got, p.Kind())
		}
		data := attest.ReportData(key)
		if p.Kind() != attest.KindNone && !bytes.Contains(evidence, data[:]) {
			t.Errorf("%s: evidence does not carry the report data", name)
		}
	}
}
