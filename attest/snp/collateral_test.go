package snp_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
)

func TestPaths(t *testing.T) {
	chip := [64]byte{0x1e, 0x55, 63: 0xff}
	for got, want := range map[string]string{
		snp.CRLPath(snp.Milan, snp.VCEK):                                                          "/vcek/v1/Milan/crl",
		snp.CRLPath(snp.Genoa, snp.VLEK):                                                          "/vlek/v1/Genoa/crl",
		snp.ChainPath(snp.Turin, snp.VCEK):                                                        "/vcek/v1/Turin/cert_chain",
		snp.VCEKPath(snp.Milan, chip, snp.Parts{Bootloader: 3, SNP: 8, Microcode: 115}):           "/vcek/v1/Milan/1e55" + strings.Repeat("00", 61) + "ff?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
		snp.VCEKPath(snp.Turin, [64]byte{0x1e, 7: 0x4d}, snp.Parts{FMC: 1, TEE: 2, Microcode: 9}): "/vcek/v1/Turin/1e0000000000004d?fmcSPL=01&blSPL=00&teeSPL=02&snpSPL=00&ucodeSPL=09",
	} {
		if got != want {
			t.Errorf("path %s, want %s", got, want)
		}
	}
}

// service plays AMD's, with an authority's collateral.
func service(t *testing.T, src snp.Collateral, asked *[]string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.RequestURI())
		body, err := src.Get(r.Context(), r.URL.RequestURI())
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestKDS(t *testing.T) {
	a := issue(t, insecure.SNPOptions{Product: snp.Turin})
	var asked []string
	v := simulated(a)
	v.TestCollateral = snp.KDS(service(t, a, &asked).URL+"/", nil)
	m := a.Machine("image")
	m.Bare = true
	f := v.Verify(t.Context(), quote(t, m), time.Now())
	if failed, ok := f.Checks.Failed(); ok {
		t.Errorf("%+v", failed)
	}
	if len(asked) != 3 || !strings.HasPrefix(asked[0], "/vcek/v1/Turin/") || asked[1] != "/vcek/v1/Turin/cert_chain" || asked[2] != "/vcek/v1/Turin/crl" {
		t.Errorf("asked for %q, want the chip's certificate, the chain and the list", asked)
	}
}

func TestKDSRefuses(t *testing.T) {
	status, retry, asked := http.StatusOK, "", 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Retry-After", retry)
		w.WriteHeader(status)
		io.WriteString(w, strings.Repeat("x", 1<<20+1))
	}))
	defer s.Close()
	chip := func(b byte) string { return snp.VCEKPath(snp.Milan, [64]byte{b}, snp.Parts{}) }
	fails := func(src snp.Collateral, path, want string) {
		t.Helper()
		if _, err := src.Get(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", path, err, want)
		}
	}
	src := snp.KDS(s.URL, nil)
	list := snp.CRLPath(snp.Milan, snp.VCEK)
	fails(src, list, "more than 1048576 bytes")
	for _, path := range []string{
		"", "/", "/vcek/v1/Rome/crl", "/vcek/v2/Milan/crl", "/vcek/v1/Milan/crl?x=1", "/vcek/v1/Milan/../../secret", "/vlek/v1/Milan/" + strings.Repeat("00", 64),
		"/vcek/v1/Milan/" + strings.Repeat("00", 8), "/vcek/v1/Milan/zz", "//elsewhere.example/vcek/v1/Milan/crl", "%zz",
	} {
		fails(src, path, "path")
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
	for i := range byte(16) {
		fails(src, chip(i), "more than")
	}
	fails(src, chip(16), "too many chips") // and lists are still asked for
	status, retry = http.StatusTooManyRequests, "90"
	fails(src, list, "429")
	fails(src, list, "busy") // without asking
	if asked != 18 {
		t.Errorf("asked %d times, want 18", asked)
	}
	var said *snp.StatusError
	if _, err := src.Get(t.Context(), list); !errors.As(err, &said) || said.Retry < 80*time.Second || said.Retry > 90*time.Second {
		t.Errorf("error %v, want one that says when to come back", err)
	}
}

func TestSavedCollateral(t *testing.T) {
	for _, o := range []insecure.SNPOptions{{}, {Product: snp.Turin}, {VLEK: true}} {
		a, dir := issue(t, o), t.TempDir()
		raw := quote(t, a.Machine("image"))
		e, err := snp.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Save(t.Context(), a, dir); err != nil {
			t.Fatal(err)
		}
		v := simulated(a)
		v.Policy.AllowVLEK, v.TestCollateral = o.VLEK, snp.Dir(dir)
		if failed, ok := v.Verify(t.Context(), raw, time.Now()).Checks.Failed(); ok {
			t.Errorf("%+v: %+v", o, failed)
		}
		if o.VLEK {
			continue
		}
		if failed, ok := v.Verify(t.Context(), raw[:snp.ReportSize], time.Now()).Checks.Failed(); ok {
			t.Errorf("%+v, without certificates: %+v", o, failed)
		}
	}
}

// The files that the network's guest images keep serve too.
func TestGuestImageFiles(t *testing.T) {
	a, dir := authority(), t.TempDir()
	raw := quote(t, a.Machine("image"))
	r, err := snp.ParseReport(raw[:snp.ReportSize])
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"Genoa.cert_chain.pem": snp.ChainPath(snp.Genoa, snp.VCEK), "Genoa.cert_chain_crl.pem": snp.CRLPath(snp.Genoa, snp.VCEK),
		"vcek.pem": snp.VCEKPath(snp.Genoa, r.ChipID, r.ReportedTCB.Parts(snp.Genoa)),
	} {
		body, err := a.Get(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := simulated(a)
	v.TestCollateral = snp.Dir(dir)
	if failed, ok := v.Verify(t.Context(), raw[:snp.ReportSize], time.Now()).Checks.Failed(); ok {
		t.Errorf("%+v", failed)
	}
}

// counted is a source that counts, and can be switched off. Lists and chains
// are fetched side by side.
type counted struct {
	mu sync.Mutex
	snp.Collateral
	asked int
	fail  error
}

func (c *counted) Get(ctx context.Context, path string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.fail != nil {
		return nil, c.fail
	}
	return c.Collateral.Get(ctx, path)
}

const day = 24 * time.Hour

func TestCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := issue(t, insecure.SNPOptions{Leaf: until(100 * 365 * day), Intermediate: until(100 * 365 * day), Root: until(100 * 365 * day)})
		src := &counted{Collateral: a}
		dir := t.TempDir()
		cached := snp.Cached(src, dir, nil)
		v := simulated(a)
		raw := quote(t, a.Machine("image"))[:snp.ReportSize] // its certificate, the chain and the list are asked for
		judge := func(src2 snp.Collateral, wantAsked int, want string) {
			t.Helper()
			v.TestCollateral = src2
			failed, _ := v.Verify(t.Context(), raw, time.Now()).Checks.Failed()
			synctest.Wait()
			if failed.Name != want || src.asked != wantAsked {
				t.Errorf("failed %+v, asked %d times, want %q and %d", failed, src.asked, want, wantAsked)
			}
		}
		publish := func(life time.Duration) {
			t.Helper()
			if err := a.Publish(insecure.SNPCollateral{ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(life)}); err != nil {
				t.Fatal(err)
			}
		}
		publish(10 * day)
		judge(cached, 3, "")
		judge(cached, 3, "")
		time.Sleep(day + time.Second)
		publish(10 * day)
		judge(cached, 5, "") // list and chain are fetched ahead of time; a chip's certificate never changes
		time.Sleep(day + time.Second)
		src.fail = &snp.StatusError{Status: "429", Retry: 10 * time.Minute}
		judge(cached, 7, "") // the old ones serve
		time.Sleep(9 * time.Minute)
		judge(cached, 7, "") // and the service is left in peace for as long as it says
		time.Sleep(time.Minute + time.Second)
		judge(cached, 9, "")
		judge(snp.Cached(src, dir, nil), 11, "") // a new process finds the files; it asks for what is old
		src.fail = errors.New("down")
		time.Sleep(10 * day)
		judge(cached, 13, "revocation") // ended
		judge(cached, 13, "revocation")
		time.Sleep(time.Minute + time.Second)
		src.fail = nil
		publish(10 * day)
		before := src.asked
		v.TestCollateral = cached
		failed, _ := v.Verify(t.Context(), raw, time.Now()).Checks.Failed()
		synctest.Wait()
		if failed.Name != "" || src.asked == before {
			t.Errorf("%+v, asked %d times", failed, src.asked)
		}
	})
}

// What is not authentic is not kept, in memory or on disk.
func TestCachedForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := issue(t, insecure.SNPOptions{}), t.TempDir()
		src := &counted{Collateral: stranger()}
		v := simulated(a)
		v.TestCollateral = snp.Cached(src, dir, nil)
		raw := quote(t, a.Machine("image"))
		judge := func(wantAsked int, want string) {
			t.Helper()
			if failed, _ := v.Verify(t.Context(), raw, time.Now()).Checks.Failed(); failed.Name != want || src.asked != wantAsked {
				t.Errorf("failed %+v, asked %d times, want %q and %d", failed, src.asked, want, wantAsked)
			}
		}
		judge(1, evidence.CheckRevocation)
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
			t.Errorf("%q on disk", files)
		}
		src.Collateral = a
		judge(1, evidence.CheckRevocation)
		time.Sleep(time.Minute)
		judge(2, "")
	})
}

func TestCachedCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		cached := snp.Cached(slow{authority(), release}, "", time.Now)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		path := snp.CRLPath(snp.Genoa, snp.VCEK)
		if _, err := cached.Get(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the caller's deadline", err)
		}
		close(release)
		body, err := cached.Get(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x509.ParseRevocationList(body); err != nil {
			t.Errorf("%v: the fetch should have gone on without its first caller", err)
		}
	})
}

type slow struct {
	snp.Collateral
	release chan struct{}
}

func (s slow) Get(ctx context.Context, path string) ([]byte, error) {
	<-s.release
	return s.Collateral.Get(ctx, path)
}
