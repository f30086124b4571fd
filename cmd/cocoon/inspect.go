package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
)

func inspectVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect FILE|HOST:PORT", Short: "show what evidence states, without believing it", Args: cobra.ExactArgs(1),
		Long: evidenceHelp + "\n\nNothing is judged: see `cocoon attest verify`. With the event log of the guest, a quote's\n" +
			"registers are explained: which events they are made of, and whether the log leads to them.",
		Example: "  cocoon attest inspect quote.dat\n  cocoon attest inspect peer.pem --json\n" +
			"  cocoon attest inspect 192.0.2.1:11002\n  cocoon attest inspect quote.dat --event-log " + tdx.CCELPath,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	log := cmd.Flags().String("event-log", "", "`file` with the guest's event log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := readEvidence(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		s, err := e.statement(cmd.Context(), time.Now())
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		if *log != "" {
			if err := s.explain(*log); err != nil {
				return fmt.Errorf("%s: %w", *log, err)
			}
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
	Kind        attest.Kind           `json:"kind"`
	Certificate *certificateStatement `json:"certificate,omitempty"`
	*measurement
	// Registers are everything that the evidence states, by the vendor's names,
	// and Platform which machine it says it is.
	Registers map[string]string `json:"registers,omitempty"`
	Platform  string            `json:"platform,omitempty"`
	EventLog  *eventLog         `json:"event_log,omitempty"`

	names []string // of registers, in the vendor's order
	rtmr  [4][48]byte
}

// certificateStatement is about the certificate that carried the evidence.
type certificateStatement struct {
	Key       string    `json:"key"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Bound is whether the evidence names the certificate's key.
	Bound bool `json:"bound_to_key"`
}

// measurement is what TDX evidence states about a machine; it is nil for
// others.
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
	Attributes   []string    `json:"td_attribute_names,omitempty"`
	XFAM         string      `json:"xfam"`
	Features     []string    `json:"xfam_names,omitempty"`
	MRSeam       string      `json:"mrseam"`
	TCBSVN       string      `json:"tcb_svn"`
}

// statement reads evidence. Judging with a policy that wants nothing else
// reads all there is; the outcome would mean nothing and is not shown.
func (e *evidence) statement(ctx context.Context, now time.Time) (*statement, error) {
	reader := attest.Policy{Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{}, attest.KindSEVSNP: &snp.Verifier{}, attest.KindNVIDIA: &nvidia.Verifier{}}}
	v, _ := reader.Judge(ctx, e.Evidence, nil, now)
	s := &statement{Kind: v.Kind, Platform: v.Platform}
	if v.Registers == nil && v.GPU == nil && v.Kind != attest.KindNone {
		failed, _ := v.Failed()
		return nil, fmt.Errorf("no evidence that can be read: as %s, its %s is %s, want %s", v.Kind, failed.Name, failed.Got, failed.Want)
	}
	switch v.Kind {
	case attest.KindTDX, attest.KindFakeTDX:
		s.measurement, s.rtmr = newMeasurement(v), v.Measurements().RTMR
	case attest.KindSEVSNP, attest.KindFakeSNP:
		s.list(v)
	case attest.KindNVIDIA:
		s.listGPUs(v)
	}
	if c := e.certificate; c != nil {
		s.Certificate = &certificateStatement{
			Key: hex.EncodeToString(c.Key), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
			Bound: v.Registers != nil && v.ReportData == attest.ReportData(c.Key),
		}
	}
	return s, nil
}

// list takes over what evidence states, by name.
func (s *statement) list(v *attest.Verdict) {
	s.Registers = map[string]string{}
	add := func(name, value string) {
		s.names = append(s.names, name)
		s.Registers[name] = value
	}
	add("image_hash", v.ImageHash.String())
	for _, r := range v.Registers {
		add(r.Name, hex.EncodeToString(r.Value))
	}
	add("report_data", hex.EncodeToString(v.ReportData[:]))
}

// listGPUs takes over what each GPU states. Most of it is text.
func (s *statement) listGPUs(v *attest.Verdict) {
	s.Registers = map[string]string{}
	for i, board := range v.GPU.Parts {
		add := func(name, value string) {
			name = fmt.Sprintf("gpu%d_%s", i, name)
			s.names = append(s.names, name)
			s.Registers[name] = value
		}
		add("platform", board.Platform)
		for _, r := range board.Registers {
			value := hex.EncodeToString(r.Value)
			if text := string(r.Value); text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
				value = text
			}
			add(r.Name, value)
		}
	}
}

func newMeasurement(v *attest.Verdict) *measurement {
	text := func(name string) string { return hex.EncodeToString(v.Register(name)) }
	out := &measurement{
		ImageHash: v.ImageHash, MRTD: text(tdx.RegisterMRTD),
		MRConfigID: text(tdx.RegisterMRConfigID), MROwner: text(tdx.RegisterMROwner), MROwnerConf: text(tdx.RegisterMROwnerConfig),
		ReportData: hex.EncodeToString(v.ReportData[:]), TDAttributes: "0x" + text(tdx.RegisterTDAttributes), XFAM: "0x" + text(tdx.RegisterXFAM),
		MRSeam: text(tdx.RegisterMRSeam), TCBSVN: text(tdx.RegisterTCBSVN),
	}
	if a := v.Register(tdx.RegisterTDAttributes); len(a) == 8 {
		bits := binary.BigEndian.Uint64(a)
		out.Debug, out.Attributes = (&tdx.Body{TDAttributes: bits}).Debug(), tdx.AttributeNames(bits)
		out.Features = tdx.XFAMNames(binary.BigEndian.Uint64(v.Register(tdx.RegisterXFAM)))
	}
	for i, name := range []string{tdx.RegisterRTMR0, tdx.RegisterRTMR1, tdx.RegisterRTMR2, tdx.RegisterRTMR3} {
		out.RTMR[i] = text(name)
	}
	return out
}
