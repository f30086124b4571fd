package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/devnet"
)

func devnetVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "devnet", Short: "the whole network on this machine", Args: cobra.NoArgs,
		Long: "Registry, proxy, worker, client and engine, over the network's real protocol on loopback. Attestation is simulated under\n" +
			"a test root: it runs the real code and proves nothing. Ctrl-C stops everything.",
		Example: "  cocoon devnet\n" +
			"  cocoon devnet --listen 127.0.0.1:0 --data ./net --workers 3 --proxies 2 --split\n" +
			"  cocoon devnet --engine http://127.0.0.1:11434 --json",
	}
	var c devnet.Config
	s := newSettings(cmd)
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", "127.0.0.1:10000", "`address` of the OpenAI API; port 0 is any free one")
	f.StringVar(&c.Data, "data", "", "`directory` to keep everything in (default a temporary one)")
	f.StringVar(&c.Engine, "engine", "", "engine `URL`, or builtin (default an engine that runs here, else builtin)")
	f.StringVarP(&c.Model, "model", "m", "", "`model` of the engine to serve (default its first)")
	f.IntVar(&c.Workers, "workers", 1, "number of workers")
	f.IntVar(&c.Proxies, "proxies", 1, "number of proxies")
	f.BoolVar(&c.Keys, "keys", false, "run a key manager, so that requests can be encrypted field by field")
	f.BoolVar(&c.Sealed, "sealed", false, "keep the keys of proxies, workers and key manager sealed (to simulated machines, which proves nothing)")
	f.BoolVar(&c.Split, "split", false, "run each role as a process of its own")
	asJSON := f.Bool("json", false, "print one JSON object when ready")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p := s.load(os.Environ())
		if c.Workers < 1 || c.Proxies < 1 {
			p.add("workers and proxies: want at least 1 of each")
		}
		if err := p.err(); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if !*asJSON {
			c.Progress = func(text string) { fmt.Fprintln(out, text) }
		}
		defer runtime.KeepAlive(ballast())
		ctx := cmd.Context()
		network, err := devnet.Start(ctx, c)
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		if err != nil {
			return err
		}
		info := network.Info()
		if *asJSON {
			err = writeJSON(out, info)
		} else {
			_, err = fmt.Fprint(out, welcome(info))
		}
		if err == nil {
			err = network.Wait(ctx)
		}
		if stopErr := network.Stop(); err == nil {
			err = stopErr
		}
		return err
	}
	return cmd
}

// welcome is the ready line and what to try next.
func welcome(info devnet.Info) string {
	chat, status := "cocoon chat", "cocoon status --data "+info.Data
	if base := strings.TrimSuffix(info.BaseURL, "/v1"); base != "http://127.0.0.1:10000" {
		chat += " --url " + base
	}
	return fmt.Sprintf(`ready %[1]s
  try:  %[2]s "Hello! What is Cocoon?"
        curl %[1]s/chat/completions -H 'Content-Type: application/json' \
          -d '{"model":"%[3]s","messages":[{"role":"user","content":"Hello!"}],"stream":true}'
        export OPENAI_BASE_URL=%[1]s OPENAI_API_KEY=unused    # then any OpenAI SDK
        %[4]s
  Ctrl-C stops everything.
`, info.BaseURL, chat, info.Model, status)
}
