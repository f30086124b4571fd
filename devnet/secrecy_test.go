package devnet

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/node"
	"github.com/opencocoon/cocoon/seal"
	"github.com/opencocoon/cocoon/wallet"
)

// What people say, and what opens doors, is in memory and on the wire only:
// this test says it, makes every kind of trouble with it, and searches
// everything that a network writes or shows.
func TestNothingSaidIsKept(t *testing.T) {
	t.Run("plain", func(t *testing.T) { nothingSaidIsKept(t, Config{}) })
	t.Run("sealed", func(t *testing.T) { nothingSaidIsKept(t, Config{Sealed: true, Keys: true}) })
}

func nothingSaidIsKept(t *testing.T, config Config) {
	config.Workers = 2
	const prompt, reply, key = "PROMPT-MARKER-7391", "ANSWER-MARKER-2846", "KEY-MARKER-5512"
	n := startNet(t, enginetest.Fixed(200, "application/json",
		`{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"`+reply+`"}}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`), config)
	say := func(script enginetest.Script, body string) answer {
		if script != nil {
			n.engine.SetScript(script)
		}
		req, err := http.NewRequestWithContext(t.Context(), "POST", n.net.Info().BaseURL+"/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Cookie", "session="+key)
		resp, err := n.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body) // some of these answers break off
		return answer{Status: resp.StatusCode, Body: string(b)}
	}
	ask := `{"model":"fake/model","timeout":2,"messages":[{"role":"user","content":"` + prompt + `"}]`
	if a := say(nil, ask+`,"enable_debug":true,"request_guid":"g"}`); a.Status != 200 || !strings.Contains(a.Body, reply) {
		t.Fatalf("got %d %s, want the reply", a.Status, a.Body)
	}
	say(enginetest.Refusal(500, reply+prompt), ask+"}")
	say(enginetest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"+reply), ask+"}")
	say(enginetest.Raw(reply+"\r\n\r\n"), ask+"}")
	say(enginetest.HangHead(), ask+"}")
	say(enginetest.DieAfter(1), ask+`,"stream":true}`)
	n.engine.SetOwner("vllm")
	begun := enginetest.AppendEvents(nil, `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"`+reply+` "},"finish_reason":null}]}`)
	resumable := ask + `,"stream":true,"enable_debug":true,"provider":{"resume":true}}`
	if a := say(enginetest.BreakOff(begun, ""), resumable); !strings.Contains(a.Body, reply) || !strings.Contains(a.Body, "not resumed: ") {
		t.Errorf("a stream that breaks off again and again: %s", a.Body)
	}
	if a := say(enginetest.BreakOff(begun, `"continue_final_message":true`), resumable); strings.Count(a.Body, reply) < 2 || !strings.Contains(a.Body, "[DONE]") {
		t.Errorf("a stream that was resumed: %s", a.Body)
	}
	say(nil, `{"model":"`+prompt+`"`)
	say(nil, prompt)

	n.eventually("every role to have written its files", func() bool {
		for _, file := range written {
			if info, err := os.Stat(filepath.Join(n.net.Info().Data, file)); err != nil || info.Size() == 0 {
				return false
			}
		}
		return true
	})
	seen := map[string]string{"log": n.log.String()}
	for _, node := range n.net.Info().Nodes {
		if node.HTTP == "" {
			continue // a chain has no pages
		}
		for _, path := range []string{"/stats", "/jsonstats", "/metrics"} {
			seen[node.Name+path] = n.page(node.HTTP + path)
		}
	}
	token, err := os.ReadFile(n.net.Info().ControlTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(n.net.Info().Data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && path != n.net.Info().ControlTokenFile {
			var b []byte
			if b, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
				return nil // it has taken another's place since the directory was listed, and is read there
			}
			seen[path] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := secretsIn(t, n.net.Info().Data, config.Sealed)
	for where, text := range seen {
		for file, forms := range keys {
			if filepath.Ext(where) == ".key" || where == file {
				continue
			}
			for _, form := range forms {
				if strings.Contains(text, form) {
					t.Errorf("%s holds the secret of %s", where, file)
				}
			}
		}
		for _, marker := range []string{prompt, reply, key, strings.TrimSpace(string(token))} {
			if strings.Contains(text, marker) {
				i := strings.Index(text, marker)
				t.Errorf("%s holds %.8s…: …%s…", where, marker, text[max(i-200, 0):min(i+60, len(text))])
			}
		}
	}
}

// written are files in a network's directory that every role must have left to
// look at, each some seconds after it began.
var written = []string{"data/proxy-1/ledger/log-00000000000000000001", "data/proxy-1/wallet", "data/client-1/settlement.json", "data/client-1/statement.jsonl", "data/worker-1/worker.json"}

// secretsIn are the secrets of the key files in a network's directory, in the
// forms in which they could be written.
func secretsIn(t *testing.T, dir string, sealed bool) map[string][]string {
	t.Helper()
	secrets := map[string][]string{}
	for _, pattern := range []string{"*/*.key", "*/*/*.key", "data/*/secret"} {
		list, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range list {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Base(path) == "secret" {
				secrets[path] = []string{strings.TrimSpace(string(text))}
				continue
			}
			key, err := wallet.ParseKey(string(text))
			if err != nil {
				var file *wallet.KeyFile
				if file, err = wallet.LoadKeyFile(path, nil); err == nil {
					key = file.Key
				}
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			secrets[path] = formsOf(key.Private().Seed())
		}
	}
	want := []string{"chain/faucet.key", "data/proxy-1/proxy.key", "data/proxy-1/wallet.key", "data/client-1/wallet.key", "data/client-1/secret", "data/worker-1/wallet.key"}
	if sealed {
		for path, forms := range sealedIn(t, dir) {
			if secrets[path] != nil {
				t.Errorf("%s is a plain file", path)
			}
			secrets[path] = forms
		}
		want = append(want, "data/keys-1/manager.key", "data/keys-1/wallet.key", "data/keys-1/keys.json")
	}
	for _, file := range want {
		if secrets[filepath.Join(dir, file)] == nil {
			t.Errorf("no %s: this test does not see what it is about", file)
		}
	}
	return secrets
}

// formsOf are the ways in which bytes could be written.
func formsOf(b []byte) []string {
	return []string{string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		base64.StdEncoding.EncodeToString(b)[:42], base64.URLEncoding.EncodeToString(b)[:42]}
}

// sealedIn are the secrets of sealed stores, by the files that they would be.
func sealedIn(t *testing.T, dir string) map[string][]string {
	t.Helper()
	authority, err := insecure.Load(filepath.Join(dir, authorityDir))
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]string{}
	for name, image := range map[string]string{"proxy-1": proxyImage, "worker-1": workerImage, "keys-1": keysImage} {
		data := filepath.Join(dir, dataDir, name)
		store, err := seal.Open(t.Context(), filepath.Join(data, node.SealedFile), authority.Sealing(image))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range store.Names() {
			value := store.Value(secret)
			if secret == "keys.json" { // many, each as long as a seed
				_, private, _ := strings.Cut(string(value), `"private":"`)
				if value, err = hex.DecodeString(private[:64]); err != nil {
					t.Fatal(err)
				}
			}
			secrets[filepath.Join(data, secret)] = formsOf(value)
		}
	}
	return secrets
}

func (n *testNet) page(url string) string {
	n.t.Helper()
	resp, err := n.http.Get(url)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || len(b) == 0 {
		n.t.Errorf("%s: %d, %v", url, resp.StatusCode, err)
	}
	return string(b)
}
