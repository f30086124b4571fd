package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opencocoon/cocoon/devnet"
)

// The scripts drive the real binary and read like the manual.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cocoon": main})
}

func TestScripts(t *testing.T) {
	quote, err := filepath.Abs("../../attest/tdx/testdata/quote.dat")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("QUOTE", quote)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": ready, "post": post, "kill-process": killProcess, "works": works, "gone": gone, "terminate": terminate, "terminate-twice": terminateTwice, "settled": settled, "appears": appears, "member": jsonMember, "answers": answers, "refuses": refuses, "unhex": unhex,
			"free-port": freePort, "reaches": reaches, "misses": misses, "scrape": scrape, "hangup": hangup,
		},
	})
}

// scriptPatience bounds every wait; the machine may be busy.
const scriptPatience = 2 * time.Minute

func until(ts *testscript.TestScript, what string, reached func() bool) {
	for end := time.Now().Add(scriptPatience); !reached(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s did not happen", what)
		}
	}
}

// settled DIR asks until the chain has paid a worker of the devnet.
func settled(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, "a payout on the chain of "+args[0], func() bool {
		i := info(ts, args[0])
		body := `{"model":"` + i.Model + `","messages":[{"role":"user","content":"Hello!"}],"max_tokens":40}`
		resp, err := http.Post(i.BaseURL+"/chat/completions", "application/json", strings.NewReader(body))
		ts.Check(err)
		resp.Body.Close()
		if err := ts.Exec("cocoon", "status", "--data", args[0], "--json"); err != nil {
			return false
		}
		var report struct {
			Sheet struct {
				Paid        string `json:"worker_paid"`
				Unaccounted string
			} `json:"balance_sheet"`
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &report))
		return report.Sheet.Paid != "0" && report.Sheet.Unaccounted == "0"
	})
}

func info(ts *testscript.TestScript, dir string) *devnet.Info {
	i, err := devnet.ReadInfo(ts.MkAbs(dir))
	ts.Check(err)
	return i
}

// ready DIR waits for the devnet of that directory and sets BASE, ADDRESS,
// MODEL and DOOR, a proxy's door for clients.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, "a ready devnet in "+args[0], func() bool {
		i, err := devnet.ReadInfo(ts.MkAbs(args[0]))
		if err != nil {
			return false
		}
		resp, err := http.Get(i.BaseURL + "/models")
		if err != nil {
			return false
		}
		resp.Body.Close()
		ts.Setenv("BASE", i.BaseURL)
		ts.Setenv("ADDRESS", resp.Request.URL.Host)
		ts.Setenv("MODEL", i.Model)
		for _, n := range i.Nodes {
			if n.Clients != "" {
				ts.Setenv("DOOR", n.Clients)
			}
		}
		return resp.StatusCode == http.StatusOK
	})
}

// post PATH BODY FILE posts the file BODY with $MODEL filled in, and writes
// status and answer to FILE.
func post(ts *testscript.TestScript, _ bool, args []string) {
	body := strings.ReplaceAll(ts.ReadFile(args[1]), "$MODEL", ts.Getenv("MODEL"))
	resp, err := http.Post(ts.Getenv("BASE")+args[0], "application/json", strings.NewReader(body))
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), fmt.Appendf(nil, "%d\n%s", resp.StatusCode, b), 0o600))
}

// kill-process DIR NAME kills a process of a split devnet the hard way and
// waits until the devnet has started it again.
func killProcess(ts *testscript.TestScript, _ bool, args []string) {
	find := func() (p devnet.Process) {
		for _, p = range info(ts, args[0]).Processes {
			if p.Name == args[1] {
				return p
			}
		}
		ts.Fatalf("no process is called %s", args[1])
		return p
	}
	before := find()
	process, err := os.FindProcess(before.PID)
	ts.Check(err)
	ts.Check(process.Kill())
	until(ts, "the return of "+args[1], func() bool {
		now := find()
		return now.PID != 0 && now.PID != before.PID && now.Restarts > before.Restarts
	})
}

// works asks until a chat is answered: parts may have to find each other again.
func works(ts *testscript.TestScript, _ bool, args []string) {
	body := `{"model":"` + ts.Getenv("MODEL") + `","messages":[{"role":"user","content":"hi"}],"max_tokens":4}`
	until(ts, "an answer", func() bool {
		resp, err := http.Post(ts.Getenv("BASE")+"/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// gone FILE checks that none of the processes in a saved network.json runs.
func gone(ts *testscript.TestScript, _ bool, args []string) {
	for _, p := range info(ts, args[0]).Processes {
		until(ts, "the end of "+p.Name, func() bool {
			process, err := os.FindProcess(p.PID)
			return err != nil || process.Signal(syscall.Signal(0)) != nil
		})
	}
}

// terminate DIR asks the devnet of that directory to stop, by SIGTERM.
func terminate(ts *testscript.TestScript, _ bool, args []string) {
	process, err := os.FindProcess(info(ts, args[0]).PID)
	ts.Check(err)
	ts.Check(process.Signal(syscall.SIGTERM))
}

// terminate-twice DIR does it two times in a row. A devnet that has stopped by
// the second time has taken the two as well as it can.
func terminateTwice(ts *testscript.TestScript, _ bool, args []string) {
	process, err := os.FindProcess(info(ts, args[0]).PID)
	ts.Check(err)
	ts.Check(process.Signal(syscall.SIGTERM))
	time.Sleep(time.Millisecond) // or the system makes one signal of the two
	if err := process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		ts.Check(err)
	}
}

// appears FILE waits for a file.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, "the file "+args[0], func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

// answers DIR NAME VAR waits until the node of that name, of the devnet that
// was in the directory, answers, and sets VAR to its address.
func answers(ts *testscript.TestScript, _ bool, args []string) {
	nodes := info(ts, args[0]).Nodes
	i := slices.IndexFunc(nodes, func(n devnet.NodeInfo) bool { return n.Name == args[1] })
	if i < 0 {
		ts.Fatalf("no node is called %s", args[1])
	}
	ts.Setenv(args[2], nodes[i].HTTP)
	until(ts, "an answer of "+args[1], func() bool {
		resp, err := http.Get(nodes[i].HTTP + "/jsonstats")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// refuses COMMAND… runs a command that must end with exit code 3.
func refuses(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[0], args[1:]...)
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != exitRefused {
		ts.Fatalf("%v, want exit code %d", err, exitRefused)
	}
}

// member NAME KEY sets NAME to a member of the JSON object that the last
// command printed; KEY may have points, and numbers for places in lists.
func jsonMember(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for key := range strings.SplitSeq(args[1], ".") {
		if list, ok := v.([]any); ok {
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(list) {
				ts.Fatalf("no place %s in a list of %d", key, len(list))
			}
			v = list[i]
			continue
		}
		m, ok := v.(map[string]any)
		if !ok || m[key] == nil {
			ts.Fatalf("no member %s in %v", args[1], v)
		}
		v = m[key]
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}
