// Package engine finds and checks what answers a prompt: any server that
// speaks the OpenAI API on this machine or near it.
//
// Start with [Probe] for a known address and [Detect] for whatever runs here.
// [Client] is the pooled HTTP client that roles use towards an engine, and
// [Check] the health probe that decides whether a worker offers itself.
// Requests and answers pass through the worker room; how tokens are made is
// the engine's affair (our own is in engine/builtin).
package engine

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Kinds of engine that [Probe] tells apart. The API is the same; the kind is
// shown to operators and explains an engine's habits.
const (
	VLLM     = "vllm"
	SGLang   = "sglang"
	LlamaCPP = "llama.cpp"
	Ollama   = "ollama"
	LMStudio = "lmstudio"
	Builtin  = "builtin"
	OpenAI   = "openai" // answers /v1/models like OpenAI, maker unknown
)

// ErrNoneFound means that none of the usual ports of this machine answers as
// an engine. Start one, or name its address.
var ErrNoneFound = errors.New("engine: none found on the usual ports; start one or give its base URL")

// Info says what an engine is and serves.
type Info struct {
	// BaseURL has no trailing slash and no /v1: paths of the API are appended.
	BaseURL string `json:"base_url"`
	// Kind is one of the constants of this package.
	Kind string `json:"kind"`
	// Models are the names the engine accepts in the model field.
	Models []string `json:"models"`
}

// Base brings an address as people write it (host:port, a URL, a URL ending
// in /v1) to the form of [Info.BaseURL]. A path prefix is kept.
func Base(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("engine: address does not parse as a URL; want http://host:port")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("engine: address %s, want http://host:port or https://host:port", u.Redacted())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("engine: address %s has a query or fragment, want none", u.Redacted())
	}
	base := strings.TrimRight(u.String(), "/")
	return strings.TrimRight(strings.TrimSuffix(base, "/v1"), "/"), nil
}
