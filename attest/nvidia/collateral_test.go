package nvidia_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"golang.org/x/crypto/ocsp"
)

// counted counts what is asked, and can be cut off.
type counted struct {
	nvidia.Collateral
	asked atomic.Int64
	down  atomic.Bool
}

var errDown = errors.New("the source is down")

func (c *counted) ask() error {
	c.asked.Add(1)
	if c.down.Load() {
		return errDown
	}
	return nil
}

func (c *counted) Manifest(ctx context.Context, name string) ([]byte, error) {
	if err := c.ask(); err != nil {
		return nil, err
	}
	return c.Collateral.Manifest(ctx, name)
}

func (c *counted) Status(ctx context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	if err := c.ask(); err != nil {
		return nil, err
	}
	return c.Collateral.Status(ctx, cert, issuer)
}

func (c *counted) Keys(context.Context) ([]byte, error) { return []byte(`{"keys":[]}`), c.ask() }

// silentOn has no status of certificates of that name.
type silentOn struct {
	nvidia.Collateral
	name string
}

func (s silentOn) Status(ctx context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	if strings.Contains(cert.Subject.CommonName, s.name) {
		return nil, nvidia.ErrNotPublished
	}
	return s.Collateral.Status(ctx, cert, issuer)
}

// A source that fails leaves the answer unknown, and open for the next time;
// one that has nothing to say leaves it unknown.
func TestUnknown(t *testing.T) {
	t.Parallel()
	a := newGPUAuthority(t)
	src := &counted{Collateral: a}
	anchors := a.Anchors()
	anchors.Collateral = src
	blob := ask(t, a.Guest(), [32]byte{})
	for _, allow := range []bool{true, false} {
		src.down.Store(true)
		f := (&nvidia.Verifier{Test: anchors, AllowUnknown: allow}).Verify(t.Context(), blob, time.Now())
		if got := failed(f) == nil; got != allow || !f.Passing || f.Status == nvidia.UpToDate {
			t.Errorf("down, AllowUnknown %t: failed %v, passing %t, status %s", allow, failed(f), f.Passing, f.Status)
		}
		src.down.Store(false)
		a.Publish(insecure.GPUCollateral{Missing: "DRIVER"})
		f = (&nvidia.Verifier{Test: anchors, AllowUnknown: allow}).Verify(t.Context(), blob, time.Now())
		if got := failed(f) == nil; got != allow || f.Passing || f.Status == nvidia.UpToDate {
			t.Errorf("no manifest, AllowUnknown %t: failed %v, passing %t, status %s", allow, failed(f), f.Passing, f.Status)
		}
	}
	// What is had must be right all the same.
	wrong := ask(t, a.Guest(insecure.GPU{Measurements: map[int][48]byte{1: {}}}), [32]byte{})
	f := (&nvidia.Verifier{Test: anchors, AllowUnknown: true}).Verify(t.Context(), wrong, time.Now())
	if got := failed(f); !slices.Equal(got, []string{"measurements"}) {
		t.Errorf("half a manifest and a wrong measurement: failed %v", got)
	}
	// That the first certificate cannot be known does not hide the second.
	a.Publish(insecure.GPUCollateral{Revoked: []string{"Provisioner"}})
	half := a.Anchors()
	half.Collateral = silentOn{a, "BROM"}
	f = (&nvidia.Verifier{Test: half, AllowUnknown: true}).Verify(t.Context(), blob, time.Now())
	if got := check(t, f, "revocation"); got.OK || !strings.Contains(got.Got, "Provisioner") {
		t.Errorf("one unknown and one revoked: %+v", got)
	}
	a.Publish(insecure.GPUCollateral{})
	// Nobody is asked about what is not genuine.
	src.asked.Store(0)
	boards := decode(t, blob)
	boards[0].Report[5] ^= 1
	(&nvidia.Verifier{Test: anchors}).Verify(t.Context(), encode(t, boards...), time.Now())
	if n := src.asked.Load(); n != 0 {
		t.Errorf("%d questions about a report with a wrong signature, want none", n)
	}
}

func TestSaveAndDir(t *testing.T) {
	t.Parallel()
	a, dir := newGPUAuthority(t), t.TempDir()
	blob := ask(t, a.Guest(insecure.GPU{Name: "a"}, insecure.GPU{Name: "b"}), [32]byte{})
	if err := nvidia.Save(t.Context(), a, blob, dir); err != nil {
		t.Fatal(err)
	}
	anchors := a.Anchors()
	anchors.Collateral = nvidia.Dir(dir)
	f := (&nvidia.Verifier{Test: anchors, Count: 2}).Verify(t.Context(), blob, time.Now())
	if c, bad := f.Checks.Failed(); bad {
		t.Errorf("%s: %s", c.Name, c.Got)
	}
	if _, err := nvidia.Dir(dir).Manifest(t.Context(), "../x"); err == nil || errors.Is(err, nvidia.ErrNotPublished) {
		t.Errorf("a manifest outside the directory: %v", err)
	}
	if _, err := nvidia.Dir(dir).Keys(t.Context()); !errors.Is(err, nvidia.ErrNotPublished) {
		t.Errorf("keys that are not there: %v, want ErrNotPublished", err)
	}
}

// The cache asks once, asks ahead of time, survives the source and a restart,
// and does not serve what has ended.
func TestCache(t *testing.T) {
	t.Parallel()
	a, dir := newGPUAuthority(t), t.TempDir()
	src := &counted{Collateral: a}
	now := time.Now()
	clock := func() time.Time { return now }
	c := nvidia.Cached(src, dir, clock)
	defer func() { c.Close() }()
	anchors := a.Anchors()
	a.Publish(insecure.GPUCollateral{Until: now.Add(24 * time.Hour)})
	blob := ask(t, a.Guest(), [32]byte{})
	judge := func() []string {
		t.Helper()
		anchors.Collateral = c
		return failed((&nvidia.Verifier{Test: anchors}).Verify(t.Context(), blob, now))
	}
	if got := judge(); got != nil {
		t.Fatalf("failed %v", got)
	}
	first := src.asked.Load()
	if first != 8 { // three of the chain, two manifests, three of their signers
		t.Errorf("%d questions, want 8", first)
	}
	src.down.Store(true)
	if got := judge(); got != nil || src.asked.Load() != first {
		t.Errorf("again: failed %v, %d questions more", got, src.asked.Load()-first)
	}
	// A restart.
	c.Close()
	c = nvidia.Cached(src, dir, clock)
	now = now.Add(17 * time.Hour)
	if got := judge(); got != nil || src.asked.Load() != first {
		t.Errorf("after a restart: failed %v, %d questions more", got, src.asked.Load()-first)
	}
	// In the last quarter it is asked again, in the background, once a minute.
	now = now.Add(3 * time.Hour)
	for range 3 {
		if got := judge(); got != nil {
			t.Errorf("ahead of time: failed %v", got)
		}
	}
	c.Close()
	if got := src.asked.Load() - first; got != 6 {
		t.Errorf("ahead of time %d questions, want 6 statuses", got)
	}
	// After the end there is no answer, and the source is not pestered.
	c = nvidia.Cached(src, dir, clock)
	now = now.Add(10 * time.Hour)
	judge()
	asked := src.asked.Load()
	if got := judge(); !slices.Contains(got, "revocation") || src.asked.Load() != asked {
		t.Errorf("after the end: failed %v, %d questions more", got, src.asked.Load()-asked)
	}
	// It comes back.
	src.down.Store(false)
	a.Publish(insecure.GPUCollateral{})
	now = now.Add(2 * time.Minute)
	if got := judge(); got != nil {
		t.Errorf("when the source is back: failed %v", got)
	}
	if _, err := c.Keys(t.Context()); err != nil {
		t.Errorf("keys: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// server plays NVIDIA's three services over an authority.
func server(t *testing.T, a *insecure.GPUAuthority, key string) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/rim/{id}", func(w http.ResponseWriter, r *http.Request) {
		document, err := a.Manifest(r.Context(), r.PathValue("id"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		digest := sha256.Sum256(document)
		json.NewEncoder(w).Encode(map[string]any{"id": r.PathValue("id"), "rim": base64.StdEncoding.EncodeToString(document), "sha256": hex.EncodeToString(digest[:]), "rim_format": "TCG"})
	})
	chain := a.Chain()
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		q, err := ocsp.ParseRequest(body)
		if err != nil || q.HashAlgorithm != crypto.SHA384 || r.Header.Get("Content-Type") != "application/ocsp-request" {
			t.Errorf("OCSP request: %v", err)
			return
		}
		for _, issuer := range chain { // which one asks for which by the hash of the issuer's key
			answer, err := a.Status(r.Context(), &x509.Certificate{SerialNumber: q.SerialNumber}, issuer)
			if err == nil && issuerIs(q, issuer) {
				w.Write(answer)
				return
			}
		}
		http.Error(w, "nobody", http.StatusInternalServerError)
	})
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"keys":[]}`) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// issuerIs compares the hash in a request with that of the issuer's key.
func issuerIs(q *ocsp.Request, issuer *x509.Certificate) bool {
	mine, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: q.SerialNumber}, issuer, &ocsp.RequestOptions{Hash: crypto.SHA384})
	if err != nil {
		return false
	}
	p, err := ocsp.ParseRequest(mine)
	return err == nil && slices.Equal(p.IssuerKeyHash, q.IssuerKeyHash)
}

func TestService(t *testing.T) {
	t.Parallel()
	a := newGPUAuthority(t)
	s := server(t, a, "sesame")
	src := &nvidia.Service{Manifests: s.URL, Responder: s.URL + "/", Tokens: s.URL, Key: "sesame"}
	anchors := a.Anchors()
	anchors.Collateral = src
	blob := ask(t, a.Guest(), [32]byte{})
	f := (&nvidia.Verifier{Test: anchors}).Verify(t.Context(), blob, time.Now())
	if c, bad := f.Checks.Failed(); bad {
		t.Errorf("%s: %s", c.Name, c.Got)
	}
	if keys, err := src.Keys(t.Context()); err != nil || string(keys) != `{"keys":[]}` {
		t.Errorf("keys: %s, %v", keys, err)
	}
	if _, err := src.Manifest(t.Context(), "NV_GPU_x"); !errors.Is(err, nvidia.ErrNotPublished) {
		t.Errorf("a manifest that is not there: %v, want ErrNotPublished", err)
	}
	src.Key = "wrong"
	if _, err := src.Manifest(t.Context(), "NV_GPU_DRIVER_GH100_1"); err == nil || errors.Is(err, nvidia.ErrNotPublished) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("refused by the service: %v", err)
	}
}

func TestServiceAnswersBadly(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON": "x", "another manifest": `{"id":"other","rim":""}`, "no base64": `{"id":"NAME","rim":"?"}`,
		"damaged": `{"id":"NAME","rim":"AAAA","sha256":"00"}`, "too much": strings.Repeat(" ", 2<<20),
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
		if _, err := (&nvidia.Service{Manifests: s.URL}).Manifest(t.Context(), "NAME"); err == nil {
			t.Errorf("%s: accepted", name)
		}
		s.Close()
	}
}

// The simulated vendor's files serve another process.
func TestSavedAuthority(t *testing.T) {
	t.Parallel()
	a, dir := newGPUAuthority(t), t.TempDir()
	if err := a.Save(dir, "x"); err != nil {
		t.Fatal(err)
	}
	loaded, err := insecure.LoadGPUAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := insecure.LoadGPUAnchors(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := &nvidia.Verifier{Test: anchors}
	var platforms []string
	for _, from := range []*insecure.GPUAuthority{a, loaded} {
		f := v.Verify(t.Context(), ask(t, from.Guest(insecure.GPU{Name: "x"}), [32]byte{}), time.Now())
		if c, bad := f.Checks.Failed(); bad {
			t.Errorf("%s: %s", c.Name, c.Got)
		}
		platforms = append(platforms, f.Platforms()...)
	}
	if len(platforms) != 2 || platforms[0] != platforms[1] {
		t.Errorf("one GPU is %v", platforms)
	}
	info, err := os.Stat(filepath.Join(dir, insecure.GPUAuthorityFile))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%s has mode %v, want it to be the owner's alone: %v", insecure.GPUAuthorityFile, info.Mode(), err)
	}
	public, err := os.ReadFile(filepath.Join(dir, insecure.GPURootsFile))
	if err != nil || strings.Contains(string(public), "PRIVATE KEY") {
		t.Errorf("%v, or a private key in %s", err, insecure.GPURootsFile)
	}
	if !strings.Contains(anchors.Device.Subject.String(), "NOT NVIDIA") {
		t.Errorf("root's subject is %s, want it to say that it is not NVIDIA's", anchors.Device.Subject)
	}
}
