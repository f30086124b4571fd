package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

func attestVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "attest", Short: "look into the evidence of a machine and judge it", Args: cobra.NoArgs,
		Example: "  cocoon attest inspect quote.dat",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(inspectVerb(), verifyVerb())
	return cmd
}

func inspectVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect FILE", Short: "show what a quote states, without believing it", Args: cobra.ExactArgs(1),
		Long:    "FILE is a quote as the machine made it, in hexadecimal or in base64. Nothing is checked: see `cocoon attest verify`.",
		Example: "  cocoon attest inspect quote.dat\n  cocoon attest inspect quote.dat --json",
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		quote, err := readEvidence(args[0])
		if err != nil {
			return err
		}
		// Judging with a policy that wants nothing else reads all there is;
		// the outcome is not shown, because it would not mean anything.
		v, _ := (&attest.Policy{}).Judge(cmd.Context(), quote, nil, time.Now())
		if v.Measurements == nil {
			failed, _ := v.Failed()
			return fmt.Errorf("%s: no TDX quote: %s is %s, want %s", args[0], failed.Name, failed.Got, failed.Want)
		}
		return writeMeasurements(cmd.OutOrStdout(), v, *asJSON)
	}
	return cmd
}

// measurements are what inspect prints, in this order.
type measurements struct {
	Kind         attest.Kind `json:"kind"`
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

func writeMeasurements(w io.Writer, v *attest.Verdict, asJSON bool) error {
	m := v.Measurements
	out := measurements{
		Kind: v.Kind, ImageHash: m.ImageHash(), Debug: m.Debug(), MRTD: hex.EncodeToString(m.MRTD[:]),
		MRConfigID: hex.EncodeToString(m.MRConfigID[:]), MROwner: hex.EncodeToString(m.MROwner[:]), MROwnerConf: hex.EncodeToString(m.MROwnerConfig[:]),
		ReportData: hex.EncodeToString(m.ReportData[:]), TDAttributes: fmt.Sprintf("%#016x", m.TDAttributes), XFAM: fmt.Sprintf("%#016x", m.XFAM),
		MRSeam: hex.EncodeToString(m.MRSeam[:]), TCBSVN: hex.EncodeToString(m.TCBSVN[:]),
	}
	for i, r := range m.RTMR {
		out.RTMR[i] = hex.EncodeToString(r[:])
	}
	if asJSON {
		return writeJSON(w, out)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range [][2]any{
		{"kind", out.Kind}, {"image hash", out.ImageHash}, {"debug", out.Debug}, {"MRTD", out.MRTD},
		{"RTMR0", out.RTMR[0]}, {"RTMR1", out.RTMR[1]}, {"RTMR2", out.RTMR[2]}, {"RTMR3", out.RTMR[3]},
		{"MRCONFIGID", out.MRConfigID}, {"MROWNER", out.MROwner}, {"MROWNERCONFIG", out.MROwnerConf},
		{"report data", out.ReportData}, {"TD attributes", out.TDAttributes}, {"XFAM", out.XFAM}, {"MRSEAM", out.MRSeam}, {"TCB SVN", out.TCBSVN},
	} {
		fmt.Fprintf(tw, "%v\t%v\n", line[0], line[1])
	}
	return tw.Flush()
}

// verifyOptions are what a policy file or the flags of verify say.
type verifyOptions struct {
	images                    []string
	anyImage, unknownTCB      bool
	allowFake                 bool
	collateral, testRoot, key string
	at                        string
	json                      bool
}

func verifyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "judge a quote: is it authentic, is it what you want", Args: cobra.ExactArgs(1),
		Long: "Exit code 0 means trusted, 3 refused. Without a policy nothing is wanted, so everything is refused: name the images\n" +
			"you want. A policy file is JSON; its keys are the flags below, with _ for -.",
		Example: "  cocoon attest verify quote.dat --any-image --allow-unknown-tcb\n" +
			"  cocoon attest verify quote.dat --policy policy.json --collateral collateral --at 2026-01-01T00:00:00Z --json",
	}
	var o verifyOptions
	f := cmd.Flags()
	f.StringSliceVar(&o.images, "image", nil, "image `hash` that is wanted; may be repeated")
	f.BoolVar(&o.anyImage, "any-image", false, "do not ask which image runs")
	f.BoolVar(&o.unknownTCB, "allow-unknown-tcb", false, "accept a platform whose state is unknown for want of collateral")
	f.StringVar(&o.collateral, "collateral", "", "`directory` with Intel's collateral for this platform")
	f.StringVar(&o.testRoot, "insecure-test-root", "", "also believe machines simulated under the root in this PEM `file`")
	f.BoolVar(&o.allowFake, "insecure-fake", false, "also believe evidence that is a mere hash of the key")
	f.StringVar(&o.key, "key", "", "Ed25519 public `key` in hexadecimal that the quote must be bound to (default any)")
	f.StringVar(&o.at, "at", "", "judge as of this `time` in RFC 3339 (default now)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	s := newSettings(cmd)
	f.Lookup("config").Hidden = true
	policy := f.String("policy", "", "read the policy from this JSON `file`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		*s.config = *policy
		p := s.load(os.Environ())
		judge, at := o.policy(&p), o.time(&p)
		key := o.publicKey(&p)
		if err := p.err(); err != nil {
			return err
		}
		quote, err := readEvidence(args[0])
		if err != nil {
			return err
		}
		v, err := judge.Judge(cmd.Context(), quote, key, at)
		if werr := writeVerdict(cmd.OutOrStdout(), v, o.json); werr != nil {
			return werr
		}
		if errors.Is(err, attest.ErrUntrusted) {
			return refusedError{fmt.Errorf("%s: %w", args[0], err)}
		}
		return err
	}
	return cmd
}

func (o *verifyOptions) policy(p *problems) *attest.Policy {
	wanted := map[attest.Hash]bool{}
	for _, text := range o.images {
		h, err := attest.ParseHash(text)
		if err != nil {
			p.add("image: %v", err)
		}
		wanted[h] = true
	}
	policy := &attest.Policy{AnyImage: o.anyImage, AllowUnknownTCB: o.unknownTCB, AllowFake: o.allowFake, AnyKey: o.key == ""}
	if len(wanted) > 0 {
		policy.Images = func(h attest.Hash) bool { return wanted[h] }
	}
	if o.collateral != "" {
		policy.Collateral = tdx.Dir(o.collateral)
		policy.TestCollateral = policy.Collateral
	}
	if o.testRoot != "" {
		roots, err := insecure.LoadRoots(o.testRoot)
		if err != nil {
			p.add("insecure_test_root: %v", err)
		}
		policy.TestRoots = roots
	}
	return policy
}

func (o *verifyOptions) time(p *problems) time.Time {
	if o.at == "" {
		return time.Now()
	}
	at, err := time.Parse(time.RFC3339, o.at)
	if err != nil {
		p.add("at %q: want a time like 2026-01-31T12:00:00Z", o.at)
	}
	return at
}

func (o *verifyOptions) publicKey(p *problems) []byte {
	key, err := hex.DecodeString(o.key)
	if err != nil || len(key) != 0 && len(key) != 32 {
		p.add("key %q: want 64 hexadecimal digits", o.key)
	}
	if len(key) == 0 {
		return nil
	}
	return key
}

func writeVerdict(w io.Writer, v *attest.Verdict, asJSON bool) error {
	if asJSON {
		return writeJSON(w, v)
	}
	if v.Trusted {
		fmt.Fprint(w, "trusted: ")
	}
	fmt.Fprintln(w, v.Level)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range v.Checks {
		mark := "no "
		if c.OK {
			mark = "yes"
		}
		fmt.Fprintf(tw, "%s\t%s\tis %s\twant %s\n", mark, c.Name, c.Got, c.Want)
	}
	return tw.Flush()
}

// readEvidence reads a quote, raw or as text.
func readEvidence(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4*attest.MaxEvidence))
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty: want a quote", file)
	}
	text := strings.Join(strings.Fields(string(b)), "")
	if raw, err := hex.DecodeString(text); err == nil {
		return raw, nil
	}
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
		return raw, nil
	}
	return b, nil
}
