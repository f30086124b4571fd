package snp_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
)

// Whatever a peer sends, the verifier answers, and what it can take apart it
// can put together again.
func FuzzVerify(f *testing.F) {
	for name, key := range genuineNames {
		f.Add(genuine(f, name, key))
	}
	f.Add(append(make([]byte, snp.ReportSize), sample(f, "../roots/milan.pem")...))
	f.Add(quote(f, authority().Machine("image")))
	v := simulated(authority())
	f.Fuzz(func(t *testing.T, raw []byte) {
		finding := v.Verify(t.Context(), raw, sampleDate)
		if len(finding.Checks) == 0 {
			t.Error("no checks")
		}
		e, err := snp.Parse(raw)
		if err != nil {
			return
		}
		again, err := snp.Parse(snp.Join(raw[:snp.ReportSize], e.Certificates...))
		if err != nil || again.Report.Body != e.Report.Body || again.Report.Signature != e.Report.Signature || len(again.Certificates) != len(e.Certificates) {
			t.Errorf("not the same when joined again: %v", err)
		}
		for i, c := range e.Certificates {
			if !bytes.Equal(c.Raw, again.Certificates[i].Raw) {
				t.Errorf("certificate %d changed", i)
			}
			snp.ParseEndorsement(c)
		}
	})
}

// BenchmarkVerify is a verification with everything at hand: certificates from
// the peer, the revocation list in memory.
func BenchmarkVerify(b *testing.B) {
	a, err := insecure.NewSNPAuthority(insecure.SNPOptions{})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for name, v := range map[string]*snp.Verifier{"simulated": simulated(a)} {
		raw := quote(b, a.Machine("image"))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if failed, ok := v.Verify(b.Context(), raw, now).Checks.Failed(); ok {
					b.Fatal(failed)
				}
			}
		})
	}
	v := &snp.Verifier{Policy: snp.Policy{Minimum: snp.SB3019, AllowUnknown: true, InsecureAnyKernel: true}}
	raw := genuine(b, "genoa", "vcek")
	b.Run("genuine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if failed, ok := v.Verify(b.Context(), raw, sampleDate).Checks.Failed(); ok {
				b.Fatal(failed)
			}
		}
	})
}
