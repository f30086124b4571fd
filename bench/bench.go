// Package bench measures a network from outside: requests per second,
// latency, how late each streamed chunk arrives, and what that costs each
// process. It measures the same load straight at the engine in the same
// minute, so that ratios hold on a noisy machine.
//
// Start with [Load.Run] for one measurement and [Standard] for the table that
// `cocoon bench` prints. [Engine] is the engine to measure against: it
// answers at once or in timed chunks, and is much cheaper than what it is
// used to measure. The load generator speaks HTTP/1.1 by hand for the same
// reason; it is no general HTTP client.
package bench

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Load is one measurement to make. The zero value of an optional field means
// what its comment says; URL and Model are required.
type Load struct {
	// URL is an OpenAI base URL, with or without "/v1".
	URL string
	// Model is the model to ask for.
	Model string
	// Connections is how many keep-alive connections work in parallel; 0 is 1.
	Connections int
	// Rate is the number of requests per second to begin whatever happens to
	// earlier ones (open loop). 0 begins the next when the last has ended
	// (closed loop).
	Rate float64
	// Duration ends the measurement, after the warm-up; 0 means 5 s.
	Duration time.Duration
	// Requests ends it earlier, after so many with those of the warm-up; 0
	// means no such limit.
	Requests int64
	// WarmUp is run before and not counted; 0 means none.
	WarmUp time.Duration
	// Stream asks for server-sent events.
	Stream bool
	// Chunks and Every ask an [Engine] for so many chunks, so far apart;
	// other engines see them as max_tokens and words of the prompt.
	Chunks int
	Every  time.Duration
	// Timeout ends a request that hangs, as an error; 0 means 60 s.
	Timeout time.Duration
	// APIKey is sent as bearer token if not empty.
	APIKey string
	// Window is called when counting begins and when it has ended, to sample
	// the cost of processes. Nil means nobody wants to know.
	Window func()
}

func (l Load) withDefaults() Load {
	l.Connections = max(l.Connections, 1)
	if l.Duration <= 0 {
		l.Duration = 5 * time.Second
	}
	if l.Timeout <= 0 {
		l.Timeout = time.Minute
	}
	return l
}

// target is where a load goes and the bytes of its one request.
type target struct {
	address string // host:port
	tls     bool
	host    string
	request []byte
}

func (l Load) target() (*target, error) {
	u, err := url.Parse(l.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("bench: base URL %q: want http://host:port/v1", l.URL)
	}
	t := &target{address: u.Host, tls: u.Scheme == "https", host: u.Hostname()}
	if u.Port() == "" {
		t.address += map[bool]string{false: ":80", true: ":443"}[t.tls]
	}
	path := strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v1") + "/v1/chat/completions"
	body := l.body()
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, u.Host, len(body))
	if l.APIKey != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", l.APIKey)
	}
	b.WriteString("\r\n")
	b.Write(body)
	t.request = []byte(b.String())
	return t, nil
}

func (l Load) body() []byte {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	text := "Say hello."
	if l.Every > 0 {
		text += " " + everyMark + l.Every.String()
	}
	body, _ := json.Marshal(struct { // strings and numbers always marshal
		Model     string    `json:"model"`
		Messages  []message `json:"messages"`
		MaxTokens int       `json:"max_tokens"`
		Stream    bool      `json:"stream,omitempty"`
	}{l.Model, []message{{"user", text}}, max(l.Chunks, 1), l.Stream})
	return body
}
