package tdx_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/pcs"
	"github.com/google/go-tdx-guest/verify"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

var update = flag.Bool("update", false, "write the golden files anew")

// real are quotes of genuine machines, and when to judge them; see
// testdata/README.md.
var real = []struct {
	name, quote, collateral string
	at                      time.Time
	status                  string
}{
	{"reference", "quote.dat", "collateral-2026-02", day(2026, 3, 1), "UpToDate"},
	{"reference, nobody asked", "quote.dat", "", day(2025, 12, 1), "unknown"},
	{"reference, collateral expired", "quote.dat", "collateral-2026-02", day(2026, 4, 1), "unknown"},
	{"version 4", "quote-v4.dat", "collateral-2025-06", day(2025, 6, 25), "UpToDate"},
	{"version 5", "quote-v5.dat", "collateral-2026-02", day(2026, 3, 1), "unknown"},
	{"2023", "quote-2023.dat", "collateral-2023-07", day(2023, 7, 1), "unknown"},
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 1, 0, 0, 0, time.UTC) }

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b, []byte(extra))
}

// extra is what the shippers of one quote put behind it, for tests like ours.
const extra = "\nextra bytes(only for testing purpose)\n"

// offline is Intel's verifier with a directory of collateral, or nobody to ask.
func offline(dir string) *tdx.Verifier {
	if dir == "" {
		return &tdx.Verifier{}
	}
	return &tdx.Verifier{Collateral: tdx.Dir(filepath.Join("testdata", dir))}
}

func TestGolden(t *testing.T) {
	for _, c := range real {
		t.Run(c.name, func(t *testing.T) {
			f := offline(c.collateral).Verify(t.Context(), load(t, c.quote), c.at)
			if f.Status != c.status || f.Insecure || len(f.Platform) != 32 {
				t.Errorf("status %s, insecure %v, platform %q, want %s", f.Status, f.Insecure, f.Platform, c.status)
			}
			file := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(c.name)+".golden")
			got := describe(f)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s\n%v", got, want, err)
			}
		})
	}
}

func describe(f *evidence.Finding) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "status %s %s\nadvisories %s\nplatform %s\nimage %s\nexpires %s\n\n", f.Status, f.Reason, strings.Join(f.Advisories, " "), f.Platform, f.Image, f.Expires.Format(time.RFC3339))
	for _, c := range f.Checks {
		fmt.Fprintf(&b, "%-5v %s: %s; want %s\n", c.OK, c.Name, c.Got, c.Want)
	}
	return b.Bytes()
}

// library judges as google/go-tdx-guest does: quotes of version 4 under the
// platform CA, in order in every respect or not at all.
func library(t *testing.T, raw []byte, v *tdx.Verifier, src tdx.Collateral, at time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	o := &verify.Options{TrustedRoots: v.Roots, Now: at}
	if o.TrustedRoots == nil {
		o.TrustedRoots = tdx.IntelRoots()
	}
	if src != nil {
		o.GetCollateral, o.CheckRevocations, o.Getter = true, true, getter{src}
	}
	return verify.RawTdxQuote(raw, o)
}

// getter brings the library's addresses to our parts.
type getter struct{ tdx.Collateral }

func (g getter) Get(address string) (map[string][]string, []byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, nil, err
	}
	part, header := tdx.RootCRL, ""
	switch {
	case strings.HasSuffix(u.Path, "/tcb"):
		var fmspc [6]byte
		if _, err := hex.Decode(fmspc[:], []byte(u.Query().Get("fmspc"))); err != nil {
			return nil, nil, err
		}
		part, header = tdx.TCBInfo(fmspc), "Tcb-Info-Issuer-Chain"
	case strings.HasSuffix(u.Path, "/qe/identity"):
		part, header = tdx.QEIdentity, "Sgx-Enclave-Identity-Issuer-Chain"
	case address == pcs.PckCrlURL("platform"):
		part, header = tdx.PCKCRLPlatform, "Sgx-Pck-Crl-Issuer-Chain"
	}
	s, err := g.Collateral.Get(context.Background(), part)
	if part == tdx.PCKCRLPlatform && err == nil { // the library wants the issuers, whom we take from the quote
		q, _ := g.Collateral.Get(context.Background(), tdx.QEIdentity)
		s.Chain = q.Chain
	}
	return map[string][]string{header: {url.QueryEscape(string(s.Chain))}}, s.Body, err
}

// judged tells whether we find a quote in order in every respect.
func judged(f *evidence.Finding, asked bool) error {
	if failed, bad := f.Checks.Failed(); bad {
		return fmt.Errorf("%s: %s", failed.Name, failed.Got)
	}
	if asked && f.Status != tdx.UpToDate {
		return fmt.Errorf("status %s %s", f.Status, f.Reason)
	}
	return nil
}

// Where the library can judge at all, it and we agree; what it does not look
// at, we may refuse and it accepts. It never refuses what we accept, except
// that it wants FMSPCs in lower case, which Intel writes in upper case when they
// have letters: these it judges without collateral.
func TestAgreesWithTheLibrary(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	simulated, err := a.Machine("x").Quote(t.Context(), [64]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	type question struct {
		name string
		raw  []byte
		v    *tdx.Verifier
		src  tdx.Collateral
		at   time.Time
	}
	questions := []question{
		{"simulated", simulated, &tdx.Verifier{Roots: a.Roots(), Collateral: a}, a, now},
		{"simulated, nobody asked", simulated, &tdx.Verifier{Roots: a.Roots()}, nil, now},
		{"simulated, Intel's root", simulated, &tdx.Verifier{}, nil, now},
		{"simulated, later", simulated, &tdx.Verifier{Roots: a.Roots()}, nil, now.AddDate(11, 0, 0)},
	}
	for _, c := range real {
		if raw := load(t, c.quote); raw[0] == 4 && c.status != "unknown" || c.name == "2023" {
			v := offline(c.collateral)
			src := v.Collateral
			if c.name != "2023" {
				src = nil
			}
			questions = append(questions, question{c.name, raw, v, src, c.at})
		}
	}
	for _, q := range questions {
		ours, theirs := judged(q.v.Verify(t.Context(), q.raw, q.at), q.src != nil), library(t, q.raw, q.v, q.src, q.at)
		if (ours == nil) != (theirs == nil) {
			t.Errorf("%s: we say %v, the library says %v", q.name, ours, theirs)
		}
		if ours != nil {
			continue
		}
		// One bit at a time. Steps of a prime, so that every field is met.
		for at := 0; at < len(q.raw)*8; at += 127 {
			raw := bytes.Clone(q.raw)
			raw[at/8] ^= 1 << (at % 8)
			ours := judged(q.v.Verify(t.Context(), raw, q.at), q.src != nil)
			if ours != nil {
				continue
			}
			if theirs := library(t, raw, q.v, q.src, q.at); theirs != nil {
				t.Errorf("%s, bit %d of byte %d flipped: we accept, the library says %v", q.name, at%8, at/8, theirs)
			}
		}
	}
}
