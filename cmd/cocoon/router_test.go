package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/node"
)

// The example is one that can be used as it is, but for the hash.
func TestRouterExample(t *testing.T) {
	cmd := &cobra.Command{Use: "router"}
	s, c := routerSettings(cmd)
	*s.config = filepath.Join(t.TempDir(), "router.json")
	if err := os.WriteFile(*s.config, []byte(routerExample), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.load(nil).err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if len(c.FilePorts) != 3 || len(c.FilePolicies) != 1 || c.Cert != "/etc/tdx/tdx" {
		t.Errorf("got %+v", c)
	}
}

// The deployed units' command lines are understood; what they leave open is
// told, and can be said.
func TestDeployedRouterUnits(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // of Check; empty: sound
	}{
		{"-C /etc/tdx/tdx -s -R 11001:127.0.0.1:11101@tdx -R 11002:127.0.0.1:11102@any", "policy tdx: it names no image"},
		{"-C /etc/tdx/tdx -s -R 11001:127.0.0.1:11101@tdx -R 11002:127.0.0.1:11102@any --insecure-empty-list", ""},
		{"-C /etc/tee/tee --serialize-info --socks5 8116@tee --insecure-empty-list", ""},
		{"-C /etc/tee/tee --serialize-info --socks5 8116@tee:" + strings.Repeat("ab", 32) + " -t 4 -d 0 -m 30", ""},
		{"-S 8116@any -p 8117:reverse:any:127.0.0.1:8118 --fwd 8119:localhost:4430@fake_tee --policy p:tee:sev@" + strings.Repeat("ab", 32), ""},
	} {
		s, r := routerSettings(&cobra.Command{})
		if err := s.flags.Parse(strings.Fields(c.args)); err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if err := r.Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

// What is read again is the command line as it was and the file as it is.
func TestRouterSettingsAgain(t *testing.T) {
	cmd := &cobra.Command{Use: "router"}
	s, c := routerSettings(cmd)
	name := filepath.Join(t.TempDir(), "router.json")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"idle_timeout": "1m", "policies": [{"name": "a", "type": "any"}]}`)
	if err := cmd.ParseFlags([]string{"-c", name, "-S", "1@a", "-S", "2@tdx:" + strings.Repeat("ab", 32), "-d", "7", "--drain", "3s", "--deny-platform", "x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.load(nil).err(); err != nil {
		t.Fatal(err)
	}
	write(`{"idle_timeout": "2m", "drain": "9s", "policies": [{"name": "b", "type": "any"}], "log_level": "warn"}`)
	again, err := routerAgain(s)
	if err != nil {
		t.Fatal(err)
	}
	show := func(c *node.Router) string {
		return fmt.Sprintln(c.SOCKS5, *c.Difficulty, time.Duration(c.Drain), c.DenyPlatforms, time.Duration(c.IdleTimeout), c.FilePolicies[0].Name)
	}
	if got, want := show(again), strings.Replace(show(c), "1m0s a", "2m0s b", 1); got != want {
		t.Errorf("again %s, want %s", got, want)
	}
	write(`{"idle": "2m"}`)
	if _, err := routerAgain(s); err == nil || !strings.Contains(err.Error(), "idle: unknown key") {
		t.Errorf("a broken file: %v", err)
	}
}

// free-port NAME sets NAME to a port that is free now.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ts.Setenv(args[0], port)
}

func throughSOCKS(socks, address string) error {
	proxy := &url.URL{Scheme: "socks5", Host: socks}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}, Timeout: scriptPatience}
	resp, err := client.Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// reaches SOCKS URL waits until URL is reached through a router.
func reaches(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, "a way to "+args[1], func() bool { return throughSOCKS(args[0], args[1]) == nil })
}

// misses SOCKS URL waits until it is not.
func misses(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, "a refusal at "+args[1], func() bool { return throughSOCKS(args[0], args[1]) != nil })
}

// scrape URL PATTERN waits until the page matches.
func scrape(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[1])
	until(ts, args[1], func() bool {
		resp, err := http.Get(args[0])
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		return err == nil && want.Match(page)
	})
}

// hangup CONFIG sends SIGHUP to the background router that reads CONFIG.json.
func hangup(ts *testscript.TestScript, _ bool, args []string) {
	for _, cmd := range ts.BackgroundCmds() {
		if strings.Contains(strings.Join(cmd.Args, " "), " -c "+args[0]+".json ") {
			ts.Check(cmd.Process.Signal(syscall.SIGHUP))
			return
		}
	}
	ts.Fatalf("no router reads %s.json", args[0])
}
