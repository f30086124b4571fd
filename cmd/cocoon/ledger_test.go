package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/wallet"
)

// An operator exports a ledger, of a proxy that runs too; others check the
// export with the public key alone, and a changed digit does not pass.
func TestLedgerExport(t *testing.T) {
	dir := t.TempDir()
	key, err := wallet.NodeKey(filepath.Join(dir, "proxy.key"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := disk.Open(filepath.Join(dir, "ledger"), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.New(ledger.Config{Store: store, Key: key.Private()})
	if err == nil {
		err = l.Begin(ledger.Terms{Params: 3, Contract: "0:" + strings.Repeat("ab", 32), Price: 20, Fee: 18, Credit: ledger.Chainless(20), Memo: bytes.Repeat([]byte{7}, 3000)})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := func(i string) string { return "0:" + strings.Repeat("1"+i, 32) }
	worker := "0:" + strings.Repeat("ee", 32)
	for i, tokens := range []int64{500, 41, 700} {
		name := client([]string{"a", "b", "a"}[i])
		_, err := l.OpenClient(name)
		if err == nil {
			_, err = l.OpenWorker(worker)
		}
		if err != nil {
			t.Fatal(err)
		}
		h, err := l.Reserve(name, tokens)
		if err == nil {
			_, err = l.Settle(h, worker, tokens)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.Commit()
	ask := func(in string, args ...string) (int, string, string) {
		var out, errOut strings.Builder
		code := run(t.Context(), append([]string{"proxy", "ledger"}, args...), strings.NewReader(in), &out, &errOut)
		return code, out.String(), errOut.String()
	}
	code, export, errOut := ask("", "export", "--data", dir)
	if code != exitOK || strings.Count(export, `"kind":"settled"`) != 3 {
		t.Fatalf("exit %d, %s\n%s", code, errOut, export)
	}
	public := hex.EncodeToString(key.Public())
	code, out, errOut := ask(export, "audit", "-", "--key", public)
	if code != exitOK || !strings.Contains(out, "and they add up") || !strings.Contains(out, "1241") {
		t.Errorf("exit %d, %s%s", code, errOut, out)
	}
	var sum ledger.Summary
	if code, out, errOut = ask("", "audit", "--data", dir, "--json"); code != exitOK || json.Unmarshal([]byte(out), &sum) != nil || sum.Moved != 1241 || !sum.Complete || len(out) > 1500 {
		t.Errorf("exit %d, %s%s", code, errOut, out)
	}
	if code, out, _ = ask(export, "audit", "-", "--data", dir); code != exitOK {
		t.Errorf("with the directory's key: exit %d, %s", code, out)
	}
	if code, out, errOut = ask("", "export", "--data", dir, "--account", client("b")); code != exitOK || strings.Count(out, "\n") != 1 || !strings.Contains(out, `"tokens":41`) {
		t.Errorf("one account: exit %d, %s%s", code, errOut, out)
	}
	file := filepath.Join(dir, "export.jsonl")
	if err := os.WriteFile(file, []byte(strings.Replace(export, `"tokens":41`, `"tokens":42`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"audit", file, "--key", public}, exitFailure, "not signed by the proxy's key, or was altered"},
		{[]string{"audit", file, "--key", strings.Repeat("11", 32)}, exitFailure, "not signed by the proxy's key"},
		{[]string{"audit", file}, exitUsage, "key or data: want one of them"},
		{[]string{"audit", file, "--key", "12"}, exitUsage, "64 hexadecimal digits"},
		{[]string{"audit"}, exitUsage, "data: missing"},
		{[]string{"export", "--data", t.TempDir()}, exitFailure, "is no data directory of a proxy"},
		{[]string{"export", "--data", dir, "--account", "x"}, exitUsage, "account: "},
		{[]string{"export", "--data", dir, "--key", strings.Repeat("11", 32)}, exitFailure, "not signed by the proxy's key"},
		{[]string{"export", "--data", dir, "--ledger", "postgres"}, exitUsage, "ledger_url_file or ledger_url"},
	} {
		code, _, errOut := ask("", x.args...)
		if code != x.code || !strings.Contains(errOut, x.want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%q: exit %d, %q; want %d with %q in one line", x.args, code, errOut, x.code, x.want)
		}
	}
	if _, err := l.OpenClient("x"); err != nil {
		t.Errorf("the proxy was disturbed: %v", err)
	}
}
