package tdx_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// rig is a simulated machine that is in order, and who judges it; each row
// of the tables changes one thing.
type rig struct {
	*testing.T
	a       *insecure.Authority
	machine *insecure.Machine
	say     insecure.Collateral
	parts   tampered
	v       tdx.Verifier
	raw     func([]byte) []byte
	now     time.Time
}

// verdict builds the row and judges it: the checks that failed, and the status.
func (r *rig) verdict(change func(*rig)) (*evidence.Finding, string) {
	r.Helper()
	r.machine = r.a.Machine("image")
	r.say, r.now, r.raw = insecure.Collateral{}, time.Now(), bytes.Clone
	r.parts = tampered{r.a, map[tdx.Part]func(tdx.Statement) (tdx.Statement, error){}}
	r.v = tdx.Verifier{Roots: r.a.Roots(), Collateral: r.parts}
	change(r)
	if err := r.a.Publish(r.say); err != nil {
		r.Fatal(err)
	}
	raw, err := r.machine.Quote(r.Context(), [64]byte{1})
	if err != nil {
		r.Fatal(err)
	}
	f := r.v.Verify(r.Context(), r.raw(raw), r.now)
	var failed []string
	for _, c := range f.Checks {
		if c.Got == "" || c.Want == "" {
			r.Errorf("check %+v says too little", c)
		}
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	return f, strings.Join(failed, ", ")
}

// tampered changes parts of what an honest source says.
type tampered struct {
	tdx.Collateral
	change map[tdx.Part]func(tdx.Statement) (tdx.Statement, error)
}

func (s tampered) Get(ctx context.Context, part tdx.Part) (tdx.Statement, error) {
	said, err := s.Collateral.Get(ctx, part)
	if change := s.change[part]; change != nil && err == nil {
		said.Body, said.Chain = bytes.Clone(said.Body), bytes.Clone(said.Chain)
		return change(said)
	}
	return said, err
}

// Places in a simulated quote of version 4.
const (
	atBody      = 48
	atAttribute = atBody + 120
	atXFAM      = atBody + 128
	atMRTD      = atBody + 136
	atRTMR      = atBody + 328
	atData      = atBody + 520
	atLength    = 632
	atSignature = 636
	atKey       = atSignature + 64
	atReport    = atSignature + 134
	atReportSig = atReport + 384
	atAuth      = atReportSig + 64 + 2
	atChain     = atAuth + 32 + 6
)

func flip(at int) func(*rig) {
	return func(r *rig) {
		r.raw = func(b []byte) []byte { b[at] ^= 0x10; return b }
	}
}

func bytesTo(change func([]byte) []byte) func(*rig) {
	return func(r *rig) { r.raw = change }
}

func draft(change func(*insecure.Draft)) func(*rig) {
	return func(r *rig) { r.machine.Edit = change }
}

func published(change func(info, identity map[string]any)) func(*rig) {
	return func(r *rig) { r.say.Edit = change }
}

func statement(part tdx.Part, change func(*tdx.Statement)) func(*rig) {
	return func(r *rig) {
		r.parts.change[part] = func(s tdx.Statement) (tdx.Statement, error) { change(&s); return s, nil }
	}
}

var simulatedModel = tdx.TCBInfo([6]byte{0xc0, 0xc0})

// certificates cuts a quote's chain into its certificates and puts it together
// again.
func certificates(change func([]*pem.Block) []*pem.Block) func(*rig) {
	return bytesTo(func(b []byte) []byte {
		var blocks []*pem.Block
		for rest := b[atChain:]; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			blocks = append(blocks, block)
		}
		var text []byte
		for _, block := range change(blocks) {
			text = append(text, pem.EncodeToMemory(block)...)
		}
		return replaceChain(b, text)
	})
}

// replaceChain puts another text in a quote's place for certificates, with
// lengths that fit.
func replaceChain(b, text []byte) []byte {
	grown := len(text) - len(b[atChain:])
	for _, at := range []int{atLength, atSignature + 130, atChain - 4} {
		binary.LittleEndian.PutUint32(b[at:], uint32(int(binary.LittleEndian.Uint32(b[at:]))+grown))
	}
	return append(b[:atChain:atChain], text...)
}

func TestRefusals(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	year := time.Now().AddDate(1, 0, 0)
	theirs := func(part tdx.Part) func(*rig) {
		return statement(part, func(s *tdx.Statement) { *s, _ = stranger.Get(context.Background(), part) })
	}
	body := func(part tdx.Part, change func([]byte) []byte) func(*rig) {
		return statement(part, func(s *tdx.Statement) { s.Body = change(s.Body) })
	}
	first := func(document map[string]any, field string) map[string]any {
		return document[field].([]map[string]any)[0]
	}
	for _, c := range []struct {
		name   string
		change func(*rig)
		failed string // names of checks; empty: none
		status string // empty: UpToDate
	}{
		{"as it should be", func(*rig) {}, "", ""},
		{"version 5", func(r *rig) { r.machine.Version5 = true }, "", ""},
		{"version 5, TD 1.5", func(r *rig) { r.machine.TD15 = true }, "", ""},
		{"processor CA", func(r *rig) { r.machine.ProcessorCA = true }, "", ""},
		{"another processor", func(r *rig) { r.machine.Processor = "second" }, "", ""},

		// What cannot be taken apart.
		{"nothing", bytesTo(func([]byte) []byte { return nil }), "format", "unknown"},
		{"header alone", bytesTo(func(b []byte) []byte { return b[:48] }), "format", "unknown"},
		{"without its last byte", bytesTo(func(b []byte) []byte { return b[:len(b)-1] }), "format", "unknown"},
		{"half", bytesTo(func(b []byte) []byte { return b[:len(b)/2] }), "format", "unknown"},
		{"a byte behind it", bytesTo(func(b []byte) []byte { return append(b, 1) }), "format", "unknown"},
		{"zeros behind it", bytesTo(func(b []byte) []byte { return append(b, 0, 0, 0) }), "", ""},
		{"version 3", draft(func(d *insecure.Draft) { d.Header.Version = 3 }), "format", "unknown"},
		{"version 6", draft(func(d *insecure.Draft) { d.Header.Version = 6 }), "format", "unknown"},
		{"key type P-384", draft(func(d *insecure.Draft) { d.Header.KeyType = 3 }), "format", "unknown"},
		{"an SGX enclave's", draft(func(d *insecure.Draft) { d.Header.TEEType = 0 }), "format", "unknown"},

		// Header and body, changed after they were signed.
		{"header: user data", flip(30), "signature", "unknown"},
		{"header: SVNs", flip(8), "signature", "unknown"},
		{"header: vendor", flip(14), "header, signature", "unknown"},
		{"TCB SVN", flip(atBody), "signature", "unknown"},
		{"MRSEAM", flip(atBody + 16), "signature", "unknown"},
		{"MRSIGNERSEAM", flip(atBody + 64), "signature, tdx module", "unknown"},
		{"SEAM attributes", flip(atBody + 112), "signature, seam attributes", "unknown"},
		{"TD attributes", flip(atAttribute), "signature, debug", "unknown"},
		{"XFAM", flip(atXFAM + 3), "signature, xfam", "unknown"},
		{"MRTD", flip(atMRTD), "signature", "unknown"},
		{"MRCONFIGID", flip(atMRTD + 48), "signature", "unknown"},
		{"MROWNER", flip(atMRTD + 96), "signature", "unknown"},
		{"MROWNERCONFIG", flip(atMRTD + 144), "signature", "unknown"},
		{"RTMR0", flip(atRTMR), "signature", "unknown"},
		{"RTMR1", flip(atRTMR + 48), "signature", "unknown"},
		{"RTMR2", flip(atRTMR + 96), "signature", "unknown"},
		{"RTMR3", flip(atRTMR + 144), "signature", "unknown"},
		{"report data", flip(atData), "signature", "unknown"},
		{"report data's last byte", flip(atData + 63), "signature", "unknown"},

		// The signatures.
		{"signature: r", flip(atSignature), "signature", "unknown"},
		{"signature: s", flip(atSignature + 32), "signature", "unknown"},
		{"signature of zeros", bytesTo(func(b []byte) []byte { clear(b[atSignature:atKey]); return b }), "signature", "unknown"},
		{"attestation key", flip(atKey), "attestation key, signature", "unknown"},
		{"attestation key of zeros", bytesTo(func(b []byte) []byte { clear(b[atKey : atKey+64]); return b }), "attestation key, signature", "unknown"},
		{"enclave's report: CPUSVN", flip(atReport), "enclave report", "unknown"},
		{"enclave's report: report data", flip(atReport + 320), "enclave report, attestation key", "unknown"},
		{"enclave's report: signer", flip(atReport + 128), "enclave report, quoting enclave", "unknown"},
		{"enclave's signature", flip(atReportSig), "enclave report", "unknown"},
		{"authentication data", flip(atAuth), "attestation key", "unknown"},
		{"an enclave that named another key", draft(func(d *insecure.Draft) { d.Enclave.ReportData[0] = 1 }), "attestation key", "unknown"},
		{"an enclave that named more than the key", draft(func(d *insecure.Draft) { d.Enclave.ReportData[63] = 1 }), "attestation key", "unknown"},

		// The certificates.
		{"no certificates", bytesTo(func(b []byte) []byte { return replaceChain(b, nil) }), "chain", "unknown"},
		{"PCK certificate alone", certificates(func(b []*pem.Block) []*pem.Block { return b[:1] }), "chain", "unknown"},
		{"four certificates", certificates(func(b []*pem.Block) []*pem.Block { return append(b, b[2]) }), "chain", "unknown"},
		{"text behind the certificates", bytesTo(func(b []byte) []byte { return replaceChain(b, append(bytes.TrimRight(b[atChain:], "\x00"), "text"...)) }), "chain", "unknown"},
		{"text before the certificates", bytesTo(func(b []byte) []byte { return replaceChain(b, append([]byte("text\n"), b[atChain:]...)) }), "chain", "unknown"},
		{"text between the certificates", bytesTo(func(b []byte) []byte {
			return replaceChain(b, bytes.Replace(b[atChain:], []byte("E-----\n-----B"), []byte("E-----\ntext\n-----B"), 1))
		}), "chain", "unknown"},
		{"a private key among them", certificates(func(b []*pem.Block) []*pem.Block { b[1].Type = "PRIVATE KEY"; return b }), "chain", "unknown"},
		{"PCK certificate touched", certificates(touch(0)), "pck certificate", "unknown"},
		{"CA certificate touched", certificates(touch(1)), "ca certificate", "unknown"},
		{"root certificate touched", certificates(touch(2)), "chain", "unknown"},
		{"CA and root change places", certificates(func(b []*pem.Block) []*pem.Block { b[1], b[2] = b[2], b[1]; return b }), "chain, ca certificate, pck certificate", "unknown"},
		{"CA in place of the PCK certificate", certificates(func(b []*pem.Block) []*pem.Block { b[0] = b[1]; return b }), "pck certificate, enclave report", "unknown"},
		{"another authority's root", func(r *rig) { r.v.Roots = stranger.Roots() }, "chain", "unknown"},
		{"Intel's root", func(r *rig) { r.v.Roots = nil }, "chain", "unknown"},
		{"before the certificates", func(r *rig) { r.now = r.now.AddDate(-1, 0, 0) }, "validity", "unknown"},
		{"after the certificates", func(r *rig) { r.now = r.now.AddDate(11, 0, 0) }, "validity", "unknown"},

		// What a genuine machine states, and we do not want.
		{"another's TDX module", draft(func(d *insecure.Draft) { d.Body.MRSignerSeam[47] = 1 }), "tdx module, module identity", "unknown"},
		{"debug TDX module", draft(func(d *insecure.Draft) { d.Body.SeamAttributes = 1 }), "seam attributes, module identity", "unknown"},
		{"vendor of the enclave", draft(func(d *insecure.Draft) { d.Header.QEVendor[0]++ }), "header", ""},
		{"another's quoting enclave", draft(func(d *insecure.Draft) { d.Enclave.MRSigner[0]++ }), "quoting enclave", "unknown"},
		{"another product", draft(func(d *insecure.Draft) { d.Enclave.ISVProdID = 1 }), "quoting enclave", "unknown"},
		{"enclave in debug mode", draft(func(d *insecure.Draft) { d.Enclave.Attributes[0] |= 2 }), "quoting enclave", "unknown"},
		{"enclave's other attributes", draft(func(d *insecure.Draft) { d.Enclave.Attributes[0] |= 0x20 }), "enclave identity", ""},
		{"enclave's MISCSELECT", draft(func(d *insecure.Draft) { d.Enclave.MiscSelect = 1 }), "enclave identity", ""},
		{"debug", func(r *rig) { r.machine.Debug = true }, "debug", ""},
		{"migratable", func(r *rig) { r.machine.Migratable = true }, "migration", ""},
		{"SSE switched off", draft(func(d *insecure.Draft) { d.Body.XFAM &^= 2 }), "xfam", ""},
		{"service TD", func(r *rig) {
			r.machine.TD15 = true
			r.machine.Edit = func(d *insecure.Draft) { d.Body15.MRServiceTD[0] = 1 }
		}, "service td", ""},

		// What the vendor says about the machine.
		{"platform's SVN too low for any level", draft(func(d *insecure.Draft) { d.Body.TCBSVN[2] = 0 }), "platform tcb", "unknown"},
		{"TDX module that nobody lists", draft(func(d *insecure.Draft) { d.Body.TCBSVN[1] = 9 }), "module identity", "unknown"},
		{"module's SVN too low for any level", draft(func(d *insecure.Draft) { d.Body.TCBSVN[0] = 0 }), "module tcb", "unknown"},
		{"enclave's SVN too low for any level", draft(func(d *insecure.Draft) { d.Enclave.ISVSVN = 0 }), "enclave tcb", "unknown"},
		{"platform out of date", func(r *rig) { r.say.TCBStatus = "OutOfDate" }, "", "OutOfDate"},
		{"platform needs hardening", func(r *rig) { r.say.TCBStatus = "SWHardeningNeeded" }, "", "SWHardeningNeeded"},
		{"platform needs configuration", func(r *rig) { r.say.TCBStatus = "ConfigurationNeeded" }, "", "ConfigurationNeeded"},
		{"platform needs both", func(r *rig) { r.say.TCBStatus = "ConfigurationAndSWHardeningNeeded" }, "", "ConfigurationAndSWHardeningNeeded"},
		{"platform out of date, needs configuration", func(r *rig) { r.say.TCBStatus = "OutOfDateConfigurationNeeded" }, "", "OutOfDateConfigurationNeeded"},
		{"platform revoked", func(r *rig) { r.say.TCBStatus = "Revoked" }, "platform tcb", "Revoked"},
		{"a status that nobody knows", func(r *rig) { r.say.TCBStatus = "Fine" }, "platform tcb", "unknown"},
		{"module out of date", published(func(info, _ map[string]any) {
			first(first(info, "tdxModuleIdentities"), "tcbLevels")["tcbStatus"] = "OutOfDate"
		}), "", "OutOfDate"},
		{"module revoked", published(func(info, _ map[string]any) {
			first(first(info, "tdxModuleIdentities"), "tcbLevels")["tcbStatus"] = "Revoked"
		}), "module tcb", "Revoked"},
		{"module out of date on a platform that needs configuration", func(r *rig) {
			r.say.TCBStatus = "ConfigurationNeeded"
			r.say.Edit = func(info, _ map[string]any) {
				first(first(info, "tdxModuleIdentities"), "tcbLevels")["tcbStatus"] = "OutOfDate"
			}
		}, "", "OutOfDateConfigurationNeeded"},
		{"enclave out of date", published(func(_, identity map[string]any) { first(identity, "tcbLevels")["tcbStatus"] = "OutOfDate" }), "", "OutOfDate"},
		{"enclave revoked", published(func(_, identity map[string]any) { first(identity, "tcbLevels")["tcbStatus"] = "Revoked" }), "enclave tcb", "Revoked"},
		{"another model's TCB info", published(func(info, _ map[string]any) { info["fmspc"] = "00906ed50000" }), "platform tcb", "unknown"},
		{"another PCE's TCB info", published(func(info, _ map[string]any) { info["pceId"] = "0001" }), "platform tcb", "unknown"},
		{"TCB info with a component missing", published(func(info, _ map[string]any) {
			tcb := first(info, "tcbLevels")["tcb"].(map[string]any)
			tcb["sgxtcbcomponents"] = tcb["sgxtcbcomponents"].([]map[string]any)[:15]
		}), "platform tcb", "unknown"},
		{"QE identity of another product", published(func(_, identity map[string]any) { identity["isvprodid"] = 3 }), "enclave identity", ""},
		{"old knowledge", func(r *rig) { r.v.MinEvaluationNumber = 2 }, "evaluation number tcb info, evaluation number qe identity", ""},
		{"old knowledge about the enclave", func(r *rig) {
			r.v.MinEvaluationNumber = 2
			r.say.Edit = func(info, _ map[string]any) { info["tcbEvaluationDataNumber"] = 2 }
		}, "evaluation number qe identity", ""},
		{"processor revoked", func(r *rig) { r.say.RevokePCK = true }, "revocation", ""},
		{"processor with a CA of its own revoked", func(r *rig) { r.machine.ProcessorCA, r.say.RevokePCK = true, true }, "revocation", ""},
		{"CA revoked", func(r *rig) { r.say.RevokeCA = true }, "revocation", ""},
		{"signer of the documents revoked", func(r *rig) { r.say.RevokeSigner = true }, "revocation", ""},

		// Each part of the collateral.
		{"TCB info edited", body(simulatedModel, func(b []byte) []byte { return bytes.Replace(b, []byte("UpToDate"), []byte("UpToDat3"), 1) }), "tcb info", "unknown"},
		{"TCB info's signature", body(simulatedModel, func(b []byte) []byte { b[len(b)-4] ^= 1; return b }), "tcb info", "unknown"},
		{"TCB info of another authority", theirs(simulatedModel), "tcb info", "unknown"},
		{"TCB info with another's chain", statement(simulatedModel, func(s *tdx.Statement) { o, _ := stranger.Get(context.Background(), simulatedModel); s.Chain = o.Chain }), "tcb info", "unknown"},
		{"TCB info without a chain", statement(simulatedModel, func(s *tdx.Statement) { s.Chain = nil }), "tcb info", "unknown"},
		{"TCB info with the signer alone", statement(simulatedModel, func(s *tdx.Statement) { b, _ := pem.Decode(s.Chain); s.Chain = pem.EncodeToMemory(b) }), "tcb info", "unknown"},
		{"TCB info that is the identity", statement(simulatedModel, func(s *tdx.Statement) { *s, _ = a.Get(context.Background(), tdx.QEIdentity) }), "tcb info", "unknown"},
		{"TCB info that is no JSON", body(simulatedModel, func([]byte) []byte { return []byte("<html>") }), "tcb info", "unknown"},
		{"TCB info and something beside it", body(simulatedModel, beside("TCBINFO")), "tcb info", "unknown"},
		{"TCB info twice", body(simulatedModel, beside("tcbInfo")), "tcb info", "unknown"},
		{"TCB info and something behind it", body(simulatedModel, func(b []byte) []byte { return append(b, "{}"...) }), "tcb info", "unknown"},
		{"TCB info of SGX", published(func(info, _ map[string]any) { info["id"] = "SGX" }), "tcb info", "unknown"},
		{"TCB info of another version", published(func(info, _ map[string]any) { info["version"] = 4 }), "tcb info", "unknown"},
		{"TCB info of tomorrow", published(func(info, _ map[string]any) { info["issueDate"] = year.Format(time.RFC3339) }), "tcb info", "unknown"},
		{"TCB info without an end", published(func(info, _ map[string]any) { delete(info, "nextUpdate") }), "tcb info", "unknown"},
		{"TCB info expired", published(func(info, _ map[string]any) { info["nextUpdate"] = "2020-01-01T00:00:00Z" }), "tcb info", "unknown"},
		{"QE identity edited", body(tdx.QEIdentity, func(b []byte) []byte { return bytes.Replace(b, []byte("UpToDate"), []byte("UpToDat3"), 1) }), "qe identity", "unknown"},
		{"QE identity of another authority", theirs(tdx.QEIdentity), "qe identity", "unknown"},
		{"QE identity of an SGX enclave", published(func(_, identity map[string]any) { identity["id"] = "QE" }), "qe identity", "unknown"},
		{"QE identity expired", published(func(_, identity map[string]any) { identity["nextUpdate"] = "2020-01-01T00:00:00Z" }), "qe identity", "unknown"},
		{"QE identity that names another signer", published(func(_, identity map[string]any) { identity["mrsigner"] = strings.Repeat("00", 32) }), "enclave identity", ""},
		{"root's list edited", body(tdx.RootCRL, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), "root crl", ""},
		{"root's list of another authority", theirs(tdx.RootCRL), "root crl", ""},
		{"root's list that is the CA's", statement(tdx.RootCRL, func(s *tdx.Statement) { *s, _ = a.Get(context.Background(), tdx.PCKCRLPlatform) }), "root crl", ""},
		{"root's list that is none", body(tdx.RootCRL, func([]byte) []byte { return []byte("junk") }), "root crl", ""},
		{"CA's list edited", body(tdx.PCKCRLPlatform, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), "pck crl", ""},
		{"CA's list of another authority", theirs(tdx.PCKCRLPlatform), "pck crl", ""},
		{"CA's list that is the other CA's", statement(tdx.PCKCRLPlatform, func(s *tdx.Statement) { *s, _ = a.Get(context.Background(), tdx.PCKCRLProcessor) }), "pck crl", ""},
		{"lists expired", func(r *rig) { r.say.ListsUntil, r.now = year.AddDate(0, 0, -1), year }, "root crl, pck crl", ""},
		{"everything expired", func(r *rig) { r.say.NextUpdate, r.now = year.AddDate(0, 0, -1), year }, "tcb info, qe identity, root crl, pck crl", "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rig{T: t, a: a}
			f, failed := r.verdict(c.change)
			if c.status == "" {
				c.status = tdx.UpToDate
			}
			if failed != c.failed || f.Status != c.status {
				t.Errorf("refused by %q, status %s, want %q, %s\n%s", failed, f.Status, c.failed, c.status, describe(f))
			}
		})
	}
}

// touch changes a certificate's last byte, which is in its signature.
func touch(n int) func([]*pem.Block) []*pem.Block {
	return func(b []*pem.Block) []*pem.Block { b[n].Bytes[len(b[n].Bytes)-1] ^= 1; return b }
}

// beside puts an answer that nobody signed beside the signed one.
func beside(name string) func([]byte) []byte {
	return func(b []byte) []byte {
		info := b[len(`{"tcbInfo":`):bytes.LastIndex(b, []byte(`,"signature"`))]
		return fmt.Appendf(nil, `{"tcbInfo":%s,%q:%s%s`, info, name, info, b[bytes.LastIndex(b, []byte(`,"signature"`)):])
	}
}

// Every attribute bit but those that say nothing about a guest's protection is
// refused, and every bit of XFAM that we do not know.
func TestEveryBit(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	harmless := uint64(1<<27 | 1<<28 | 1<<30 | 1<<31 | 1<<63)
	const extended = 0x6dbe7
	for bit := range 64 {
		want, wantXFAM := "reserved", "xfam"
		switch {
		case bit < 8:
			want = "debug"
		case bit == 29:
			want = "migration"
		case harmless>>bit&1 == 1:
			want = ""
		}
		if extended>>bit&1 == 1 {
			wantXFAM = ""
		}
		r := &rig{T: t, a: a}
		if _, failed := r.verdict(draft(func(d *insecure.Draft) { d.Body.TDAttributes |= 1 << bit })); failed != want {
			t.Errorf("attribute bit %d: refused by %q, want %q", bit, failed, want)
		}
		if _, failed := r.verdict(draft(func(d *insecure.Draft) { d.Body.XFAM |= 1 << bit })); failed != wantXFAM {
			t.Errorf("XFAM bit %d: refused by %q, want %q", bit, failed, wantXFAM)
		}
	}
}

var errDown = errors.New("down")

func silent(r *rig, parts ...tdx.Part) {
	for _, part := range parts {
		r.parts.change[part] = func(tdx.Statement) (tdx.Statement, error) { return tdx.Statement{}, errDown }
	}
}

// A part that does not come leaves the status unknown, and is no check. What is
// known to be bad stays bad: a source that withholds a list cannot hide it.
func TestPartsThatDoNotCome(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	all := []tdx.Part{simulatedModel, tdx.QEIdentity, tdx.RootCRL, tdx.PCKCRLPlatform}
	for _, part := range all {
		for say, want := range map[string]string{"UpToDate": "unknown", "OutOfDate": "OutOfDate"} {
			if part == simulatedModel && say == "OutOfDate" {
				want = "unknown"
			}
			r := &rig{T: t, a: a}
			f, failed := r.verdict(func(r *rig) { r.say.TCBStatus = say; silent(r, part) })
			if failed != "" || f.Status != want || !f.Passing {
				t.Errorf("%s without %s: refused by %q, status %s, passing %v, want %s", say, part, failed, f.Status, f.Passing, want)
			}
			if want == "unknown" && !strings.Contains(f.Reason, part.File()+": down") {
				t.Errorf("without %s the reason is %q", part, f.Reason)
			}
		}
	}
	r := &rig{T: t, a: a}
	f, failed := r.verdict(func(r *rig) { silent(r, all...) })
	if failed != "" || f.Status != "unknown" || strings.Count(f.Reason, "down") != 4 {
		t.Errorf("without any: refused by %q, status %s, reason %q", failed, f.Status, f.Reason)
	}
	// What does come is looked at.
	if _, failed := r.verdict(func(r *rig) { r.say.RevokePCK = true; silent(r, simulatedModel, tdx.QEIdentity, tdx.RootCRL) }); failed != "revocation" {
		t.Errorf("revoked, and nothing else came: refused by %q", failed)
	}
}

// A guest that was built under an old module, on a machine that has a new one
// by now, is told to start anew.
func TestRelaunch(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		platform  string
		now, want string
	}{
		{"UpToDate", "same", "OutOfDate"},
		{"UpToDate", "newer", "TDRelaunchAdvised"},
		{"ConfigurationNeeded", "newer", "TDRelaunchAdvisedConfigurationNeeded"},
		{"OutOfDate", "newer", "OutOfDate"},
	} {
		r := &rig{T: t, a: a}
		f, failed := r.verdict(func(r *rig) {
			r.say.TCBStatus = c.platform
			r.say.Edit = func(info, _ map[string]any) {
				module := info["tdxModuleIdentities"].([]map[string]any)[0]
				levels := module["tcbLevels"].([]map[string]any)
				old := map[string]any{"tcb": map[string]any{"isvsvn": 3}, "tcbStatus": "OutOfDate", "advisoryIDs": []string{"INTEL-SA-7"}}
				module["tcbLevels"] = append(levels, old)
			}
			r.machine.TD15 = true
			r.machine.Edit = func(d *insecure.Draft) {
				if d.Body.TCBSVN[0] = 3; c.now == "same" {
					d.Body15.TCBSVN2 = d.Body.TCBSVN
				}
			}
		})
		if failed != "" || f.Status != c.want || strings.Join(f.Advisories, " ") != "INTEL-SA-7" {
			t.Errorf("%+v: refused by %q, status %s, advisories %v", c, failed, f.Status, f.Advisories)
		}
	}
}

func TestFindingExpires(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	for name, change := range map[string]func(*rig){
		"TCB info": published(func(info, _ map[string]any) { info["nextUpdate"] = soon.Format(time.RFC3339) }),
		"identity": published(func(_, identity map[string]any) { identity["nextUpdate"] = soon.Format(time.RFC3339) }),
		"lists":    func(r *rig) { r.say.ListsUntil = soon },
	} {
		r := &rig{T: t, a: a}
		if f, failed := r.verdict(change); failed != "" || !f.Expires.Equal(soon) {
			t.Errorf("%s: refused by %q, expires %v, want %v", name, failed, f.Expires, soon)
		}
	}
}
