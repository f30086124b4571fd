package tdx_test

import (
	"encoding/hex"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// serve plays a caching service: Intel's paths and headers, the root's list at
// a path of its own and in hexadecimal, a CA's in PEM.
func serve(t *testing.T, a *insecure.Authority) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part, header := tdx.Part{}, ""
		switch r.URL.RequestURI() {
		case "/tdx/certification/v4/tcb?fmspc=c0c000000000":
			part, header = simulatedModel, "Tcb-Info-Issuer-Chain"
		case "/tdx/certification/v4/qe/identity":
			part, header = tdx.QEIdentity, "Sgx-Enclave-Identity-Issuer-Chain"
		case "/sgx/certification/v4/pckcrl?ca=platform&encoding=der":
			part = tdx.PCKCRLPlatform
		case "/sgx/certification/v4/pckcrl?ca=processor&encoding=der":
			part = tdx.PCKCRLProcessor
		case "/sgx/certification/v4/rootcacrl":
			part = tdx.RootCRL
		default:
			http.NotFound(w, r)
			return
		}
		said, err := a.Get(r.Context(), part)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		if header != "" {
			w.Header().Set(header, url.QueryEscape(string(said.Chain)))
		}
		switch part {
		case tdx.RootCRL:
			io.WriteString(w, hex.EncodeToString(said.Body)+"\n")
		case tdx.PCKCRLProcessor:
			pem.Encode(w, &pem.Block{Type: "X509 CRL", Bytes: said.Body})
		default:
			w.Write(said.Body)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCachingService(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	v := &tdx.Verifier{Roots: a.Roots(), Collateral: tdx.PCS(serve(t, a).URL+"/", nil)}
	for _, single := range []bool{false, true} {
		m := a.Machine("image")
		m.ProcessorCA = single
		raw, err := m.Quote(t.Context(), [64]byte{})
		if err != nil {
			t.Fatal(err)
		}
		f := v.Verify(t.Context(), raw, time.Now())
		if failed, bad := f.Checks.Failed(); bad || f.Status != tdx.UpToDate {
			t.Errorf("processor CA %v: status %s, %s, refused by %+v", single, f.Status, f.Reason, failed)
		}
	}
}

func TestServiceRefuses(t *testing.T) {
	body := strings.Repeat("x", 1<<20+1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "identity"):
			http.Error(w, "gone", http.StatusGone)
		case strings.HasSuffix(r.URL.Path, "tcb"):
			io.WriteString(w, "{}")
		default:
			io.WriteString(w, body)
		}
	}))
	defer s.Close()
	src := tdx.PCS(s.URL, nil)
	for part, want := range map[tdx.Part]string{
		tdx.QEIdentity: "410",
		tdx.RootCRL:    "more than 1048576 bytes",
		simulatedModel: "without Tcb-Info-Issuer-Chain",
	} {
		if _, err := src.Get(t.Context(), part); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", part, err, want)
		}
	}
	if _, err := tdx.PCS("http://127.0.0.1:1", nil).Get(t.Context(), tdx.RootCRL); err == nil {
		t.Error("a service that is not there answered")
	}
}

func TestSavedCollateral(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := a.Machine("image").Quote(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tdx.Save(t.Context(), parse(t, raw), a, dir); err != nil {
		t.Fatal(err)
	}
	v := &tdx.Verifier{Roots: a.Roots(), Collateral: tdx.Dir(dir)}
	if f := v.Verify(t.Context(), raw, time.Now()); f.Status != tdx.UpToDate {
		t.Errorf("status %s, %s", f.Status, f.Reason)
	}
	if err := tdx.Save(t.Context(), parse(t, raw), tdx.Answers{}, dir); err == nil || !strings.Contains(err.Error(), "tcb-c0c000000000.json") {
		t.Errorf("a source without answers: error %v, want the first part's name", err)
	}
}
