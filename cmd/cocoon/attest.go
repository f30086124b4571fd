package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/node"
)

func attestVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "attest", Short: "look into the evidence of a machine and judge it", Args: cobra.NoArgs,
		Example: "  cocoon attest inspect quote.dat",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(quoteVerb(), inspectVerb(), verifyVerb(), measureVerb(), collateralVerb())
	return cmd
}

// verifyOptions are what a policy file or the flags of verify say.
type verifyOptions struct {
	attest.Rules
	node.SNP
	images                    []string
	anyImage, allowFake       bool
	collateral, testRoot, key string
	at                        string
	minEvaluation             int
	gpuLinked                 bool
	json                      bool
}

func verifyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify FILE|HOST:PORT", Short: "judge evidence: is it authentic, is it what you want", Args: cobra.ExactArgs(1),
		Long: evidenceHelp + " Of a certificate, the quote\nmust be bound to its key.\n\n" +
			"Exit code 0 means trusted, 3 refused, 1 that there is nothing to judge. Without a policy nothing is wanted, so\n" +
			"everything is refused: name the images you want. A policy file is JSON; its keys are the flags below, with _ for -.",
		Example: "  cocoon attest verify quote.dat --any-image --allow-unknown-tcb\n" +
			"  cocoon attest verify 192.0.2.1:11002 --policy policy.json\n" +
			"  cocoon attest verify peer.pem --policy policy.json --collateral collateral --at 2026-01-01T00:00:00Z --json",
	}
	var o verifyOptions
	f := cmd.Flags()
	f.StringSliceVar(&o.images, "image", nil, "image `hash` that is wanted; may be repeated")
	f.BoolVar(&o.anyImage, "any-image", false, "do not ask which image runs")
	rulesFlags(f, &o.Rules, &o.SNP)
	f.StringVar(&o.collateral, "collateral", "", "`directory` with the vendor's collateral for this platform, or an https address to ask, or \"vendor\" for the vendor's own service")
	f.IntVar(&o.minEvaluation, "min-evaluation", 0, "oldest TCB evaluation data `number` that Intel's collateral may have")
	f.BoolVar(&o.gpuLinked, "gpu-linked", false, "accept GPUs that share memory over encrypted links")
	f.StringVar(&o.testRoot, "insecure-test-root", "", "also believe machines simulated under the root in this PEM `file`")
	f.BoolVar(&o.allowFake, "insecure-fake", false, "also believe evidence that is a mere hash of the key")
	f.StringVar(&o.key, "key", "", "Ed25519 public `key` in hexadecimal that the quote must be bound to (default the certificate's; of a quote alone, any)")
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
		e, err := readEvidence(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		v, err := e.judge(cmd.Context(), judge, key, at)
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
	word := v.Level.String()
	if v.Trusted {
		word = "trusted: " + word
	}
	fmt.Fprintf(w, "%s\n\n", word)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range v.Checks {
		if c.OK {
			fmt.Fprintf(tw, "  ok\t%s\t%s\n", c.Name, c.Got)
		} else {
			fmt.Fprintf(tw, "  NO\t%s\t%s; want %s\n", c.Name, c.Got, c.Want)
		}
	}
	return tw.Flush()
}
