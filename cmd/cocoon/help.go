package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
)

// verbs are listed in the order in which people need them.
func init() { cobra.EnableCommandSorting = false }

// layOut gives root and its verbs the manners of this program: help that fits
// a terminal, and errors in words.
func layOut(root *cobra.Command) {
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetUsageTemplate(strings.NewReplacer(
		".LocalFlags.FlagUsages", fmt.Sprintf(".LocalFlags.FlagUsagesWrapped %d", statusWidth), "Available Commands:", "Commands:",
	).Replace(root.UsageTemplate()))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		text, _, parse := strings.Cut(err.Error(), ": strconv.")
		if parse {
			return errors.New(text + ": want a number")
		}
		return err
	})
	root.InitDefaultHelpCmd()
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.Long = paragraphs(c.Long)
		if c.Name() == "help" && c.Parent() == root {
			c.Short = "explain a command"
		}
		if isNoArgs(c.Args) {
			c.Args = noArgs
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// paragraphs wraps text; an empty line separates paragraphs.
func paragraphs(text string) string {
	var b strings.Builder
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		writeWrapped(&b, "", p)
	}
	return strings.TrimSpace(b.String())
}

func isNoArgs(f cobra.PositionalArgs) bool {
	return f != nil && reflect.ValueOf(f).Pointer() == reflect.ValueOf(cobra.NoArgs).Pointer()
}

// noArgs refuses arguments; if there are commands, it was meant as one.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !cmd.HasSubCommands():
		return fmt.Errorf("takes no argument, got %q", args[0])
	}
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		return fmt.Errorf("unknown command %q; did you mean %s", args[0], strings.Join(like, " or "))
	}
	return fmt.Errorf("unknown command %q", args[0])
}
