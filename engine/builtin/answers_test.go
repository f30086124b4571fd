package builtin

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// A newcomer's first prompts must get an answer that fits.
func TestFirstAnswers(t *testing.T) {
	m := demoModel(t)
	seq := newSequence(m)
	for prompt, want := range map[string][]string{
		"Hello":                          {"demonstration model", "How can I help"},
		"hi there!":                      {"demonstration model", "help"},
		"Who are you?":                   {"demonstration model"},
		"What is Cocoon?":                {"Cocoon", "GPU", "TON"},
		"What is attestation?":           {"proof", "code"},
		"Why is the sky blue?":           {"blue", "light"},
		"Write a haiku":                  {"\n"},
		"Tell me a joke":                 {"?", "GPU", "proxy"},
		"How do I use a bigger model?":   {"--engine"},
		"Is my data safe?":               {"protected"},
		"What is the weather like today": {"cannot"},
	} {
		tokens, err := m.turns([]message{{"user", prompt}}, true)
		if err != nil {
			t.Fatal(err)
		}
		got, finish := say(t, seq, job{prompt: tokens, maxTokens: 120, sampling: sampling{topP: 1}})
		fits := false
		for _, w := range want {
			fits = fits || strings.Contains(got, w)
		}
		if !fits || finish != finishStop {
			t.Errorf("%s: %q (%s), want one of %q in it", prompt, got, finish, want)
		}
	}
}

// The record of how the model was made must be about this very file.
func TestModelFileIsTheOneDescribed(t *testing.T) {
	sum := sha256.Sum256(demo)
	readme, err := os.ReadFile("train/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if hash := hex.EncodeToString(sum[:]); !strings.Contains(string(readme), hash) {
		t.Errorf("train/README.md does not name the model file's SHA-256 %s", hash)
	}
	if len(demo) > 6<<20 {
		t.Errorf("the model file has %d bytes, want at most 6 MiB in the binary", len(demo))
	}
}
