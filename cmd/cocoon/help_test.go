package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// Help fits a terminal and tells each default once.
func TestHelp(t *testing.T) {
	twice := regexp.MustCompile(`\(default[^)]*\).*\(default`)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		var out, errOut strings.Builder
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errOut); code != exitOK || errOut.Len() > 0 {
			t.Errorf("%v: exit %d, %s", args, code, &errOut)
		}
		for line := range strings.Lines(out.String()) {
			example := strings.HasPrefix(line, "  cocoon ") || strings.HasPrefix(line, "  echo ")
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > statusWidth && !example {
				t.Errorf("%v: a line of %d columns: %s", args, n, line)
			}
			if twice.MatchString(line) {
				t.Errorf("%v: two defaults: %s", args, line)
			}
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(newRoot())
}

func TestMistypedCommands(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"devent", `cocoon: unknown command "devent"; did you mean devnet; see`},
		{"xyzzy", "cocoon: unknown command \"xyzzy\"; see `cocoon --help`"},
		{"attest verfy", "did you mean verify"},
		{"devnet extra", `takes no argument, got "extra"`},
		{"chat --max-tokens x", `invalid argument "x" for "--max-tokens" flag: want a number; see`},
		{"engine --log-level loud", `log_level: got "loud", want debug, info, warn or error`},
	} {
		var out, errOut strings.Builder
		code := run(t.Context(), strings.Fields(c.args), strings.NewReader(""), &out, &errOut)
		if code != exitUsage || !strings.Contains(errOut.String(), c.want) || strings.Count(errOut.String(), "\n") != 1 {
			t.Errorf("cocoon %s: exit %d, %q; want %d with %q in one line", c.args, code, &errOut, exitUsage, c.want)
		}
	}
}
