package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// testVerb has one setting of each kind.
type testVerb struct {
	cmd    *cobra.Command
	s      *settings
	listen string
	n      int
	on     bool
	list   []string
	secret string
}

func newTestVerb() *testVerb {
	v := &testVerb{cmd: &cobra.Command{Use: "test"}}
	v.s = newSettings(v.cmd)
	f := v.cmd.Flags()
	f.StringVar(&v.listen, "listen", "default", "")
	f.IntVar(&v.n, "max-active-requests", 7, "")
	f.BoolVar(&v.on, "on", false, "")
	f.StringSliceVar(&v.list, "list", nil, "")
	v.s.secrets.StringVar(&v.secret, "secret-string", "", "")
	v.s.renamed["http_port"] = rename{"listen", func(port string) (string, error) { return "127.0.0.1:" + port, nil }}
	v.s.unused = []string{"ton_config_filename"}
	return v
}

func (v *testVerb) load(t *testing.T, file string, env []string, args ...string) error {
	t.Helper()
	if file != "" {
		name := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", name)
	}
	if err := v.cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return v.s.load(env).err()
}

func TestSettingsPrecedence(t *testing.T) {
	file := `{"listen":"file","max_active_requests":"12","on":true,"list":["a","b"],"secret_string":"file-secret","ton_config_filename":"x"}`
	for _, c := range []struct {
		name       string
		env, args  []string
		listen     string
		n          int
		secretWant string
	}{
		{"file", nil, nil, "file", 12, "file-secret"},
		{"environment over file", []string{"COCOON_LISTEN=env", "COCOON_SECRET_STRING=env-secret", "PATH=/bin"}, nil, "env", 12, "env-secret"},
		{"flag over both", []string{"COCOON_LISTEN=env"}, []string{"--listen=flag", "--max-active-requests=3"}, "flag", 3, "file-secret"},
	} {
		v := newTestVerb()
		if err := v.load(t, file, c.env, c.args...); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if v.listen != c.listen || v.n != c.n || v.secret != c.secretWant || !v.on || strings.Join(v.list, ",") != "a,b" {
			t.Errorf("%s: got %+v", c.name, v)
		}
	}
}

func TestSettingsTakeTheReferencesNames(t *testing.T) {
	v := newTestVerb()
	if err := v.load(t, `{"http_port": 12000}`, nil); err != nil || v.listen != "127.0.0.1:12000" {
		t.Errorf("http_port gave listen %q, %v", v.listen, err)
	}
}

func TestSettingsReportEverythingAtOnce(t *testing.T) {
	v := newTestVerb()
	err := v.load(t, `{"lissten":"x","max_active_requests":"many","list":[1],"on":{},"max-active-requests":1,"config":"x"}`,
		[]string{"COCOON_LISSTEN=1", "COCOON_ON=maybe"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"lissten: unknown key", "max_active_requests: ", "list: want a list of strings", "max-active-requests: unknown key",
		"config: unknown key", "COCOON_LISSTEN is no setting", "COCOON_ON: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestSettingsRefuseBrokenFiles(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{`[]`, "not a JSON object"}, {`nonsense`, "not a JSON object"}, {`{"listen":"a","listen":"b"}`, "occurs twice"},
		{`{"listen":"a"`, "does not end"}, {`{"listen":"a"} x`, "follows"}, {`{"listen":}`, "malformed"}, {`{listen:1}`, "malformed"},
	} {
		if err := newTestVerb().load(t, c.file, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.file, err, c.want)
		}
	}
	v := newTestVerb()
	if err := v.cmd.ParseFlags([]string{"-c", "/nonexistent/c.json"}); err != nil {
		t.Fatal(err)
	}
	if v.s.load(nil).err() == nil {
		t.Error("a missing file was accepted")
	}
}

func TestSecretsAreNotQuoted(t *testing.T) {
	v := newTestVerb()
	v.s.secrets.Int("api-key", 0, "")
	err := v.load(t, `{"api_key":"hush-hush","secret_string":["hush-hush"]}`, []string{"COCOON_NOTHING=hush-hush"})
	if err == nil || strings.Contains(err.Error(), "hush-hush") {
		t.Errorf("got %v, want errors that quote no secret", err)
	}
}

// Every verb's examples must be command lines that its own flags accept.
func TestExamplesParse(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Example == "" && c.Name() != "help" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		own := c.Example == ""
		for line := range strings.Lines(c.Example) {
			_, line, ok := strings.Cut(strings.TrimSpace(line), "cocoon ")
			if !ok { // another program's part in it, as curl's
				continue
			}
			root := newRoot()
			cmd, rest, err := root.Find(words(line))
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: example %q: %v (%s)", c.CommandPath(), line, err, cmd.CommandPath())
			}
			own = own || cmd.CommandPath() == c.CommandPath() || !c.HasParent() || c.HasSubCommands()
		}
		if !own {
			t.Errorf("%s: no line of the example runs it", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(newRoot())
}

// words splits a command line the way a shell does for plain and quoted words.
// words splits a command line at blanks and quotes, up to what is the shell's.
func words(line string) []string {
	var out []string
	line, _, _ = strings.Cut(line, " > ")
	line = strings.TrimSuffix(strings.TrimSpace(line), " &")
	for i, part := range strings.Split(strings.TrimSpace(line), `"`) {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		err  string
	}{
		{"version", exitOK, ""},
		{"version --json", exitOK, ""},
		{"", exitOK, ""},
		{"nonsense", exitUsage, "cocoon: unknown command"},
		{"version extra", exitUsage, "cocoon version: "},
		{"chat --nonsense", exitUsage, "cocoon chat: unknown flag"},
		{"models --url nonsense", exitUsage, "want http://host:port"},
		{"models --url http://127.0.0.1:1", exitFailure, "nothing answers at http://127.0.0.1:1"},
		{"attest inspect /nonexistent", exitFailure, "no such file"},
		{"bench market --workers 0 --rules best --charts x", exitUsage, `0 workers, want 1 to 10000; rules: "best" is none of ours`},
		{"bench --duration -1s --connections 0", exitUsage, "duration -1s: want more than 0; connections 0"},
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), strings.NewReader(""), &out, &errOut)
		if code != c.code || !strings.Contains(errOut.String(), c.err) || c.err == "" && errOut.Len() > 0 {
			t.Errorf("cocoon %s: exit %d, stderr %q; want %d with %q", c.args, code, &errOut, c.code, c.err)
		}
		if lines := strings.Count(errOut.String(), "\n"); lines > 1 {
			t.Errorf("cocoon %s: %d lines on stderr, want one", c.args, lines)
		}
	}
}
