package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/node"
)

func keysVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "the key manager: makes the keys of field encryption and gives them to proxies", Args: cobra.NoArgs,
		Long: "It makes a key each hour that lives a day, registers it on the chain, and hands the private halves to proxies whose image the " +
			"registry lists. It runs in a TDX guest, or with an --insecure flag that says in which way it does not. With --seal its keys " +
			"lie on disk sealed to the image and the machine; without, the disk must be encrypted: whoever reads it can read a day's requests.\n\n" +
			"The registry has to name it: `cocoon network key-manager set`.",
		Example: "  cocoon keys --config keys.json\n" +
			"  cocoon keys --keys-listen :13001 --data ./keys --ton-config global.config.json --owner-address UQ… --root-contract-address EQ…",
	}
	var c node.Keys
	roleVerb(cmd, keysSettings(cmd, &c), &c)
	return cmd
}

// keysSettings binds a key manager's settings to cmd's flags, files and variables.
func keysSettings(cmd *cobra.Command, c *node.Keys) *settings {
	s := newSettings(cmd)
	referenceNames(s)
	s.unused = slices.DeleteFunc(s.unused, func(name string) bool { return name == "rpc_port" || name == "check_hashes" })
	s.unused = append(s.unused, "add_default_key") // whose private half everybody knows
	s.renamed["check_hashes"] = rename{"insecure-any-image", inverted}
	f := cmd.Flags()
	commonFlags(f, &c.Common, "127.0.0.1:13000")
	f.StringVar(&c.KeysListen, "keys-listen", "", "`address` for proxies and workers, such as :13001")
	f.IntVar(&c.RPCPort, "rpc-port", 0, "loopback `port` for them behind a router")
	f.StringVar(&c.Data, "data", "", "`directory` of all keys and the wallet's queue, on an encrypted disk")
	f.BoolVar(&c.AnyImage, "insecure-any-image", false, "give keys to callers whatever image they run (test networks only)")
	f.BoolVar(&c.ServeWorkers, "serve-workers", false, "give keys to workers too, as the reference does; they have no use for them")
	f.BoolVar(&c.UnboundOrders, "unbound-orders", false, "register in the reference's form, which does not say at which registry")
	durationFlag(f, &c.RegisterAfter, "register-after", "hand a new key out for so long before apps see it (default 15s)")
	f.IntVar(&c.Difficulty, "pow-difficulty", 0, "proof of work that callers do, in `bits` (default 20)")
	return s
}
