package enginetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const streaming = `{"model":"fake/model","messages":[],"stream":true,"stream_options":{"include_usage":true}}`

func ask(t *testing.T, s *Server, body string) (*http.Response, string, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestScripts(t *testing.T) {
	for _, c := range []struct {
		name        string
		script      Script
		body        string
		status      int
		contentType string
		want        []string
		never       string
		cut         bool
	}{
		{"fast", Fast(), `{}`, 200, "application/json", []string{`"total_tokens":13`}, "data:", false},
		{"fast stream", Fast(), streaming, 200, "text/event-stream", []string{"data: {", "[DONE]", `"usage"`}, "", false},
		{"chunks", Chunks(3, 0), streaming, 200, "text/event-stream", []string{"tok0", "tok2", `"completion_tokens":3`, "[DONE]"}, "tok3", false},
		{"chunks unasked", Chunks(1, 0), `{"stream":true}`, 200, "text/event-stream", []string{"tok0"}, "usage", false},
		{"chunks plain", Chunks(2, 0), `{}`, 200, "application/json", []string{"tok0 tok1", `"total_tokens":13`}, "data:", false},
		{"ndjson", NDJSON(2, 0), streaming, 200, "application/x-ndjson", []string{"tok1", `"usage"`}, "data:", false},
		{"silent", Silent(2), streaming, 200, "text/event-stream", []string{"tok1", "[DONE]"}, "usage", false},
		{"liar", Liar(2, `{"prompt_tokens":9}`, `{"prompt_tokens":-1}`), streaming, 200, "text/event-stream", []string{`"prompt_tokens":9`, `"prompt_tokens":-1`}, "", false},
		{"html", HTML(502), `{}`, 502, "text/html; charset=utf-8", []string{"<html>"}, "", false},
		{"garbage", Garbage(), `{}`, 200, "application/json", []string{"never cl"}, "}]}}", false},
		{"refuse member", RefuseMember("stream_options", Fast()), streaming, 400, "application/json", []string{"stream_options"}, "", false},
		{"refuse other", RefuseMember("top_k", Fast()), streaming, 200, "text/event-stream", []string{"[DONE]"}, "", false},
		{"wrong type", WrongType(1), streaming, 200, "application/json", []string{"data: {"}, "", false},
		{"huge", Huge(100_000), `{}`, 200, "application/json", []string{"xxxx"}, "", false},
		{"lower", Spelled("content-length", `{"a":1}`), `{}`, 200, "application/json", []string{`{"a":1}`}, "", false},
		{"dies", DieAfter(2), streaming, 200, "text/event-stream", []string{"tok1"}, "tok2", true},
		{"dies plain", DieAfter(2), `{}`, 200, "application/json", []string{"tok0"}, "", true},
		{"slow head", SlowHead(time.Millisecond), `{}`, 200, "application/json", []string{"tok2"}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body, err := ask(t, New(t, c.script), c.body)
			if (err != nil) != c.cut {
				t.Fatalf("error %v, want cut %v", err, c.cut)
			}
			if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.contentType {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, resp.Header.Get("Content-Type"), c.status, c.contentType)
			}
			for _, want := range c.want {
				if !strings.Contains(body, want) {
					t.Errorf("%q lacks %q", body, want)
				}
			}
			if c.never != "" && strings.Contains(body, c.never) {
				t.Errorf("%q contains %q", body, c.never)
			}
		})
	}
}

func TestCancellationIsAnEvent(t *testing.T) {
	for name, script := range map[string]Script{"head": HangHead(), "mid-stream": HangAfter(1)} {
		s := New(t, script)
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+"/x/v1/chat/completions", strings.NewReader(streaming))
		done := make(chan error, 1)
		go func() {
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			done <- err
		}()
		q, err := s.Next(t.Context())
		if err != nil || string(q.Payload) != streaming || q.URL.Path != "/x/v1/chat/completions" {
			t.Fatalf("%s: saw %v, %v", name, q, err)
		}
		cancel()
		<-q.Cancelled
		<-q.Ended
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: caller got %v", name, err)
		}
	}
}

func TestFinishedIsNotCancelled(t *testing.T) {
	s := New(t, Fast())
	if _, _, err := ask(t, s, `{}`); err != nil {
		t.Fatal(err)
	}
	q := s.Requests()[0]
	<-q.Ended
	select {
	case <-q.Cancelled:
		t.Error("a complete answer counts as cancelled")
	default:
	}
	if s.Count() != 1 {
		t.Errorf("count %d, want 1", s.Count())
	}
}
