package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verbs are the commands, in the order in which help lists them.
func verbs() []*cobra.Command {
	return []*cobra.Command{
		devnetVerb(), clientVerb(), proxyVerb(), workerVerb(), routerVerb(), keysVerb(), engineVerb(), chainVerb(),
		chatVerb(), modelsVerb(), marketVerb(), costVerb(), statusVerb(), benchVerb(), walletVerb(), networkVerb(), attestVerb(), sealVerb(), weightsVerb(), versionVerb(),
	}
}

// secretNames are settings that no flag shows; see settings.secrets.
var secretNames = []string{"api-key", "secret-string", "engine-key", "passphrase", "ledger-url"}

// settingNames are the settings of all verbs, so that a COCOON_ variable that
// is none of them can be told from one that is meant for another verb.
func settingNames(root *cobra.Command) map[string]bool {
	names := map[string]bool{}
	for _, name := range secretNames {
		names[name] = true
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return names
}
