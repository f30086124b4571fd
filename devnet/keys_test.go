package devnet

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
)

// keysPage is the part of a key manager's figures that is looked at here.
type keysPage struct {
	Status struct {
		Usable  int `json:"usable_keys"`
		Trouble string
	}
	Keys []struct {
		Public     string `json:"public_key"`
		Registered bool
	}
}

// A devnet with a key manager: its key gets onto the chain, the proxy gets its
// private half over an attested connection, requests are encrypted, and all of
// that is there again after a restart, when everybody has other ports.
func TestKeyManager(t *testing.T) {
	t.Run("plain", func(t *testing.T) { keyManager(t, false) })
	t.Run("sealed", func(t *testing.T) { keyManager(t, true) })
}

// What was sealed once stays sealed.
func keyManager(t *testing.T, sealed bool) {
	dir := t.TempDir()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	engine := enginetest.New(t, enginetest.Fast())
	var first string
	for run := range 2 {
		log := &lockedBuffer{}
		n, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Data: dir, Engine: engine.URL, Keys: true, Sealed: sealed && run == 0, Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		page := awaitKeys(t, n)
		if len(page.Keys) != 1 || !page.Keys[0].Registered {
			t.Errorf("run %d: %+v", run, page)
		}
		if first == "" {
			first = page.Keys[0].Public
		} else if page.Keys[0].Public != first {
			t.Errorf("another key after a restart: %s, want %s", page.Keys[0].Public, first)
		}
		askEncrypted(t, n.Info())
		file, private := filepath.Join(dir, dataDir, "keys-1", "keys.json"), ""
		if sealed {
			private = sealedIn(t, dir)[file][1]
		} else {
			secrets, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, private, _ = strings.Cut(string(secrets), `"private":"`)
		}
		if private = private[:64]; strings.Contains(log.String(), private) {
			t.Error("the log holds a private key")
		}
		if err := n.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	asked := engine.Requests()
	if len(asked) != 2 || !bytes.Contains(asked[0].Payload, []byte("a question")) || bytes.Contains(asked[0].Payload, []byte("is_encrypted")) {
		t.Errorf("the engine was asked %d times", len(asked))
	}
}

// awaitKeys waits until apps can encrypt and the proxy has what it needs.
func awaitKeys(t *testing.T, n *Network) (page keysPage) {
	t.Helper()
	node := func(role string) string {
		nodes := n.Info().Nodes
		return nodes[slices.IndexFunc(nodes, func(i NodeInfo) bool { return i.Role == role })].HTTP
	}
	var proxy struct {
		Local struct {
			Keys int `json:"encryption_keys"`
		} `json:"localconfig"`
	}
	for end := time.Now().Add(testPatience); ; time.Sleep(20 * time.Millisecond) {
		page = keysPage{}
		err := getJSON(t.Context(), http.DefaultClient, node(RoleKeys)+"/jsonstats", &page)
		if err == nil {
			err = getJSON(t.Context(), http.DefaultClient, node(RoleProxy)+"/jsonstats", &proxy)
		}
		if err == nil && page.Status.Usable > 0 && proxy.Local.Keys > 0 {
			return page
		}
		if time.Now().After(end) {
			t.Fatalf("no keys: %v, %+v, %d at the proxy", err, page, proxy.Local.Keys)
		}
	}
}

func askEncrypted(t *testing.T, info Info) {
	t.Helper()
	body := `{"model":"` + info.Model + `","max_tokens":5,"messages":[{"role":"user","content":"a question"}]}`
	for end := time.Now().Add(testPatience); ; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, info.BaseURL+"/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Cocoon-Encryption", "v1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 503 && bytes.Contains(answer, []byte("no_encryption_key")) && time.Now().Before(end) {
			continue // the client reads the next block a moment later
		}
		if resp.StatusCode != 200 || resp.Header.Get("X-Cocoon-Encryption") != "v1" || !bytes.Contains(answer, []byte(`"choices"`)) || bytes.Contains(answer, []byte("ENC_")) {
			t.Fatalf("status %d, header %q: %s", resp.StatusCode, resp.Header.Get("X-Cocoon-Encryption"), answer)
		}
		return
	}
}
