package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
)

func collateralVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "collateral FILE|HOST:PORT", Short: "fetch what the vendor publishes about a machine, to judge it offline", Args: cobra.ExactArgs(1),
		Long: evidenceHelp + "\n\nThe files are for `cocoon attest verify --collateral` and for the collateral setting of nodes. They\n" +
			"are signed and say when they expire; nothing is trusted because of where it came from.",
		Example: "  cocoon attest collateral quote.dat --to collateral\n  cocoon attest collateral peer.pem --to collateral --from https://pccs.example.org:8081",
	}
	to := cmd.Flags().String("to", "", "`directory` for the files; made if missing (required)")
	from := cmd.Flags().String("from", "", "`address` of a service with the vendor's paths (default the vendor's own)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *to == "" {
			return usageError{fmt.Errorf("--to is missing: name a directory")}
		}
		e, err := readEvidence(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := os.MkdirAll(*to, 0o755); err != nil {
			return err
		}
		if err := e.collateral(cmd.Context(), *from, *to); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return nil
	}
	return cmd
}

// collateral fetches the parts that are about this evidence.
func (e *evidence) collateral(ctx context.Context, from, to string) error {
	switch e.Kind {
	case attest.KindTDX:
		q, err := tdx.Parse(e.Raw)
		if err != nil {
			return err
		}
		return tdx.Save(ctx, q, tdx.PCS(from, nil), to)
	case attest.KindSEVSNP:
		report, err := snp.Parse(e.Raw)
		if err != nil {
			return err
		}
		return report.Save(ctx, snp.KDS(from, nil), to)
	case attest.KindNVIDIA:
		return nvidia.Save(ctx, &nvidia.Service{Manifests: from, Responder: from, Tokens: from}, e.Raw, to)
	}
	return fmt.Errorf("evidence of kind %s: nobody publishes anything about it", e.Kind)
}
