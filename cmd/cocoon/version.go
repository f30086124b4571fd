package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what `cocoon version` tells, from what the Go linker recorded.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	System   string `json:"system"`
}

func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is the build in one line.
func (b build) String() string {
	revision := ""
	if b.Revision != "" {
		revision = " " + b.Revision
	}
	if b.Modified {
		revision += " with changes"
	}
	return fmt.Sprintf("cocoon %s%s (%s, %s)", b.Version, revision, b.Go, b.System)
}

func versionVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "say which build this is", Args: cobra.NoArgs,
		Example: "  cocoon version\n  cocoon version --json",
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), thisBuild())
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), thisBuild())
		return err
	}
	return cmd
}
