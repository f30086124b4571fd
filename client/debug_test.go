package client

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/tl"
)

func debugInfo() tl.ClientQueryFinalInfo {
	return tl.ClientQueryFinalInfo{Flags: 3, ProxyDebug: "{ \"type\":\n\"proxy_stats\",\"x\":1 }", WorkerDebug: "not json", WorkerStartTime: 5, WorkerEndTime: 6.5}
}

// Where the debug record goes in each framing, however the body is cut.
func TestDebugRecord(t *testing.T) {
	const record = `DEBUG`
	for name, c := range map[string]struct{ contentType, body, want string }{
		"json":                {"application/json", `{"a":1}`, `{"a":1,"debug":DEBUG}`},
		"json, line end":      {"application/json", "{\"a\":1}\n", "{\"a\":1,\"debug\":DEBUG}\n"},
		"json, spaces":        {"application/json", "{ \"a\" : 1 }\n\n ", "{ \"a\" : 1 ,\"debug\":DEBUG}\n\n "},
		"two documents":       {"application/json", "{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}\n{\"b\":2,\"debug\":DEBUG}\n"},
		"old debug":           {"application/json", `{"debug":1}`, `{"debug":DEBUG}`},
		"array":               {"application/json", `[1]`, "[1]\n{\"debug\":DEBUG}\n"},
		"text":                {"text/plain", "oh no", "oh no\n{\"debug\":DEBUG}\n"},
		"nothing":             {"application/json", "", "{\"debug\":DEBUG}\n"},
		"lines":               {"application/x-ndjson", "{\"a\":1}\n", "{\"a\":1}\n{\"debug\":DEBUG}\n"},
		"events":              {"text/event-stream", "data: {\"a\":1}\n\ndata: [DONE]\n\n", "data: {\"a\":1}\n\ndata: CHUNK\n\ndata: [DONE]\n\n"},
		"events without done": {"text/event-stream", "data: {\"a\":1}\n\n", "data: {\"a\":1}\n\ndata: CHUNK\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for size := 1; size <= len(c.body)+1; size += max(1, len(c.body)/3) {
				p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
					s.head(q.RequestID, response200(c.contentType))
					for at := 0; at < len(c.body); at += size {
						s.part(q.RequestID, c.body[at:min(at+size, len(c.body))])
					}
					s.send(&tl.ClientQueryAnswerPartEx{RequestID: q.RequestID, Flags: 1, FinalInfo: debugInfo()})
				}}
				client := newNetwork(t, p).startReady(p.net.config())
				_, got := chat(t, client, `{"model":"m","enable_debug":true,"request_guid":"g-`+name+`"}`)
				raw := client.debug.find("g-" + name)
				got = strings.ReplaceAll(got, string(raw), record)
				if at := strings.Index(got, `{"id":"debug"`); at >= 0 {
					chunk, _, _ := strings.Cut(got[at:], "\n")
					checkChunk(t, strings.ReplaceAll(chunk, record, string(raw)))
					got = strings.Replace(got, chunk, "CHUNK", 1)
				}
				if got != c.want {
					t.Errorf("chunks of %d: %q, want %q", size, got, c.want)
				}
				checkRecord(t, raw)
				if !p.seen()[0].EnableDebug {
					t.Error("the wish did not reach the proxy")
				}
			}
		})
	}
}

func checkChunk(t *testing.T, chunk string) {
	t.Helper()
	var doc struct {
		Object  string
		Choices []any
		Debug   map[string]any
	}
	if err := json.Unmarshal([]byte(chunk), &doc); err != nil || doc.Object != "chat.completion.chunk" || doc.Choices == nil || len(doc.Choices) != 0 || doc.Debug["client"] == nil {
		t.Errorf("chunk %s: %v", chunk, err)
	}
}

func checkRecord(t *testing.T, raw []byte) {
	t.Helper()
	var r struct {
		Client, Worker hopRecord
		Proxy          struct {
			Type string
			X    int
		}
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("record %s: %v", raw, err)
	}
	if r.Client.Type != "client_stats" || r.Client.Start == 0 || r.Client.EndAt < r.Client.FirstAt || r.Proxy.Type != "proxy_stats" || r.Proxy.X != 1 ||
		r.Worker != (hopRecord{Type: "worker_stats", Start: 5, EndAt: 6.5}) {
		t.Errorf("record %s", raw)
	}
}

func TestDebugOfAFailedStream(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("text/event-stream"))
		s.part(q.RequestID, "data: 1\n\ndata: [DO")
		s.send(&tl.ClientQueryAnswerErrorEx{RequestID: q.RequestID, ErrorCode: 652})
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	_, got := chat(t, c, `{"model":"m","stream":true,"enable_debug":true}`)
	if at := strings.Index(got, `data: {"error"`); !strings.Contains(got, `"timeout"`) || at >= 0 && !strings.HasPrefix(got, "data: 1\n\ndata: [DO\n\n") {
		t.Errorf("body %q", got)
	}
}

func TestDebugStoreIsBounded(t *testing.T) {
	var s debugStore
	for i := range 3 * maxDebugRecords {
		s.keep(strings.Repeat("x", i+1), []byte{byte(i)})
		s.keep("", []byte("none"))
	}
	if len(s.records) != maxDebugRecords || len(s.order) != maxDebugRecords {
		t.Errorf("%d records, %d in order, want %d", len(s.records), len(s.order), maxDebugRecords)
	}
	if string(s.find("x")) != "{}" || string(s.find("")) != "{}" || len(s.find(strings.Repeat("x", 3*maxDebugRecords))) != 1 {
		t.Error("not the newest were kept")
	}
}

func TestDebugEndpoint(t *testing.T) {
	p := &scriptedProxy{version: 4}
	_, url := newNetwork(t, p).gateway(p.net.config())
	do(t, "POST", url+pathChat, `{"model":"m","enable_debug":true,"request_guid":"a b"}`)
	_, record := do(t, "GET", url+pathDebug+"?request_guid=a+b", "")
	if !strings.Contains(record, "client_stats") {
		t.Errorf("record %s", record)
	}
	if _, none := do(t, "GET", url+pathDebug+"?request_guid=other", ""); none != "{}" {
		t.Errorf("record of an unknown guid: %s", none)
	}
}
