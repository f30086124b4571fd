package tdx_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// sampleDate lies in the life of the sample quote's certificates.
var sampleDate = time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC)

func TestVerifySample(t *testing.T) {
	q := parse(t, sample(t))
	if err := q.VerifySignature(tdx.IntelRoots(), sampleDate); err != nil {
		t.Errorf("signature: %v", err)
	}
	if err := q.VerifyEnclave(); err != nil {
		t.Errorf("enclave: %v", err)
	}
	if id, err := q.RootKey(); err != nil || id != tdx.IntelRootKey {
		t.Errorf("root key %x, %v, want Intel's", id, err)
	}
}

func TestSampleWithoutItsPadding(t *testing.T) {
	raw := bytes.TrimRight(sample(t), "\x00")
	if err := parse(t, append(raw, 0)).VerifySignature(tdx.IntelRoots(), sampleDate); err != nil {
		t.Error(err) // the one zero belongs to the chain of certificates
	}
}

// One flipped bit anywhere in what is signed, or in a signature, is refused.
func TestFlippedBits(t *testing.T) {
	good := sample(t)
	places := map[string]int{
		"version": 1, "vendor": 20, "user data": 30, "TCB SVN": 48, "MRSEAM": 70, "TD attributes": 168, "XFAM": 176, "MRTD": 184,
		"MRCONFIGID": 240, "MROWNER": 290, "MROWNERCONFIG": 330, "RTMR0": 376, "RTMR3": 567, "report data": 568, "report data's end": 631,
		"signature": 640, "attestation key": 710, "enclave's signer": 636 + 134 + 130, "enclave's report data": 636 + 134 + 330,
		"enclave's signature": 636 + 134 + 384 + 5, "authentication data": 636 + 134 + 384 + 64 + 10, "PCK certificate": 2000,
	}
	for name, at := range places {
		raw := bytes.Clone(good)
		raw[at] ^= 0x10
		q, err := tdx.Parse(raw)
		if err == nil {
			err = q.VerifySignature(tdx.IntelRoots(), sampleDate)
		}
		if err == nil {
			t.Errorf("%s, byte %d: verifies with a flipped bit", name, at)
		}
	}
}

func TestVerifySignatureRefuses(t *testing.T) {
	other, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	raw := sample(t)
	for _, c := range []struct {
		name  string
		raw   []byte
		roots *x509.CertPool
		now   time.Time
		want  string
	}{
		{"before its certificates", raw, tdx.IntelRoots(), time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), "not yet valid"},
		{"after its certificates", raw, tdx.IntelRoots(), time.Date(2055, 1, 1, 0, 0, 0, 0, time.UTC), "expired"},
		{"under a test root", raw, other.Roots(), sampleDate, "unknown authority"},
		{"under no root", raw, x509.NewCertPool(), sampleDate, "unknown authority"},
		{"under a forgotten root", raw, nil, sampleDate, "no roots given"},
		{"version 5", version5(raw, 2, 584), tdx.IntelRoots(), sampleDate, "version 5 cannot be verified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := parse(t, c.raw).VerifySignature(c.roots, c.now)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestVerifyEnclaveRefuses(t *testing.T) {
	for name, change := range map[string]func(*tdx.Enclave){
		"signed by another": func(e *tdx.Enclave) { e.MRSigner[0]++ },
		"another product":   func(e *tdx.Enclave) { e.ISVProdID = 1 },
		"debug mode":        func(e *tdx.Enclave) { e.Attributes[0] |= 2 },
	} {
		q := parse(t, sample(t))
		change(&q.Enclave)
		if q.VerifyEnclave() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// simulated is a quote of an authority that calls itself "NOT Intel".
func simulated(t *testing.T) (*insecure.Authority, *tdx.Quote) {
	t.Helper()
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := a.Machine("image").Quote(t.Context(), [64]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	return a, parse(t, raw)
}

func TestVerifyTCB(t *testing.T) {
	a, q := simulated(t)
	year := time.Now().AddDate(1, 0, 0)
	for _, c := range []struct {
		name   string
		say    insecure.Collateral
		now    time.Time
		status string
		want   string // in the error; empty: none
	}{
		{"up to date", insecure.Collateral{}, time.Now(), "UpToDate", ""},
		{"out of date", insecure.Collateral{TCBStatus: "OutOfDate", Advisories: []string{"SA-1"}}, time.Now(), "OutOfDate", "OutOfDate"},
		{"needs hardening", insecure.Collateral{TCBStatus: "SWHardeningNeeded"}, time.Now(), "SWHardeningNeeded", "SWHardeningNeeded"},
		{"needs configuration", insecure.Collateral{TCBStatus: "ConfigurationNeeded"}, time.Now(), "ConfigurationNeeded", "ConfigurationNeeded"},
		{"level revoked", insecure.Collateral{TCBStatus: "Revoked"}, time.Now(), "Revoked", "Revoked"},
		{"certificate revoked", insecure.Collateral{RevokePCK: true}, time.Now(), "UpToDate", "revoked"},
		{"collateral expired", insecure.Collateral{NextUpdate: year.AddDate(0, 0, -1)}, year, "UpToDate", "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := a.Publish(c.say); err != nil {
				t.Fatal(err)
			}
			tcb, err := q.VerifyTCB(t.Context(), a, a.Roots(), c.now)
			if tcb.Status != c.status {
				t.Errorf("status %q, want %q", tcb.Status, c.status)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if len(tcb.Advisories) != len(c.say.Advisories) {
				t.Errorf("advisories %v, want %v", tcb.Advisories, c.say.Advisories)
			}
		})
	}
}

// tampered changes what an honest source says.
type tampered struct {
	tdx.Collateral
	change func(url string, header map[string][]string, body []byte) (map[string][]string, []byte, error)
}

func (s tampered) Get(ctx context.Context, url string) (map[string][]string, []byte, error) {
	header, body, err := s.Collateral.Get(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	return s.change(url, header, body)
}

// beside puts a copy of the signed TCB info, in which the platform is up to
// date, under another name behind it. The library finds the signed one by its
// exact name, and reads values from whichever comes last in any spelling.
func beside(body []byte, name string) []byte {
	signed, ok := bytes.CutPrefix(body, []byte(`{"tcbInfo":`))
	if !ok {
		return body
	}
	info, signature, _ := bytes.Cut(signed, []byte(`,"signature"`))
	forged := bytes.ReplaceAll(info, []byte("OutOfDate"), []byte("UpToDate"))
	return fmt.Appendf(nil, `{"tcbInfo":%s,%q:%s,"signature"%s`, info, name, forged, signature)
}

func TestVerifyTCBRefusesForgedCollateral(t *testing.T) {
	a, q := simulated(t)
	if err := a.Publish(insecure.Collateral{TCBStatus: "OutOfDate"}); err != nil {
		t.Fatal(err)
	}
	other, _ := simulated(t)
	type headers = map[string][]string
	for _, c := range []struct {
		name string
		src  tdx.Collateral
		want string
	}{
		{"status edited", tampered{a, func(_ string, h headers, b []byte) (headers, []byte, error) {
			return h, bytes.ReplaceAll(b, []byte("OutOfDate"), []byte("UpToDate")), nil
		}}, "could not verify response body"},
		{"signed by another authority", other, "verification failed"},
		{"no issuer chain", tampered{a, func(_ string, _ headers, b []byte) (headers, []byte, error) { return nil, b, nil }}, "Tcb-Info-Issuer-Chain"},
		{"a second answer beside the signed one", tampered{a, func(_ string, h headers, b []byte) (headers, []byte, error) {
			return h, beside(b, "TCBINFO"), nil
		}}, "members"},
		{"the signed answer twice", tampered{a, func(_ string, h headers, b []byte) (headers, []byte, error) {
			return h, beside(b, "tcbInfo"), nil
		}}, "members"},
		{"not JSON", tampered{a, func(u string, h headers, b []byte) (headers, []byte, error) { return h, []byte("<html>"), nil }}, "unmarshal"},
		{"a list that is none", tampered{a, func(u string, h headers, b []byte) (headers, []byte, error) {
			if strings.Contains(u, "pckcrl") {
				return h, []byte("junk"), nil
			}
			return h, b, nil
		}}, "CRL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := q.VerifyTCB(t.Context(), c.src, a.Roots(), time.Now())
			var unavailable *tdx.UnavailableError
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &unavailable) {
				t.Errorf("error %v, want a refusal with %q", err, c.want)
			}
		})
	}
}

func TestVerifyTCBWithoutAnAnswer(t *testing.T) {
	a, q := simulated(t)
	for name, src := range map[string]tdx.Collateral{
		"empty directory": tdx.Dir(t.TempDir()),
		"no answers":      tdx.Answers{},
		"source fails": tampered{a, func(u string, h map[string][]string, b []byte) (map[string][]string, []byte, error) {
			return nil, nil, io.ErrUnexpectedEOF
		}},
	} {
		tcb, err := q.VerifyTCB(t.Context(), src, a.Roots(), time.Now())
		var unavailable *tdx.UnavailableError
		if !errors.As(err, &unavailable) || tcb.Status != tdx.Unknown {
			t.Errorf("%s: status %q, error %v, want unknown and unavailable", name, tcb.Status, err)
		}
	}
}

// What is known to be bad stays bad while a part of the collateral is missing.
func TestVerifyTCBWithoutRevocationLists(t *testing.T) {
	a, q := simulated(t)
	silent := tampered{a, func(u string, h map[string][]string, b []byte) (map[string][]string, []byte, error) {
		if strings.Contains(u, "pckcrl") {
			return nil, nil, io.ErrUnexpectedEOF
		}
		return h, b, nil
	}}
	var unavailable *tdx.UnavailableError
	if _, err := q.VerifyTCB(t.Context(), silent, a.Roots(), time.Now()); !errors.As(err, &unavailable) {
		t.Errorf("levels in order: error %v, want unavailable", err)
	}
	if err := a.Publish(insecure.Collateral{TCBStatus: "Revoked"}); err != nil {
		t.Fatal(err)
	}
	tcb, err := q.VerifyTCB(t.Context(), silent, a.Roots(), time.Now())
	if err == nil || errors.As(err, &unavailable) || tcb.Status != "Revoked" {
		t.Errorf("level revoked: status %q, error %v, want a refusal", tcb.Status, err)
	}
}

func TestSavedCollateral(t *testing.T) {
	a, q := simulated(t)
	dir := t.TempDir()
	if err := q.Save(t.Context(), a, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := q.VerifyTCB(t.Context(), tdx.Dir(dir), a.Roots(), time.Now()); err != nil {
		t.Error(err)
	}
}

// serve plays a caching service: Intel's paths, the root's list at a path of
// its own and in hexadecimal.
func serve(t *testing.T, a *insecure.Authority) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		url := "https://api.trustedservices.intel.com" + r.URL.RequestURI()
		list := r.URL.Path == "/sgx/certification/v4/rootcacrl"
		if list {
			url = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
		}
		header, body, err := a.Get(r.Context(), url)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		for name, values := range header {
			w.Header()[name] = values
		}
		if list {
			body = []byte(hex.EncodeToString(body) + "\n")
		}
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCachingService(t *testing.T) {
	a, q := simulated(t)
	src := tdx.PCS(serve(t, a).URL, nil)
	if tcb, err := q.VerifyTCB(t.Context(), src, a.Roots(), time.Now()); err != nil || tcb.Status != "UpToDate" {
		t.Errorf("status %q, error %v", tcb.Status, err)
	}
}

func TestServiceRefuses(t *testing.T) {
	body := strings.Repeat("x", 1<<20+1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "identity") {
			http.Error(w, "gone", http.StatusGone)
			return
		}
		io.WriteString(w, body)
	}))
	defer s.Close()
	src := tdx.PCS(s.URL, nil)
	for address, want := range map[string]string{
		"https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity":              "410",
		"https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=00906ed50000":   "more than 1048576 bytes",
		"https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=../../etc/x":    "FMSPC",
		"https://elsewhere.example/secret":                                                    "no collateral address",
		"https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=%zz\x7f":        "address",
		"https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=00906ed5000000": "FMSPC",
	} {
		if _, _, err := src.Get(t.Context(), address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", address, err, want)
		}
	}
}

// counted is a source that can be switched off.
type counted struct {
	tdx.Collateral
	asked int
	down  bool
}

func (c *counted) Get(ctx context.Context, url string) (map[string][]string, []byte, error) {
	c.asked++
	if c.down {
		return nil, nil, errors.New("down")
	}
	return c.Collateral.Get(ctx, url)
}

func TestCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, q := simulated(t)
		src := &counted{Collateral: a}
		cached := tdx.Cached(src, time.Hour, nil)
		judge := func(wantAsked int, wantErr bool) {
			t.Helper()
			if _, err := q.VerifyTCB(t.Context(), cached, a.Roots(), time.Now()); (err != nil) != wantErr {
				t.Errorf("error %v", err)
			}
			if src.asked != wantAsked {
				t.Errorf("source was asked %d times, want %d", src.asked, wantAsked)
			}
		}
		judge(4, false)
		judge(4, false)
		time.Sleep(time.Hour)
		judge(8, false) // expired: asked again
		time.Sleep(time.Hour)
		src.down = true
		judge(12, false) // does not answer: the old answers still serve
		judge(12, false) // and it is left in peace for a while
		time.Sleep(time.Minute)
		judge(16, false)
		src.down = false
		time.Sleep(time.Minute)
		judge(20, false)
	})
}

func TestCachedFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, q := simulated(t)
		src := &counted{Collateral: a, down: true}
		cached := tdx.Cached(src, time.Hour, time.Now)
		for range 3 {
			if _, err := q.VerifyTCB(t.Context(), cached, a.Roots(), time.Now()); err == nil {
				t.Error("accepted without collateral")
			}
		}
		if src.asked != 1 {
			t.Errorf("a source that is down was asked %d times within a minute, want once", src.asked)
		}
		src.down = false
		time.Sleep(time.Minute)
		if _, err := q.VerifyTCB(t.Context(), cached, a.Roots(), time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestCachedCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		slow := tampered{tdx.Answers{rootList: {Body: []byte("list")}}, func(_ string, h map[string][]string, b []byte) (map[string][]string, []byte, error) {
			<-release
			return h, b, nil
		}}
		cached := tdx.Cached(slow, time.Hour, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := cached.Get(ctx, rootList); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the caller's deadline", err)
		}
		close(release)
		if _, body, err := cached.Get(t.Context(), rootList); err != nil || string(body) != "list" {
			t.Errorf("%q, %v: the fetch should have gone on without its first caller", body, err)
		}
	})
}

const rootList = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"

// The verifier's library logs to the standard output it found when the process
// began; a verb that prints JSON there cannot have that.
func TestSilence(t *testing.T) {
	const inside = "COCOON_TEST_SILENCE"
	if os.Getenv(inside) != "" {
		q := parse(t, sample(t))
		q.VerifySignature(tdx.IntelRoots(), sampleDate)
		q.VerifyTCB(t.Context(), tdx.Answers{}, tdx.IntelRoots(), sampleDate)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSilence$")
	cmd.Env = append(os.Environ(), inside+"=1")
	said, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(said), "PASS\n") {
		t.Errorf("%v, printed %q, want PASS alone", err, said)
	}
}
