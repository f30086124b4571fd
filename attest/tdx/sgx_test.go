package tdx_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

func failed(f *evidence.Finding) (names []string) {
	for _, c := range f.Checks {
		if !c.OK {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestVerifyEnclaveQuote(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := a.Enclave([32]byte{7}, 3, [64]byte{9}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := a.Verifier().VerifyEnclave(t.Context(), raw, time.Now())
	if names := failed(f); names != nil || f.Status != tdx.UpToDate || !f.Insecure || f.Kind != evidence.SGX || f.ReportData != [64]byte{9} || f.Platform == "" {
		t.Fatalf("failed %v: %+v", names, f)
	}
	want := [32]byte{7}
	if got := f.Register(tdx.RegisterMREnclave); !bytes.Equal(got, want[:]) {
		t.Errorf("MRENCLAVE %x", got)
	}
	if got := binary.BigEndian.Uint16(f.Register(tdx.RegisterSVN)); got != 3 {
		t.Errorf("ISVSVN %d, want 3", got)
	}
	// Neither kind of quote passes for the other.
	if guest := a.Verifier().Verify(t.Context(), raw, time.Now()); !slices.Contains(failed(guest), evidence.CheckFormat) {
		t.Error("an enclave's quote passes for a guest's")
	}
	guest, err := a.Machine("image").Quote(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if f := a.Verifier().VerifyEnclave(t.Context(), guest, time.Now()); !slices.Contains(failed(f), evidence.CheckFormat) {
		t.Error("a guest's quote passes for an enclave's")
	}
}

func TestVerifyEnclaveQuoteRefuses(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		name  string
		edit  func(*insecure.EnclaveDraft)
		raw   func([]byte) []byte
		say   insecure.Collateral
		by    *tdx.Verifier
		at    time.Time
		check string
	}{
		{name: "debug enclave", edit: func(d *insecure.EnclaveDraft) { d.About.Attributes[0] |= 2 }, check: evidence.CheckDebug},
		{name: "not initialised", edit: func(d *insecure.EnclaveDraft) { d.About.Attributes[0] = 4 }, check: tdx.CheckEnclaveAttributes},
		{name: "signed by the enclave for guests", edit: func(d *insecure.EnclaveDraft) { d.Quoting.ISVProdID = 2 }, check: tdx.CheckEnclave},
		{name: "signed by a foreign enclave", edit: func(d *insecure.EnclaveDraft) { d.Quoting.MRSigner[0]++ }, check: tdx.CheckEnclave},
		{name: "signed by a debug enclave", edit: func(d *insecure.EnclaveDraft) { d.Quoting.Attributes[0] |= 2 }, check: tdx.CheckEnclave},
		{name: "names another key", edit: func(d *insecure.EnclaveDraft) { d.Quoting.ReportData[0] = 1 }, check: tdx.CheckKey},
		{name: "another vendor's", edit: func(d *insecure.EnclaveDraft) { d.Header.QEVendor[0]++ }, check: tdx.CheckHeader},
		{name: "version 4", edit: func(d *insecure.EnclaveDraft) { d.Header.Version = 4 }, check: evidence.CheckFormat},
		{name: "of a guest", edit: func(d *insecure.EnclaveDraft) { d.Header.TEEType = 0x81 }, check: evidence.CheckFormat},
		{name: "another key type", edit: func(d *insecure.EnclaveDraft) { d.Header.KeyType = 3 }, check: evidence.CheckFormat},
		{name: "an old quoting enclave", edit: func(d *insecure.EnclaveDraft) { d.Quoting.ISVSVN = 0 }, check: tdx.CheckEnclaveTCB},
		{name: "measurement changed", raw: func(b []byte) []byte { b[48+64] ^= 1; return b }, check: evidence.CheckSignature},
		{name: "report data changed", raw: func(b []byte) []byte { b[48+383] ^= 1; return b }, check: evidence.CheckSignature},
		{name: "enclave report changed", raw: func(b []byte) []byte { b[436+128] ^= 1; return b }, check: tdx.CheckReport},
		{name: "cut", raw: func(b []byte) []byte { return b[:len(b)-1] }, check: evidence.CheckFormat},
		{name: "trailing", raw: func(b []byte) []byte { return append(b, 0) }, check: evidence.CheckFormat},
		{name: "length of the signature data", raw: func(b []byte) []byte { b[432] ^= 1; return b }, check: evidence.CheckFormat},
		{name: "empty", raw: func([]byte) []byte { return nil }, check: evidence.CheckFormat},
		{name: "certificate revoked", say: insecure.Collateral{RevokePCK: true}, check: evidence.CheckRevocation},
		{name: "level revoked", say: insecure.Collateral{TCBStatus: tdx.Revoked}, check: tdx.CheckPlatformTCB},
		{name: "collateral expired", say: insecure.Collateral{NextUpdate: now.Add(time.Hour)}, at: now.Add(2 * time.Hour), check: tdx.CheckTCBInfo},
		{name: "under Intel's root", by: &tdx.Verifier{}, check: evidence.CheckChain},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := a.Publish(c.say); err != nil {
				t.Fatal(err)
			}
			raw, err := a.Enclave([32]byte{7}, 3, [64]byte{9}, c.edit)
			if err != nil {
				t.Fatal(err)
			}
			if c.raw != nil {
				raw = c.raw(raw)
			}
			if c.by == nil {
				c.by = a.Verifier()
			}
			if c.at.IsZero() {
				c.at = now
			}
			if names := failed(c.by.VerifyEnclave(t.Context(), raw, c.at)); !slices.Contains(names, c.check) {
				t.Errorf("failed are %q, want %q among them", names, c.check)
			}
		})
	}
}

func FuzzEnclaveQuote(f *testing.F) {
	a, err := insecure.NewAuthority()
	if err != nil {
		f.Fatal(err)
	}
	raw, err := a.Enclave([32]byte{7}, 3, [64]byte{9}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	verifier, now := a.Verifier(), time.Now()
	f.Fuzz(func(t *testing.T, b []byte) {
		found := verifier.VerifyEnclave(t.Context(), b, now)
		if len(failed(found)) == 0 && !bytes.Equal(b[:432], raw[:432]) {
			t.Error("another statement passes") // the signatures may be written in more than one way
		}
	})
}
