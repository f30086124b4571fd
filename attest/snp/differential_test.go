package snp_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	pb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/snp"
)

// genuineNames are the reports in testdata and the kinds of their keys.
var genuineNames = map[string]string{"milan": "vcek", "milan-debug": "vcek", "milan-cloud": "vlek", "genoa": "vcek"}

// theirs are a report's fields as go-sev-guest reads them, in one order.
func theirs(r *pb.Report) []any {
	return []any{
		r.Version, r.GuestSvn, r.Policy, r.Vmpl, r.SignatureAlgo, r.CurrentTcb, r.PlatformInfo, r.SignerInfo, r.ReportedTcb, r.CommittedTcb, r.LaunchTcb,
		r.CurrentMajor, r.CurrentMinor, r.CurrentBuild, r.CommittedMajor, r.CommittedMinor, r.CommittedBuild, r.LaunchMitVector, r.CurrentMitVector, r.Cpuid1EaxFms,
		string(r.FamilyId), string(r.ImageId), string(r.ReportData), string(r.Measurement), string(r.HostData), string(r.IdKeyDigest), string(r.AuthorKeyDigest),
		string(r.ReportId), string(r.ReportIdMa), string(r.ChipId),
	}
}

// ours are the same fields as we read them.
func ours(r *snp.Report) []any {
	number := func(t snp.TCB) uint64 { return binary.LittleEndian.Uint64(t[:]) }
	var cpu uint32
	if r.Version >= 3 {
		cpu = abi.FmsToCpuid1Eax(r.CPU.Family, r.CPU.Model, r.CPU.Stepping)
	}
	now, committed := r.CurrentVersion, r.CommittedVersion
	return []any{
		r.Version, r.GuestSVN, uint64(r.Policy), r.VMPL, r.SignatureAlgorithm, number(r.CurrentTCB), uint64(r.PlatformInfo), uint32(r.KeyInfo), number(r.ReportedTCB), number(r.CommittedTCB), number(r.LaunchTCB),
		uint32(now.Major), uint32(now.Minor), uint32(now.Build), uint32(committed.Major), uint32(committed.Minor), uint32(committed.Build), r.LaunchMitigations, r.CurrentMitigations, cpu,
		string(r.FamilyID[:]), string(r.ImageID[:]), string(r.ReportData[:]), string(r.Measurement[:]), string(r.HostData[:]), string(r.IDKeyDigest[:]), string(r.AuthorKeyDigest[:]),
		string(r.ReportID[:]), string(r.ReportIDMA[:]), string(r.ChipID[:]),
	}
}

// compare reads a report with both and reports whether they agree on every
// field, and on whether what is reserved is in order.
func compare(t *testing.T, name string, raw []byte) {
	t.Helper()
	r, err := snp.ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	// Their parser refuses what we leave to a check. It knows fewer things
	// that must be zero, so it may accept what we refuse, not the other way.
	other, err := abi.ReportToProto(raw)
	f := (&snp.Verifier{}).Verify(t.Context(), raw, sampleDate)
	if failed, _ := outcome(f); err != nil {
		if !slices.Contains(failed, evidence.CheckReserved) && !slices.Contains(failed, snp.CheckSigner) {
			t.Errorf("%s: go-sev-guest refuses it (%v), none of our checks does: %q", name, err, failed)
		}
		return
	}
	a, b := ours(r), theirs(other)
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("%s: field %d is %v, go-sev-guest reads %v", name, i, a[i], b[i])
		}
	}
}

func TestSameFieldsAsGoSevGuest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name := range genuineNames {
		raw := sample(t, name+"-report.bin")
		compare(t, name, raw)
		for range 150 { // one to four bytes changed
			changed := bytes.Clone(raw)
			for range 1 + random.IntN(4) {
				changed[random.IntN(len(changed))] = byte(random.Uint32())
			}
			if version := binary.LittleEndian.Uint32(changed); version < 2 || version > 5 {
				continue
			}
			compare(t, name, changed)
		}
	}
}

// go-sev-guest knows the layout of Milan and Genoa, and not Turin's.
func TestSameCertificatesAsGoSevGuest(t *testing.T) {
	for name, key := range genuineNames {
		leaf := certificate(t, name+"-"+key+".der")
		said, err := snp.ParseEndorsement(leaf)
		if err != nil {
			t.Fatal(err)
		}
		read := kds.VcekCertificateExtensions
		if key == "vlek" {
			read = kds.VlekCertificateExtensions
		}
		other, err := read(leaf)
		if err != nil {
			t.Fatal(err)
		}
		tcb := said.TCB.TCB(said.Product)
		if said.Name != other.ProductName || !bytes.Equal(said.HWID, other.HWID) || said.CSP != other.CspID || binary.LittleEndian.Uint64(tcb[:]) != uint64(other.TCBVersion) {
			t.Errorf("%s: %+v, go-sev-guest reads %+v", name, said, other)
		}
		if key == "vcek" {
			r, err := snp.ParseReport(sample(t, name+"-report.bin"))
			if err != nil {
				t.Fatal(err)
			}
			asked := "https://kdsintf.amd.com" + snp.VCEKPath(said.Product, r.ChipID, said.TCB)
			if parsed, err := kds.ParseVCEKCertURL(asked); err != nil || parsed.ProductLine != string(said.Product) || parsed.TCB != uint64(other.TCBVersion) || !bytes.Equal(parsed.HWID, other.HWID) {
				t.Errorf("%s: go-sev-guest reads %s as %+v, %v", name, asked, parsed, err)
			}
		}
	}
	if _, err := kds.VcekCertificateExtensions(certificate(t, "turin-vcek.der")); err == nil {
		t.Error("go-sev-guest reads Turin's certificate by now: compare it too")
	}
}

func TestSameSignaturesAsGoSevGuest(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for name, key := range genuineNames {
		raw, leaf := sample(t, name+"-report.bin"), certificate(t, name+"-"+key+".der")
		for i := range 20 {
			changed := bytes.Clone(raw)
			if i > 0 {
				changed[random.IntN(816)] ^= 1 << random.IntN(8)
			}
			r, err := snp.ParseReport(changed)
			if err != nil {
				t.Fatal(err)
			}
			err = r.VerifySignature(leaf)
			other := verify.SnpReportSignature(changed, leaf)
			if (err == nil) != (i == 0) || other == nil && err != nil {
				t.Errorf("%s, change %d: %v, go-sev-guest says %v", name, i, err, other)
			}
		}
	}
}

func TestSameChainsAsGoSevGuest(t *testing.T) {
	for name, key := range genuineNames {
		report, err := abi.ReportToProto(sample(t, name+"-report.bin"))
		if err != nil {
			t.Fatal(err)
		}
		der := sample(t, name+"-"+key+".der")
		chain := &pb.CertificateChain{VcekCert: der, VlekCert: der, Extras: map[string][]byte{}}
		options := &verify.Options{DisableCertFetching: true, Now: sampleDate}
		if key == "vlek" { // its own roots lack the intermediates for clouds
			root := trust.AMDRootCertsProduct("Milan")
			if err := root.FromKDSCertBytes(trust.AskArkMilanVlekBytes); err != nil {
				t.Fatal(err)
			}
			options.TrustedRoots = map[string][]*trust.AMDRootCerts{"Milan": {root}}
		}
		err = verify.SnpAttestation(&pb.Attestation{Report: report, CertificateChain: chain}, options)
		f := (&snp.Verifier{}).Verify(t.Context(), genuine(t, name, key), sampleDate)
		failed, _ := outcome(f)
		if ours := !slices.Contains(failed, evidence.CheckChain) && !slices.Contains(failed, evidence.CheckSignature); ours != (err == nil) {
			t.Errorf("%s: chain and signature %v (%q), go-sev-guest says %v", name, ours, failed, err)
		}
	}
}
