package main

import (
	"encoding/hex"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/node"
)

func quoteVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quote", Short: "make evidence of the guest that this runs in", Args: cobra.NoArgs,
		Long: "In a TDX or SEV-SNP guest, asks the kernel for a quote or a report, with the certificates that lead to\n" +
			"its vendor's root. What it is made for is in its report data: a key, or 64 bytes of yours.",
		Example: "  cocoon attest quote --out quote.dat\n  cocoon attest quote --key 9f0c2ab1… --out quote.dat",
	}
	var a node.Attestation
	f := cmd.Flags()
	out := f.String("out", "", "`file` for the evidence (default hexadecimal on standard output)")
	key := f.String("key", "", "Ed25519 public `key` in hexadecimal to make it for, as a certificate's")
	data := f.String("report-data", "", "64 `bytes` in hexadecimal to make it for instead (default zeros)")
	f.StringVar(&a.SimulatedTDX, "insecure-simulated-tdx", "", "be a machine simulated by the vendor in this `directory`")
	f.StringVar(&a.SimulatedImage, "insecure-simulated-image", "", "run the image of this `name`, simulated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		reportData, err := reportData(*key, *data)
		if err != nil {
			return usageError{err}
		}
		platform, err := a.Platform()
		if err != nil {
			return err
		}
		raw, err := platform.Quote(cmd.Context(), reportData)
		if err != nil {
			return err
		}
		if *out != "" {
			return os.WriteFile(*out, raw, 0o644)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%x\n", raw)
		return err
	}
	return cmd
}

// reportData is what a quote is made for.
func reportData(key, data string) (out [64]byte, err error) {
	switch {
	case key != "" && data != "":
		return out, fmt.Errorf("--key and --report-data exclude each other")
	case key != "":
		b, err := hex.DecodeString(key)
		if err != nil || len(b) != 32 {
			return out, fmt.Errorf("key %q: want 64 hexadecimal digits", key)
		}
		return attest.ReportData(b), nil
	case data != "":
		b, err := hex.DecodeString(data)
		if err != nil || len(b) != len(out) {
			return out, fmt.Errorf("report data %q: want 128 hexadecimal digits", data)
		}
		return [64]byte(b), nil
	}
	return out, nil
}
