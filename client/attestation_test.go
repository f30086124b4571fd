package client

import (
	"encoding/json"
	"testing"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
)

// What a caller can ask about the proxies in use, and what each answer says.
func TestAttestation(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	_, url := n.gateway(p.net.config())
	res, body := do(t, "GET", url+pathAttestation, "")
	var list struct {
		Object string
		Data   []struct {
			Object, Proxy, Level string
			InUse                bool  `json:"in_use"`
			Since                int64 `json:"connected_at"`
			Verdict              struct {
				Verdict, Level string
				Checks         []struct {
					Name, Got, Want string
					OK              bool
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || res.StatusCode != 200 || list.Object != "list" || len(list.Data) != 1 {
		t.Fatalf("%d, %v: %s", res.StatusCode, err, body)
	}
	one := list.Data[0]
	if one.Object != "attestation" || !one.InUse || one.Since == 0 || one.Verdict.Verdict != "trusted" {
		t.Errorf("%+v", one)
	}
	for _, c := range one.Verdict.Checks {
		if c.Name == "" || c.Want == "" || !c.OK {
			t.Errorf("check %+v", c)
		}
	}
	answer, _ := do(t, "POST", url+pathChat, chatBody)
	if got := answer.Header.Get(headerAttestation); got == "" || got != one.Level {
		t.Errorf("the answer's level is %q, the proxy's %q", got, one.Level)
	}
	for method, want := range map[string]int{"HEAD": 200, "POST": 405, "DELETE": 405} {
		if res, _ := do(t, method, url+pathAttestation, ""); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", method, res.StatusCode, want)
		}
	}
}

// It is behind the API keys like the rest of the API.
func TestAttestationNeedsKey(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	cfg := p.net.config()
	cfg.APIKeys = []string{"key"}
	_, url := n.gateway(cfg)
	if res, _ := do(t, "GET", url+pathAttestation, ""); res.StatusCode != 401 {
		t.Errorf("without a key: %d, want 401", res.StatusCode)
	}
	if res, _ := do(t, "GET", url+pathAttestation, "", "Authorization", "Bearer key"); res.StatusCode != 200 {
		t.Errorf("with the key: %d", res.StatusCode)
	}
}

// A worker has no say in it.
func TestAttestationHeaderIsOurs(t *testing.T) {
	if !keptBack[headerAttestation] {
		t.Error("an answer may bring its own level")
	}
}

// The level that an answer names is that of today, not of when the proxy was
// connected.
func TestAttestationHeaderIsNew(t *testing.T) {
	identity, err := ratls.NewIdentity(t.Context(), insecure.Fake{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	fake := &attest.Policy{AllowFake: true, AnyImage: true}
	listener, err := ratls.Listen("127.0.0.1:0", &ratls.Config{Identity: identity, Policy: fake, Difficulty: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go listener.Accept()
	sessions := ratls.NewSessions(ratls.SessionsOptions{})
	conn, err := ratls.Dial(t.Context(), listener.Addr().String(), &ratls.Config{Identity: identity, Policy: fake, MaxDifficulty: -1, Sessions: sessions})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l := &link{peer: conn.Peer}
	if got := l.levelName(); got != attest.LevelFake.Name() {
		t.Errorf("level %q", got)
	}
	sessions.Replace(&attest.Policy{})
	sessions.Revalidate(t.Context())
	if got := l.levelName(); got != attest.LevelRefused.Name() {
		t.Errorf("level %q after the proxy was refused, want %q", got, attest.LevelRefused.Name())
	}
}
