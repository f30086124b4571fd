package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// recording plays the proxy of testdata/reference: it answers each kind of
// question as the reference's proxy did, and the n-th query with what that
// sent for its n-th, under our request's id.
type recording struct {
	t       testing.TB
	answers map[uint32]tl.Object // by the question's kind
	queries []recordedQuery

	mu  sync.Mutex
	got []*tl.ClientRunQueryEx
}

type recordedQuery struct {
	asked *tl.ClientRunQueryEx
	parts [][]byte
}

func readRecording(t testing.TB) *recording {
	file, err := os.Open("testdata/reference/proxy_clients.frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := &recording{t: t, answers: map[uint32]tl.Object{}}
	asked := map[int64]uint32{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 7 || f[3] != "TL" {
			continue
		}
		frame, err := hex.DecodeString(f[6])
		if err != nil {
			t.Fatal(err)
		}
		object, err := tl.Decode(frame[8:])
		if err != nil {
			t.Fatalf("frame %s: %v", f[0], err)
		}
		r.note(object, asked)
	}
	return r
}

func (r *recording) note(object tl.Object, asked map[int64]uint32) {
	switch m := object.(type) {
	case *tl.TCPQuery:
		asked[m.ID] = tl.PeekID(m.Data)
	case *tl.TCPQueryAnswer:
		if kind := asked[m.ID]; r.answers[kind] == nil {
			r.answers[kind], _ = tl.Decode(m.Data)
		}
	case *tl.TCPPacket:
		if q := new(tl.ClientRunQueryEx); tl.Unmarshal(m.Data, q) == nil {
			r.queries = append(r.queries, recordedQuery{asked: q})
			return
		}
		last := &r.queries[len(r.queries)-1]
		last.parts = append(last.parts, m.Data)
	}
}

func (r *recording) Query(_ *wire.Conn, q *wire.Query) {
	if answer := r.answers[tl.PeekID(q.Data)]; answer != nil {
		q.Answer(answer)
		return
	}
	q.Fail(0, "Lost promise")
}

func (r *recording) Packet(conn *wire.Conn, data []byte) {
	q := new(tl.ClientRunQueryEx)
	if err := tl.Unmarshal(data, q); err != nil {
		r.t.Errorf("client sent: %v", err)
		return
	}
	r.mu.Lock()
	recorded := r.queries[len(r.got)]
	r.got = append(r.got, q)
	r.mu.Unlock()
	for _, part := range recorded.parts {
		conn.SendRaw(bytes.ReplaceAll(part, recorded.asked.RequestID[:], q.RequestID[:]))
	}
}

func (r *recording) Closed(*wire.Conn, error) {}

// Our client against everything that a proxy of the reference said: contract
// addresses, signed payments, answers, refusals.
func TestAgainstTheReferencesProxy(t *testing.T) {
	r := readRecording(t)
	text, err := os.ReadFile("testdata/reference/fake-ton-config.json")
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, registry: contract.NewMemory(root), proxies: map[string]*scriptedProxy{}}
	c := n.start(Config{
		Registry: n.registry, InsecureEmptySecret: true, Log: testLog(t),
		Wallet: "UQCdj43bBDyeJlfe6FVSpWLfsDMp4YHbmz5lca5-tNz-fx20", RootAddress: "EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ",
		Dial: func(context.Context, string) (net.Conn, *ratls.Peer, error) {
			near, far := net.Pipe()
			go func() {
				if conn, err := wire.Server(context.Background(), far, r, wire.Config{}); err == nil {
					conn.Start()
				}
			}()
			return near, &ratls.Peer{}, nil
		},
	})
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	models, err := c.Models(t.Context())
	if err != nil || len(models) != 1 || models[0].ID != "Qwen/Qwen3-8B" || models[0].Workers[0] != (openai.ModelWorker{Coefficient: 1000, MaxRunningRequests: 60}) {
		t.Errorf("models %+v, %v", models, err)
	}
	replay(t, c, r)
	s := c.Snapshot()
	if len(s.Accounts) != 1 || s.Accounts[0].Counted != 268+134 || s.Stats.Success[0] != 3 || s.Stats.LateParts[0] != 0 {
		t.Errorf("accounts %+v, stats %+v", s.Accounts, s.Stats)
	}
}

func replay(t *testing.T, c *Client, r *recording) {
	t.Helper()
	plain, _ := os.ReadFile("testdata/reference/http_nonstream.body")
	stream, _ := os.ReadFile("testdata/reference/http_stream.body")
	for i, want := range []struct {
		status int
		body   string
	}{{200, string(plain)}, {200, string(stream)}, {200, ""}, {404, ""}, {400, ""}} {
		theirs := r.queries[i].asked
		request := new(tl.HTTPRequest)
		if err := tl.Unmarshal(theirs.Query, request); err != nil {
			t.Fatal(err)
		}
		body := string(request.Payload)
		if theirs.EnableDebug {
			// Private members that the reference's client had taken out.
			body = strings.Replace(body, "{", fmt.Sprintf(`{"enable_debug":true,"max_coefficient":%d,`, theirs.MaxCoefficient), 1)
		}
		res, got := chat(t, c, body)
		if res.StatusCode != want.status || want.body != "" && got != want.body {
			t.Errorf("query %d: %d %q, want %d %q", i, res.StatusCode, got, want.status, want.body)
		}
		ours := r.got[i]
		if ours.ModelName != theirs.ModelName || ours.MaxTokens != theirs.MaxTokens || ours.MaxCoefficient != theirs.MaxCoefficient || ours.EnableDebug != theirs.EnableDebug ||
			ours.Flags != theirs.Flags || ours.MinConfigVersion != theirs.MinConfigVersion {
			t.Errorf("query %d: we ask %+v, the reference asked %+v", i, ours, theirs)
		}
		if theirs.EnableDebug && (!strings.Contains(got, `"debug":{"client":{"type":"client_stats"`) || strings.Count(got, "worker_stats") != 1) {
			t.Errorf("debug answer %s", got)
		}
	}
	if !slices.ContainsFunc(r.queries, func(q recordedQuery) bool { return q.asked.EnableDebug }) {
		t.Error("the recording has lost its debug query")
	}
}
