package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opencocoon/cocoon/node"
)

func routerVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "router", Short: "attested TLS for any TCP service", Args: cobra.NoArgs,
		Long: "Programs on this machine speak plain TCP; between two routers it is proof of work and TLS 1.3 in which both sides prove which image they run. " +
			"It takes the flags and files of the network's deployed router, and carries traffic with it.\n\n" +
			"A policy is any, fake_tdx or tdx, or of the current release any, fake_tee or tee, or one of your own from -P or the file. tdx and tee want " +
			"hashes of images behind a colon. Unlike the deployed router's, an empty list lets nobody in; see docs/router.md for all differences.\n\n" +
			"SIGHUP or a change of the file reloads the settings: connections that are still let in go on, the others are cut.",
		Example: "  cocoon engine --bench --listen 127.0.0.1:8000 &\n" +
			"  cocoon router -R 9001:127.0.0.1:8000@fake_tdx --insecure-fake-tdx &\n" +
			"  cocoon router -S 8116@fake_tdx --insecure-fake-tdx &\n" +
			"  curl --socks5 127.0.0.1:8116 http://127.0.0.1:9001/v1/models\n\n" +
			"  cocoon router -C /etc/tdx/tdx -s -R 11001:127.0.0.1:11101@tdx:HASH -R 11002:127.0.0.1:11102@any\n" +
			"  cocoon router --generate-config > router.json",
	}
	s, c := routerSettings(cmd)
	example := cmd.Flags().BoolP("generate-config", "g", false, "print an example of a configuration file, and end")
	f := cmd.Flags()
	verbosity := f.IntP("verbosity", "v", 3, "the deployed router's `number` for --log-level")
	f.Lookup("verbosity").Hidden = true
	roleVerb(cmd, s, c)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *example {
			_, err := io.WriteString(cmd.OutOrStdout(), routerExample)
			return err
		}
		if f.Changed("verbosity") && !f.Changed("log-level") {
			if err := f.Set("log-level", levelOf(*verbosity)); err != nil {
				return err
			}
		}
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		c.Ask, c.File, c.Again = hangup, *s.config, func() (*node.Router, error) { return routerAgain(s) }
		return run(cmd, args)
	}
	return cmd
}

// routerAgain reads the settings anew: the same command line, the file as it
// is now.
func routerAgain(s *settings) (*node.Router, error) {
	fresh, c := routerSettings(&cobra.Command{})
	fresh.cmd = s.cmd                              // it knows the names of all verbs' settings
	fresh.flags.String("log-level", "", "")        // which the file may name,
	fresh.flags.Bool("generate-config", false, "") // and these do nothing by now
	fresh.flags.Int("verbosity", 0, "")
	var err error
	s.flags.Visit(func(f *pflag.Flag) {
		to := fresh.flags.Lookup(f.Name)
		list, many := f.Value.(pflag.SliceValue)
		switch {
		case to == nil: // has no part in what is reloaded
		case many:
			to.Changed = true
			err = to.Value.(pflag.SliceValue).Replace(list.GetSlice())
		default:
			err = fresh.flags.Set(f.Name, f.Value.String())
		}
	})
	if err != nil {
		return nil, err
	}
	return c, fresh.load(os.Environ()).err()
}

// routerSettings binds a router's settings to cmd's flags, files and
// variables. Names of flags and keys are the deployed router's where it has them.
func routerSettings(cmd *cobra.Command) (*settings, *node.Router) {
	c := &node.Router{}
	s := newSettings(cmd)
	s.renamed["cert_base_name"] = rename{"cert", nil}
	s.structured = map[string]func(json.RawMessage) error{"policies": c.ReadPolicies, "ports": c.ReadPorts}
	s.unused = []string{"threads"} // there are as many as the machine can use
	f := cmd.Flags()
	f.StringArrayVarP(&c.SOCKS5, "socks5", "S", nil, "`spec` port@policy[:hash,…] on loopback where programs ask for destinations")
	f.StringArrayVarP(&c.Forward, "fwd", "F", nil, "`spec` port:host:port@policy[:hash,…] on loopback that leads to one destination")
	f.StringArrayVarP(&c.Reverse, "rev", "R", nil, "`spec` port:host:port@policy[:hash,…] where peers come in to a plain service")
	f.StringArrayVarP(&c.Policies, "policy", "P", nil, "`spec` name:type[:hash,…] of a policy; of type tee hashes may begin with tdx@ or sev@")
	f.StringArrayVarP(&c.Legacy, "port", "p", nil, "`spec` port:type:policy[:host:port], the old form of the three")
	f.BoolVarP(&c.SerializeInfo, "serialize-info", "s", false, "tell programs who their peer is: a record before the first byte; for ports from flags")
	f.StringVar(&c.Record, "record", "", "`form` of the record, base or current (default that of the policies' names)")
	f.StringVarP(&c.Cert, "cert", "C", "", "base `name` of certificate and key: name_cert.pem and name_key.pem; read anew when they change")
	f.StringVar(&c.CollateralHash, "collateral-hash", "", "key `ids` of roots to believe, with commas between (default Intel's)")
	bitsFlag(f, &c.Difficulty, "pow-difficulty", "d", "proof of work that peers do, in `bits` (default 20, or the file's)")
	bitsFlag(f, &c.MaxDifficulty, "max-pow-difficulty", "m", "most that is done for a peer, in `bits` (default 28, or the file's)")
	f.BoolVar(&c.EmptyList, "insecure-empty-list", false, "let an empty list mean anything of its family, as the deployed router does")
	f.StringVar(&c.BindAddress, "bind-address", "", "IP `address` of -R (default all)")
	f.StringVar(&c.Metrics, "metrics", "", "loopback `address` of /metrics (default none)")
	f.IntVar(&c.MaxConnections, "max-connections", 0, "connections at a time (default 4096)")
	f.IntVar(&c.MaxPerSource, "max-per-source", 0, "connections at a time from one address at -R (default 256)")
	f.IntVar(&c.MaxHandshakes, "max-handshakes", 0, "peers to negotiate with at a time (default 256)")
	durationFlag(f, &c.HandshakeTimeout, "handshake-timeout", "time for proof of work, TLS and judgement (default 20s)")
	durationFlag(f, &c.DialTimeout, "dial-timeout", "time to reach a destination (default 10s)")
	durationFlag(f, &c.IdleTimeout, "idle-timeout", "end connections on which nothing moves for so long (default 15m)")
	durationFlag(f, &c.Drain, "drain", "time for connections to end by themselves when this stops (default 10s)")
	f.StringVar(&c.Collateral, "collateral", "", "`directory` with vendors' statements about platforms, or https address of a service for Intel's (default the vendors' services)")
	rulesFlags(f, &c.Rules, &c.SNP)
	f.StringVar(&c.SimulatedTDX, "insecure-simulated-tdx", "", "believe machines simulated by the vendor in this `directory`")
	f.StringVar(&c.SimulatedImage, "insecure-simulated-image", "", "be such a machine, running the image of this `name`")
	f.BoolVar(&c.Fake, "insecure-fake-tdx", false, "show evidence that is a mere hash of the key")
	f.IntP("threads", "t", 0, "without effect")
	f.Lookup("threads").Hidden = true
	return s, c
}

// bitsFlag is a number that may be left open.
func bitsFlag(f *pflag.FlagSet, to **int, name, short, usage string) {
	f.VarP(&bits{to}, name, short, usage)
}

type bits struct{ to **int }

func (b *bits) Type() string { return "number" }
func (b *bits) String() string {
	if b.to == nil || *b.to == nil {
		return ""
	}
	return strconv.Itoa(**b.to)
}

func (b *bits) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 64 {
		return fmt.Errorf("want 0 to 64")
	}
	*b.to = &n
	return nil
}

// levelOf is a level of the log for the deployed router's numbers.
func levelOf(verbosity int) string {
	switch {
	case verbosity <= 1:
		return "error"
	case verbosity == 2:
		return "warn"
	case verbosity == 3:
		return "info"
	}
	return "debug"
}

// routerExample is loaded by a test.
const routerExample = `{
  "cert_base_name": "/etc/tdx/tdx",
  "policies": [
    {
      "name": "workers",
      "type": "tdx",
      "description": "the images that the registry lists for workers",
      "tdx_config": {
        "allowed_image_hashes": ["0000000000000000000000000000000000000000000000000000000000000000"]
      }
    }
  ],
  "ports": [
    {
      "port": 11001,
      "type": "reverse",
      "policy_name": "workers",
      "destination_host": "127.0.0.1",
      "destination_port": 11101,
      "serialize_info": true,
      "pow_difficulty": 20
    },
    {
      "port": 11002,
      "type": "reverse",
      "policy_name": "any",
      "destination_host": "127.0.0.1",
      "destination_port": 11102,
      "serialize_info": true
    },
    {
      "port": 8116,
      "type": "socks5",
      "policy_name": "workers",
      "serialize_info": true
    }
  ],
  "metrics": "127.0.0.1:9116",
  "idle_timeout": "15m"
}
`
