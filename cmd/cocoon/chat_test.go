package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// parrot answers a chat with what was said last and how much was said before.
func parrot(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			fmt.Fprint(w, `{"object":"list","data":[{"id":"parrot","object":"model"}]}`)
			return
		}
		var q chatRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Model != "parrot" || len(q.Messages) == 0 {
			t.Errorf("the server got %+v, %v", q, err)
		}
		last := q.Messages[len(q.Messages)-1].Content
		if last == "refuse" {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":{"message":"all workers are busy","type":"rate_limit_error","param":null,"code":"busy"}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"%s \"}}]}\n\n", last)
		if last == "hang" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		if last == "break" {
			fmt.Fprint(w, "data: {\"error\":{\"message\":\"the worker is gone\",\"type\":\"server_error\"}}\n\n")
			return
		}
		fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"after %d\"}}]}\n\n", len(q.Messages)-1)
		fmt.Fprint(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s
}

func TestConversation(t *testing.T) {
	s := parrot(t)
	var out strings.Builder
	c := &conversation{api: &api{base: s.URL}, chatOptions: chatOptions{model: "parrot", system: "be brief"}, out: &out}
	c.forget()
	in := "one\n\n two \nrefuse\nbreak\n/nwe\n/new\nthree\n/a/path is text\n/quit\nnever\n"
	if err := c.converse(t.Context(), strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	want := "> one after 1\n> > two after 3\n> ! all workers are busy (status 429)\n> break \n! the worker is gone\n> ! unknown command /nwe; /help lists them\n" +
		"> > three after 1\n> /a/path is text after 3\n> \n"
	if got := out.String(); got != want {
		t.Errorf("the conversation went\n%q, want\n%q", got, want)
	}
}

// stopper presses Ctrl-C when the answer has begun.
type stopper struct {
	strings.Builder
	stop chan os.Signal
}

func (s *stopper) Write(p []byte) (int, error) {
	if string(p) == "hang " {
		s.stop <- os.Interrupt
	}
	return s.Builder.Write(p)
}

func TestCtrlCStopsTheAnswer(t *testing.T) {
	out := &stopper{stop: make(chan os.Signal, 1)}
	c := &conversation{api: &api{base: parrot(t).URL}, chatOptions: chatOptions{model: "parrot"}, out: out, stop: out.stop}
	if err := c.converse(t.Context(), strings.NewReader("one\nhang\ntwo\n")); err != nil {
		t.Fatal(err)
	}
	want := "> one after 0\n> hang \n! stopped\n> two after 2\n> \n"
	if got := out.String(); got != want {
		t.Errorf("the conversation went\n%q, want\n%q", got, want)
	}
}

func TestConversationEnds(t *testing.T) {
	c := &conversation{api: &api{base: parrot(t).URL}, chatOptions: chatOptions{model: "parrot"}, out: io.Discard}
	if err := c.converse(t.Context(), strings.NewReader("")); err != nil {
		t.Errorf("at the end of the input: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never, w := io.Pipe()
	defer w.Close()
	if err := c.converse(ctx, never); err != nil {
		t.Errorf("on Ctrl-C: %v", err)
	}
}

func TestChatOnce(t *testing.T) {
	url := parrot(t).URL
	for _, c := range []struct {
		args, in string
		code     int
		out, err string
	}{
		{"chat --url " + url + " hello", "", exitOK, "hello after 0\n", ""},
		{"chat --url " + url + "/v1/ --system x", " from stdin\n", exitOK, "from stdin after 1\n", ""},
		{"chat --url " + url + " --json hello", "", exitOK, `"total_tokens": 3`, ""},
		{"chat --url " + url, "\n", exitUsage, "", "nothing to say"},
		{"chat --url " + url + " refuse", "", exitFailure, "", "cocoon chat: all workers are busy (status 429)\n"},
		{"chat --url " + url + " break", "", exitFailure, "break \n", "cocoon chat: the worker is gone\n"},
	} {
		var out, errOut strings.Builder
		code := run(t.Context(), strings.Fields(c.args), strings.NewReader(c.in), &out, &errOut)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errOut.String(), c.err) {
			t.Errorf("%s: exit %d, %q, %q; want %d, %q, %q", c.args, code, &out, &errOut, c.code, c.out, c.err)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"<html>", "holds no choice"}, {"{}", "holds no choice"}, {"", "holds no choice"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.body) }))
		a := &api{base: s.URL}
		_, err := a.chat(t.Context(), chatRequest{Model: "m"}, func(string) {})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.body, err, c.want)
		}
		s.Close()
	}
}
