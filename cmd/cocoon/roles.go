package main

import (
	"github.com/spf13/cobra"
	"slices"

	"github.com/opencocoon/cocoon/node"
)

func clientVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "client", Short: "OpenAI-compatible gateway to the network, for programs on this machine", Args: cobra.NoArgs,
		Long: "It verifies every proxy before the first byte of a prompt leaves this machine.\n" +
			"Secrets are read from the file or the environment only: secret_string.",
		Example: "  cocoon client --registry registry.json --owner-address UQ… --root-contract-address EQ…\n" +
			"  cocoon client --config client.json",
	}
	var c node.Client
	roleVerb(cmd, clientSettings(cmd, &c), &c)
	cmd.AddCommand(statementVerb())
	cmd.AddCommand(clientSteps()...)
	return cmd
}

// clientSettings binds a client's settings to cmd's flags, files and variables.
func clientSettings(cmd *cobra.Command, c *node.Client) *settings {
	s := newSettings(cmd)
	referenceNames(s)
	s.renamed["check_proxy_hashes"] = rename{"insecure-any-proxy-image", inverted}
	f := cmd.Flags()
	commonFlags(f, &c.Common, "127.0.0.1:10000")
	f.IntVar(&c.ProxyConnections, "proxy-connections", 0, "proxies to stay connected to (default 2)")
	f.StringVar(&c.Via, "connect-to-proxy-via", "", "SOCKS5 `address` of a router on this machine (default connect directly)")
	f.BoolVar(&c.AnyProxyImage, "insecure-any-proxy-image", false, "believe proxies whatever image they run")
	f.StringVar(&c.WalletAddress, "node-wallet-address", "", "`address` of this client's wallet (default the owner's)")
	f.StringVar(&c.APIKeysFile, "api-keys-file", "", "`file` with one API key a line (default the API is open to this machine)")
	f.StringSliceVar(&c.AllowOrigins, "allow-origins", nil, "web `origins` whose pages may use the API (default pages of this machine)")
	f.StringSliceVar(&c.ForwardHeaders, "forward-headers", nil, "request `headers` that travel to the engine (default none that tell who asks)")
	f.StringVar(&c.Encryption, "encryption", "", "encrypt requests field by field on top of TLS: off, auto or v1 (default off; see docs/keys.md)")
	f.BoolVar(&c.NoAffinity, "no-affinity", false, "do not tell proxies, by a keyed digest, which requests begin alike")
	f.BoolVar(&c.Resume, "resume", false, "let another worker go on with a stream that breaks, paid anew (default only where a request allows it)")
	f.StringVar(&c.Region, "region", "", "where callers are who do not say it, such as eu-west; proxies are told (default tell nobody)")
	f.Int64Var(&c.MaxBody, "max-body", 0, "largest request in `bytes` (default 15 MiB)")
	f.Int32Var(&c.MaxTokens, "max-tokens", 0, "tokens to reserve for requests that name no limit (default 10000)")
	f.Int32Var(&c.MaxCoefficient, "max-coefficient", 0, "highest price, in thousandths, of requests that name none (default 4000)")
	durationFlag(f, &c.Timeout, "timeout", "time for requests that name none (default 2m)")
	s.secrets.StringVar(&c.Secret, "secret-string", "", "")
	f.StringVar(&c.Data, "data", "", "`directory` of keys, accounts and statement; with it the client pays on the chain")
	f.StringVar(&c.MaxRequest, "max-request-cost", "", "most that one request may cost, an `amount` of TON (default no limit)")
	f.StringVar(&c.MaxHour, "max-hour-cost", "", "most that all requests of an hour may cost, an `amount` of TON (default no limit)")
	f.StringVar(&c.MaxKeyHour, "max-key-hour-cost", "", "most that an API key's requests of an hour may cost, an `amount` of TON (default no limit)")
	f.StringVar(&c.MaxTopUpHour, "max-topup-hour", "", "most to pay in by itself in an hour, an `amount` of TON (default five stakes)")
	f.StringVar(&c.MaxTopUpDay, "max-topup-day", "", "most to pay in by itself in a day, an `amount` of TON (default twenty stakes)")
	durationFlag(f, &c.CloseAfter, "close-after", "leave a proxy that stays away so long, and take the money home (default a week)")
	return s
}

func proxyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "proxy", Short: "the matchmaker between clients and workers", Args: cobra.NoArgs,
		Long: "It runs in a TDX guest, or with an --insecure flag that says in which way it does not.\n" +
			"Secrets are read from the file or the environment only: ledger_url.",
		Example: "  cocoon proxy --config proxy.json",
	}
	var c node.Proxy
	roleVerb(cmd, proxySettings(cmd, &c), &c)
	cmd.AddCommand(ledgerVerb())
	return cmd
}

// proxySettings binds a proxy's settings to cmd's flags, files and variables.
func proxySettings(cmd *cobra.Command, c *node.Proxy) *settings {
	s := newSettings(cmd)
	referenceNames(s)
	s.renamed["check_worker_hashes"] = rename{"insecure-any-worker-image", inverted}
	s.renamed["db_path"] = rename{"data", nil} // ours has files of other names in it
	s.unused = slices.DeleteFunc(s.unused, func(name string) bool { return name == "db_path" })
	f := cmd.Flags()
	commonFlags(f, &c.Common, "127.0.0.1:11000")
	f.StringVar(&c.WorkersListen, "workers-listen", "", "`address` for workers, such as :11001")
	f.StringVar(&c.ClientsListen, "clients-listen", "", "`address` for clients, such as :11002")
	f.IntVar(&c.WorkersRPCPort, "workers-rpc-port", 0, "loopback `port` for workers behind a router")
	f.IntVar(&c.ClientRPCPort, "client-rpc-port", 0, "loopback `port` for clients behind a router")
	f.StringVar(&c.Via, "connect-to-proxy-via", "", "SOCKS5 `address` of a router on this machine, for the key manager (default connect directly)")
	f.BoolVar(&c.AnyWorkerImage, "insecure-any-worker-image", false, "believe workers whatever image and model they run")
	f.IntVar(&c.Difficulty, "pow-difficulty", 0, "proof of work that callers do, in `bits` (default 20)")
	f.IntVar(&c.QueueLimit, "queue-limit", 0, "requests that may wait per model (default 256)")
	durationFlag(f, &c.QueueWait, "queue-wait", "how long they may wait for a worker (default 10s)")
	f.Float64Var(&c.HedgeShare, "hedge-share", 0, "second workers to ask per request, on average, as soon as the first answer is late (default none; what is overdue is given on anyway)")
	f.Float64Var(&c.ClientRequests, "client-requests-per-minute", 0, "requests that a client may send in a minute (default no limit)")
	f.Float64Var(&c.ClientTokens, "client-tokens-per-minute", 0, "adjusted tokens that a client may use in a minute (default no limit)")
	f.IntVar(&c.ClientConcurrent, "client-concurrent", 0, "requests that a client may have at a time (default no limit)")
	f.StringVar(&c.Data, "data", "", "`directory` of keys, ledger and wallet queue; with it the proxy settles on the chain")
	f.StringVar(&c.ChargeFrom, "charge-from", "", "charge a client from this `amount` of TON on (default 1)")
	f.StringVar(&c.PayoutFrom, "payout-from", "", "pay a worker from this `amount` of TON on (default 10)")
	f.StringVar(&c.WithdrawFrom, "withdraw-from", "", "send the owner the proxy's income from this `amount` of TON on (default 10)")
	f.StringVar(&c.LastPayoutFrom, "last-payout-from", "", "pay a worker that was never paid from this `amount` of TON on when parameters change (default 0.05)")
	durationFlag(f, &c.NoteEvery, "note-every", "least time between notes that commit the ledger to the chain (default 45s)")
	f.StringVar(&c.Store, "ledger", "", "keep the ledger in this `store`: disk, which is the data directory, or postgres (default disk)")
	f.StringVar(&c.URLFile, "ledger-url-file", "", "`file` with the connection string of the ledger's database")
	s.secrets.StringVar(&c.URL, "ledger-url", "", "")
	return s
}

func workerVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "worker", Short: "serve a model of a local engine to the network", Args: cobra.NoArgs,
		Long: "It runs in a TDX guest, or with an --insecure flag that says in which way it does not.\n" +
			"Secrets are read from the file or the environment only: engine_key.",
		Example: "  cocoon worker --config worker.json\n" +
			"  cocoon worker --config worker.json --engine http://127.0.0.1:8000 --coefficient 900",
	}
	var c node.Worker
	roleVerb(cmd, workerSettings(cmd, &c), &c)
	cmd.AddCommand(earningsVerb(), workerWhyVerb(), stepVerb("worker", "http://127.0.0.1:12000", "payout", "cash the newest promise of a proxy"))
	return cmd
}

// workerSettings binds a worker's settings to cmd's flags, files and variables.
func workerSettings(cmd *cobra.Command, c *node.Worker) *settings {
	s := newSettings(cmd)
	referenceNames(s)
	s.renamed["check_proxy_hashes"] = rename{"insecure-any-proxy-image", inverted}
	s.renamed["forward_requests_to"] = rename{"engine", nil}
	s.renamed["model_name"] = rename{"model", nil}
	f := cmd.Flags()
	commonFlags(f, &c.Common, "127.0.0.1:12000")
	f.StringVar(&c.Engine, "engine", "", "base `URL` of the engine")
	f.StringVarP(&c.Model, "model", "m", "", "`model` to serve: name@commit:hash")
	f.StringVar(&c.ModelFile, "model-file", "", "archive `file` or device whose hash must be that in the model's name (default none is checked)")
	f.StringVar(&c.ModelDir, "model-dir", "", "`folder` of the model's files, checked the same way")
	f.Int32Var(&c.Coefficient, "coefficient", 1000, "price in thousandths of the network's")
	f.IntVar(&c.ContextLength, "context-length", 0, "`tokens` that a question and its answer may have together (default what the engine says)")
	f.StringSliceVar(&c.Capabilities, "capabilities", nil, "what the model can do: text, or some of tools, vision, structured, audio, reasoning (default what the engine says)")
	f.StringVar(&c.Region, "region", "", "where the machine is, such as eu-west (default tell nobody)")
	f.StringVar(&c.Price.Price, "price", "", "auto makes the price follow demand, beginning at the coefficient (default it stays)")
	f.Int32Var(&c.Floor, "price-floor", 0, "lowest price of auto, in thousandths (default what the work costs)")
	f.Int32Var(&c.Ceiling, "price-ceiling", 0, "highest price of auto, in thousandths (default 4000)")
	f.Float64Var(&c.TargetUse, "price-target-use", 0, "share of places that auto tries to keep taken (default 0.7)")
	f.Float64Var(&c.Watts, "cost-watts", 0, "`watts` that the machine draws at work")
	f.Float64Var(&c.PerKWh, "cost-per-kwh", 0, "price of a kilowatt-hour, in `TON`")
	f.Float64Var(&c.HardwareHour, "cost-hardware-hour", 0, "price of an hour of the machine itself, in `TON`")
	f.Float64Var(&c.TokensHour, "tokens-per-hour", 0, "tokens that the machine can write in an hour")
	f.IntVar(&c.MaxActiveRequests, "max-active-requests", 0, "requests to run at a time (default 60)")
	f.IntVar(&c.ProxyConnections, "proxy-connections", 0, "proxies to work for (default 1)")
	f.StringVar(&c.Via, "connect-to-proxy-via", "", "SOCKS5 `address` of a router on this machine (default connect directly)")
	f.BoolVar(&c.AnyProxyImage, "insecure-any-proxy-image", false, "believe proxies whatever image they run")
	s.secrets.StringVar(&c.EngineKey, "engine-key", "", "")
	f.StringVar(&c.Data, "data", "", "`directory` of earnings, price, keys and wallet queue; with it the worker cashes what it earns")
	f.StringVar(&c.MaxUnpaid, "max-unpaid", "", "`amount` of TON that a proxy may leave unsigned before it gets no more work (default 20)")
	f.StringVar(&c.PayoutFrom, "payout-from", "", "cash promises from this `amount` of TON on (default 10)")
	f.StringVar(&c.PayoutIdle, "payout-idle", "", "the same without work for ten minutes (default 0.2)")
	f.StringVar(&c.PayoutClosing, "payout-closing", "", "the same of an old generation (default 0.01)")
	return s
}

func engineVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "engine", Short: "run the built-in engine alone", Args: cobra.NoArgs,
		Long: "It speaks the OpenAI API. Its model is a small one for demonstrations; any GGUF file of the llama architecture\n" +
			"with f32, f16 or q8_0 weights can take its place.",
		Example: "  cocoon engine\n  cocoon engine --listen 127.0.0.1:8000 --model-file model.gguf",
	}
	var c node.Engine
	s := newSettings(cmd)
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", "127.0.0.1:8000", "HTTP `address`")
	f.StringVar(&c.ModelFile, "model-file", "", "GGUF `file` (default the demonstration model)")
	f.BoolVar(&c.Bench, "bench", false, "no model: answer at once, for measuring")
	roleVerb(cmd, s, &c)
	return cmd
}

func chainVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "chain", Short: "run a TON chain on this machine, for development", Args: cobra.NoArgs,
		Long: "Real contracts and fees, no validators: every TON client finds it by the configuration file that this writes. All coins are\n" +
			"in the faucet, a v5r1 wallet whose key is written beside the chain. A devnet brings its own chain.",
		Example: "  cocoon chain --global-config ./global.config.json\n" +
			"  cocoon chain --dir ./chain --listen 127.0.0.1:4443 --interval 500ms --global-config ./global.config.json",
	}
	var c node.Chain
	s := newSettings(cmd)
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", "127.0.0.1:0", "IPv4 `address` of the liteserver")
	f.StringVar(&c.Dir, "dir", "", "`directory` to keep the chain in (default memory only)")
	f.StringVar(&c.GlobalConfig, "global-config", "global.config.json", "configuration `file` to write for TON clients")
	durationFlag(f, &c.Interval, "interval", "time between blocks (default a block as soon as something happens)")
	roleVerb(cmd, s, &c)
	return cmd
}
