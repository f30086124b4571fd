package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/opencocoon/cocoon/openai"
)

const (
	// maxModelList bounds the body of /v1/models and of the other probes.
	maxModelList = 1 << 20
	// probeTimeout ends a probe whose caller set no earlier deadline.
	probeTimeout = 10 * time.Second
)

// Client returns an HTTP client for one engine that is asked by up to
// concurrency requests at a time. Connections are kept alive and as many stay
// idle as may be needed at once, so a steady load dials nothing. It follows no
// redirect (an engine that redirects would get prompts sent elsewhere),
// asks for no compression and uses no proxy of the environment.
func Client(concurrency int) *http.Client {
	concurrency = max(concurrency, 1)
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			MaxIdleConns:           concurrency + 2,
			MaxIdleConnsPerHost:    concurrency + 2, // + health probe
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Check asks for /v1/models and returns nil iff the answer is a complete 200.
// The body's content does not matter. Without a deadline in ctx it takes at
// most ten seconds.
func Check(ctx context.Context, base string, client *http.Client) error {
	_, _, err := get(ctx, client, base+"/v1/models")
	return err
}

// Learn is [Check], and takes from the same answer what the engine says that its model can do: the
// context as vLLM and SGLang name it, and the abilities as the built-in engine does. What it does not say, and what
// cannot be, is unknown.
func Learn(ctx context.Context, base, model string, client *http.Client) (openai.Facts, error) {
	_, body, err := get(ctx, client, base+"/v1/models")
	if err != nil {
		return openai.Facts{}, err
	}
	return factsOf(body, model), nil
}

func factsOf(body []byte, model string) (f openai.Facts) {
	var list struct {
		Data []struct {
			ID           string   `json:"id"`
			MaxModelLen  int      `json:"max_model_len"`
			Capabilities []string `json:"capabilities"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &list) != nil {
		return f
	}
	for _, m := range list.Data {
		if m.ID == model || len(list.Data) == 1 {
			can, _ := openai.ParseAbilities(m.Capabilities)
			f = openai.Facts{Context: m.MaxModelLen, Can: can}
		}
	}
	if f.Check() != nil {
		return openai.Facts{}
	}
	return f
}

// get returns header and body of a 200 answer.
func get(ctx context.Context, client *http.Client, url string) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, errors.New("engine: address is not a URL") // which may hold a password
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("engine: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxModelList+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("engine: %s: %w", req.URL.Redacted(), err)
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("engine: %s answers %d, want 200", req.URL.Redacted(), resp.StatusCode)
	case len(body) > maxModelList:
		return nil, nil, fmt.Errorf("engine: %s is longer than %d bytes", req.URL.Redacted(), maxModelList)
	}
	return resp.Header, body, nil
}

// modelList is the part of /v1/models that a probe reads.
type modelList struct {
	Data []struct {
		ID      string `json:"id"`
		OwnedBy string `json:"owned_by"`
	} `json:"data"`
}

var errNotModels = errors.New("engine: /v1/models is not a list of models; is this an OpenAI-compatible server?")

func parseModels(body []byte) (*modelList, error) {
	var list *modelList
	if err := json.Unmarshal(body, &list); err != nil || list == nil || list.Data == nil {
		return nil, errNotModels
	}
	return list, nil
}
