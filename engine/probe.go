package engine

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// usual are the ports engines listen on when nobody says otherwise, best
// first: vLLM, SGLang, llama.cpp, Ollama, LM Studio.
var usual = []int{8000, 30000, 8080, 11434, 1234}

// detectTimeout is how long a local port may take to prove itself.
const detectTimeout = 2 * time.Second

// owners maps the owned_by field of /v1/models to the engine that writes it.
var owners = map[string]string{
	"vllm": VLLM, "sglang": SGLang, "llamacpp": LlamaCPP, "library": Ollama,
	"organization_owner": LMStudio, "organization-owner": LMStudio, "cocoon": Builtin,
}

// habits are paths that only one kind answers, for engines whose model list
// is empty or names another owner.
var habits = []struct{ path, kind string }{
	{"/api/version", Ollama},
	{"/get_model_info", SGLang},
	{"/props", LlamaCPP},
	{"/api/v0/models", LMStudio},
	{"/version", VLLM},
}

// Probe asks the engine at address what it is and serves. A nil client means
// one of its own. The error says whether nobody answered or somebody who is
// no engine.
func Probe(ctx context.Context, address string, client *http.Client) (*Info, error) {
	base, err := Base(address)
	if err != nil {
		return nil, err
	}
	if client == nil {
		client = Client(1)
		defer client.CloseIdleConnections()
	}
	header, body, err := get(ctx, client, base+"/v1/models")
	if err != nil {
		return nil, err
	}
	list, err := parseModels(body)
	if err != nil {
		return nil, err
	}
	info := &Info{BaseURL: base, Kind: kindOf(header, list)}
	for _, m := range list.Data {
		info.Models = append(info.Models, m.ID)
	}
	if info.Kind == OpenAI {
		info.Kind = kindByHabit(ctx, base, client)
	}
	return info, nil
}

func kindOf(h http.Header, list *modelList) string {
	server := strings.ToLower(h.Get("Server"))
	switch {
	case strings.Contains(server, "llama.cpp"):
		return LlamaCPP
	case strings.Contains(server, "cocoon"):
		return Builtin
	}
	for _, m := range list.Data {
		if kind, ok := owners[strings.ToLower(m.OwnedBy)]; ok {
			return kind
		}
	}
	return OpenAI
}

func kindByHabit(ctx context.Context, base string, client *http.Client) string {
	for _, h := range habits {
		header, _, err := get(ctx, client, base+h.path)
		if err == nil && strings.Contains(header.Get("Content-Type"), "json") {
			return h.kind
		}
	}
	return OpenAI
}

// Detect probes the usual ports of this machine and returns the first engine
// in their order of preference, or [ErrNoneFound].
func Detect(ctx context.Context) (*Info, error) {
	addresses := make([]string, len(usual))
	for i, port := range usual {
		addresses[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	return detect(ctx, addresses)
}

func detect(ctx context.Context, addresses []string) (*Info, error) {
	ctx, cancel := context.WithTimeout(ctx, detectTimeout)
	defer cancel()
	found := make([]*Info, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() { found[i], _ = Probe(ctx, address, nil) })
	}
	wg.Wait()
	for _, info := range found {
		if info != nil {
			return info, nil
		}
	}
	return nil, ErrNoneFound
}
