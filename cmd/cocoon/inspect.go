package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
)

func inspectVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect FILE|HOST:PORT", Short: "show what evidence states, without believing it", Args: cobra.ExactArgs(1),
		Long: evidenceHelp + "\n\nNothing is judged: see `cocoon attest verify`.",
		Example: "  cocoon attest inspect quote.dat\n  cocoon attest inspect peer.pem --json\n" +
			"  cocoon attest inspect 192.0.2.1:11002",
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := readEvidence(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		s, err := e.statement(cmd.Context(), time.Now())
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), s)
		}
		return s.write(cmd.OutOrStdout())
	}
	return cmd
}

// statement is what inspect prints.
type statement struct {
	Kind         attest.Kind           `json:"kind"`
	Certificate  *certificateStatement `json:"certificate,omitempty"`
	*measurement                       // nil without evidence
}

// certificateStatement is about the certificate that carried the evidence.
type certificateStatement struct {
	Key       string    `json:"key"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Bound is whether the evidence names the certificate's key.
	Bound bool `json:"bound_to_key"`
}

// measurement is what the evidence states about a machine.
type measurement struct {
	ImageHash    attest.Hash `json:"image_hash"`
	Debug        bool        `json:"debug"`
	MRTD         string      `json:"mrtd"`
	RTMR         [4]string   `json:"rtmr"`
	MRConfigID   string      `json:"mrconfigid"`
	MROwner      string      `json:"mrowner"`
	MROwnerConf  string      `json:"mrownerconfig"`
	ReportData   string      `json:"report_data"`
	TDAttributes string      `json:"td_attributes"`
	XFAM         string      `json:"xfam"`
	MRSeam       string      `json:"mrseam"`
	TCBSVN       string      `json:"tcb_svn"`
}

// statement reads evidence. Judging with a policy that wants nothing else
// reads all there is; the outcome would mean nothing and is not shown.
func (e *evidence) statement(ctx context.Context, now time.Time) (*statement, error) {
	reader := attest.Policy{Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{}}}
	v, _ := reader.Judge(ctx, e.Evidence, nil, now)
	s := &statement{Kind: v.Kind}
	switch {
	case v.Registers != nil:
		s.measurement = newMeasurement(v)
	case v.Kind != attest.KindNone:
		failed, _ := v.Failed()
		return nil, fmt.Errorf("no TDX quote: %s is %s, want %s", failed.Name, failed.Got, failed.Want)
	}
	if c := e.certificate; c != nil {
		s.Certificate = &certificateStatement{
			Key: hex.EncodeToString(c.Key), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
			Bound: v.Registers != nil && v.ReportData == attest.ReportData(c.Key),
		}
	}
	return s, nil
}

func newMeasurement(v *attest.Verdict) *measurement {
	text := func(name string) string { return hex.EncodeToString(v.Register(name)) }
	out := &measurement{
		ImageHash: v.ImageHash, MRTD: text(tdx.RegisterMRTD),
		MRConfigID: text(tdx.RegisterMRConfigID), MROwner: text(tdx.RegisterMROwner), MROwnerConf: text(tdx.RegisterMROwnerConfig),
		ReportData: hex.EncodeToString(v.ReportData[:]), TDAttributes: "0x" + text(tdx.RegisterTDAttributes), XFAM: "0x" + text(tdx.RegisterXFAM),
		MRSeam: text(tdx.RegisterMRSeam), TCBSVN: text(tdx.RegisterTCBSVN),
	}
	if a := v.Register(tdx.RegisterTDAttributes); len(a) > 0 {
		out.Debug = a[len(a)-1] != 0
	}
	for i, name := range []string{tdx.RegisterRTMR0, tdx.RegisterRTMR1, tdx.RegisterRTMR2, tdx.RegisterRTMR3} {
		out.RTMR[i] = text(name)
	}
	return out
}

// kindWords say what each kind of evidence is worth at best.
var kindWords = map[attest.Kind]string{
	attest.KindNone:    "no evidence: the peer proves only that it has its key",
	attest.KindFakeTDX: "a mere hash of the key, which anyone can make",
	attest.KindTDX:     "an Intel TDX quote, not verified here",
	attest.KindSEVSNP:  "an AMD SEV-SNP report, which is not supported yet",
}

func (s *statement) write(w io.Writer) error {
	lines := [][2]any{{"kind", string(s.Kind) + ": " + kindWords[s.Kind]}}
	if c := s.Certificate; c != nil {
		lines = append(lines, [][2]any{
			{"key", c.Key}, {"certificate", "valid from " + c.NotBefore.Format(time.RFC3339) + " to " + c.NotAfter.Format(time.RFC3339)},
		}...)
		if s.measurement != nil {
			lines = append(lines, [2]any{"bound to key", yesNo(c.Bound)})
		}
	}
	if m := s.measurement; m != nil {
		lines = append(lines, [][2]any{
			{"image hash", m.ImageHash}, {"debug", yesNo(m.Debug)}, {"MRTD", m.MRTD},
			{"RTMR0", m.RTMR[0]}, {"RTMR1", m.RTMR[1]}, {"RTMR2", m.RTMR[2]}, {"RTMR3", m.RTMR[3]},
			{"MRCONFIGID", m.MRConfigID}, {"MROWNER", m.MROwner}, {"MROWNERCONFIG", m.MROwnerConf},
			{"report data", m.ReportData[:64] + "\n\t" + m.ReportData[64:]},
			{"TD attributes", m.TDAttributes}, {"XFAM", m.XFAM}, {"MRSEAM", m.MRSeam}, {"TCB SVN", m.TCBSVN},
		}...)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		text := fmt.Sprint(line[1])
		if len(text) == 96 && strings.Trim(text, "0") == "" {
			text = "zeros"
		}
		fmt.Fprintf(tw, "%v\t%s\n", line[0], text)
	}
	return tw.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
