// Command cocoon is the whole of Cocoon in one binary: each verb is a role of
// the network or a tool for people who use or run one. Start with
//
//	cocoon devnet
//
// The verbs are wiring: they read settings, build what the library packages
// offer, and turn signals into cancellation. Exit codes: 0 done, 1 failed,
// 2 wrong usage or settings, 3 refused by policy or by a contract.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signalContext()
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// signalContext ends with the first SIGINT or SIGTERM, which asks everything
// to finish in order. Another one ends the process at once, unless it comes
// together with the first: timeout(1) and others signal a process, and then
// its group.
func signalContext() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		first := time.Now()
		cancel()
		for range signals {
			if time.Since(first) > together {
				os.Exit(exitFailure)
			}
		}
	}()
	return ctx, cancel
}

// together is how close signals are that mean one thing.
const together = 500 * time.Millisecond

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3
)

// usageError is a mistake in what the person typed or wrote into a file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// refusedError is a "no" of a policy or a contract, which is an answer and not
// a failure.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	begun := false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(errOut, complaint(cmd, err, begun))
	return exitCode(err, begun)
}

// exitCode: whatever fails before a verb began is a matter of usage.
func exitCode(err error, begun bool) int {
	var usage usageError
	var refused refusedError
	switch {
	case errors.As(err, &refused):
		return exitRefused
	case errors.As(err, &usage) || !begun:
		return exitUsage
	default:
		return exitFailure
	}
}

// complaint is the one line on stderr: which verb, what happened, what to do.
func complaint(cmd *cobra.Command, err error, begun bool) string {
	path := cmd.CommandPath()
	if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
		return path + ": interrupted"
	}
	text := strings.TrimPrefix(strings.TrimSpace(err.Error()), cmd.Name()+": ")
	line := path + ": " + strings.ReplaceAll(text, "\n", "; ")
	if exitCode(err, begun) == exitUsage {
		line += "; see `" + path + " --help`"
	}
	return line
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "cocoon",
		Short:         "private AI inference on a network of attested machines",
		Long:          "Cocoon runs and uses a network for confidential AI inference.\nStart with `cocoon devnet`: the whole network on this machine.",
		Example:       "  cocoon devnet",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		Version:       thisBuild().String(),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(verbs()...)
	layOut(root)
	return root
}
