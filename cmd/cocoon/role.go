package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opencocoon/cocoon/node"
)

// roleVerb makes cmd run a role: settings from flags, environment and file,
// all problems at once, then the role until a signal.
func roleVerb(cmd *cobra.Command, s *settings, role node.Role) {
	f := cmd.Flags()
	level := f.String("log-level", "info", "least `level` to log: debug, info, warn, error")
	supervised := f.Bool("supervised", false, "stop when standard input ends")
	f.Lookup("supervised").Hidden = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p := s.load(os.Environ())
		log, err := newLog(cmd.ErrOrStderr(), *level)
		if err != nil {
			p.add("log_level: %v", err)
		}
		var found node.Problems
		if errors.As(role.Check(), &found) {
			p = append(p, found...)
		}
		if err := p.err(); err != nil {
			return err
		}
		if len(s.idle) > 0 {
			log.Info("settings without effect here", "keys", strings.Join(s.idle, ", "))
		}
		defer runtime.KeepAlive(ballast())
		ctx := cmd.Context()
		if *supervised {
			ctx = untilEOF(ctx, cmd.InOrStdin())
		}
		return explainListen(role.Run(ctx, node.Env{
			Log: log, Ready: func(url string) { log.Info("listening", "url", url) },
			Guide: func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), strings.TrimRight(text, "\n")) },
		}))
	}
}

// explainListen adds what to do when an address is taken.
func explainListen(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; stop the program that has it, or choose another address with --listen", err)
	}
	return err
}

func newLog(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	err := l.UnmarshalText([]byte(level))
	if err != nil {
		err = fmt.Errorf("got %q, want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), err
}

// untilEOF ends the context when in ends: the supervisor is gone or wants
// this process to finish.
func untilEOF(ctx context.Context, in io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return ctx
}

// commonFlags are those of client, proxy and worker.
func commonFlags(f *pflag.FlagSet, c *node.Common, listen string) {
	f.StringVar(&c.Listen, "listen", listen, "HTTP `address` of this node")
	f.StringVar(&c.TONConfig, "ton-config", "", "global configuration `file` of the TON network")
	f.BoolVar(&c.InsecureUnsigned, "insecure-unsigned-chain", false, "believe liteservers without validators' signatures")
	f.StringVarP(&c.Registry, "registry", "C", "", "registry `file` instead, for networks without a chain")
	f.StringVar(&c.RootAddress, "root-contract-address", "", "`address` of the registry's contract")
	f.StringVar(&c.OwnerAddress, "owner-address", "", "`address` of the wallet that owns this node")
	f.StringVar(&c.ControlTokenFile, "control-token-file", "", "`file` with the token for control actions; made if missing (default no control)")
	f.StringVar(&c.Collateral, "collateral", "", "`directory` with the vendors' statements about platforms, or https address of a service with Intel's (default the vendors' services)")
	rulesFlags(f, &c.Rules, &c.SNP)
	f.BoolVar(&c.RequireFresh, "require-fresh", false, "refuse peers that show only a certificate and no evidence made for the connection, as those of the reference")
	f.IntVar(&c.MinEvaluation, "min-evaluation", 0, "oldest TCB evaluation data `number` that Intel's statements may have")
	f.StringVar(&c.GPUCollateral, "gpu-collateral", "", "`directory` with NVIDIA's statements about GPUs, or none to leave GPUs unjudged (default NVIDIA's services)")
	f.BoolVar(&c.GPULinked, "gpu-linked", false, "accept GPUs that share memory over encrypted links")
	f.StringVar(&c.DenyPlatformsFile, "deny-platforms-file", "", "`file` of machines that are struck off, an id a line; read again when it changes")
	f.StringVar(&c.ProvenMachinesFile, "proven-machines-file", "", "`file` that remembers machines which proved themselves for a connection and must from then on (default proven-machines in the role's data)")
	f.StringVar(&c.SimulatedTDX, "insecure-simulated-tdx", "", "believe machines simulated by the vendor in this `directory`")
	f.StringVar(&c.SimulatedImage, "insecure-simulated-image", "", "be such a machine, running the image of this `name`")
	f.BoolVar(&c.Fake, "insecure-fake-tdx", false, "show and believe evidence that is a mere hash of the key")
	f.BoolVar(&c.NoAttestation, "insecure-no-attestation", false, "show no evidence and believe peers without")
	sealingFlags(f, &c.Sealing)
}

// referenceNames accepts what the reference network's configuration files
// say, where it means something here.
func referenceNames(s *settings) {
	s.renamed["http_port"] = rename{"listen", loopbackPort}
	s.renamed["ton_config_filename"] = rename{"ton-config", nil}
	s.unused = []string{
		// Keys and ledger are in our data directory, in files of another kind.
		"is_test", "is_testnet", "node_wallet_key", "machine_specific_private_key", "db_path",
		// Control actions need a token in place of a word in the address.
		"http_access_hash",
		// What a node says about its own image proves nothing.
		"image_hash",
		// Not read by the reference either.
		"rpc_port", "check_hashes",
	}
}

func loopbackPort(port string) (string, error) {
	if port == "0" {
		return "", errors.New("0 turns HTTP off, which is not possible here; leave it out")
	}
	return "127.0.0.1:" + port, nil
}

// inverted translates the reference's check_… flags, which ask for a check,
// to ours, which leave one out.
func inverted(value string) (string, error) {
	switch value {
	case "true", "1":
		return "false", nil
	case "false", "0":
		return "true", nil
	}
	return "", fmt.Errorf("want true or false")
}

// durationFlag is a flag for a node.Duration.
func durationFlag(f *pflag.FlagSet, d *node.Duration, name, usage string) {
	f.Var((*durationValue)(d), name, usage)
}

type durationValue node.Duration

// String is empty for zero, which every usage text explains in its own words.
func (d *durationValue) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}
func (d *durationValue) Type() string { return "duration" }
func (d *durationValue) Set(text string) error {
	v, err := node.ParseDuration(text)
	*d = durationValue(v)
	return err
}
