package proxy

import (
	"bufio"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/tl"
)

// frame is one line of a recording.
type frame struct {
	at       float64
	worker   bool // on the workers' door
	outgoing bool // said by the proxy
	o        tl.Object
}

func recording(t *testing.T, file string, worker bool) (list []frame) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		x := strings.Fields(lines.Text())
		if len(x) != 7 || x[3] != "TL" {
			continue
		}
		at, err := strconv.ParseFloat(x[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(x[6])
		if err != nil {
			t.Fatal(err)
		}
		o, err := tl.Decode(raw[8:])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, frame{at, worker, x[2] == "proxy", o})
	}
	if len(list) < 20 {
		t.Fatalf("%s holds %d frames", file, len(list))
	}
	return list
}

// plain is an object without what must differ: signatures, how far they have
// come, times, and the ids that the proxy chooses.
func plain(t *testing.T, o tl.Object) string {
	t.Helper()
	switch m := o.(type) {
	case *tl.ClientConnectedToProxy:
		return fmt.Sprintf("%s %+v %s %+v", m.TLName(), m.Params, m.ClientScAddress, m.Auth.(*tl.ClientProxyConnectionAuthShort).SecretHash)
	case *tl.ClientAuthorizationWithProxySuccess:
		return fmt.Sprintf("%s %T %d", m.TLName(), m.SignedPayment, m.MaxTokens)
	case *tl.ClientPaymentStatus:
		return fmt.Sprintf("%s %T %d", m.TLName(), m.SignedPayment, m.MaxTokens)
	case *tl.ClientWorkerTypesV2:
		return fmt.Sprintf("%s %+v", m.TLName(), m.Types)
	case *tl.ClientQueryAnswerEx:
		var h tl.HTTPResponse
		if err := tl.Unmarshal(m.Answer, &h); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%s %x %d %s %d %q", m.TLName(), m.RequestID, h.StatusCode, h.HTTPVersion, m.Flags, h.Payload)
		for _, x := range h.Headers {
			if strings.HasPrefix(x.Name, "X-Cocoon-Proxy-") {
				x.Value = "time"
			}
			text += fmt.Sprintf(" %s=%s", x.Name, x.Value)
		}
		return text
	case *tl.ClientQueryAnswerPartEx:
		i := m.FinalInfo
		return fmt.Sprintf("%s %x %q %d %d %+v worker %.6f %.6f debug %s proxy %v", m.TLName(), m.RequestID, m.Answer, m.Flags, i.Flags, i.TokensUsed,
			i.WorkerStartTime, i.WorkerEndTime, i.WorkerDebug, i.ProxyDebug != "")
	case *tl.ProxyClientRequestPayment:
		return fmt.Sprintf("%s %x %T %d %d", m.TLName(), m.RequestID, m.SignedPayment, m.MaxTokens, m.RequestTokens)
	case *tl.WorkerConnectedToProxy:
		return fmt.Sprintf("%s %+v %s", m.TLName(), m.Params, m.WorkerScAddress)
	case *tl.WorkerCompareBalanceWithProxyResult:
		return fmt.Sprintf("%s %T %d %d", m.TLName(), m.SignedPayment, m.MaxTokens, m.ErrorCode)
	case *tl.WorkerPaymentStatus:
		return fmt.Sprintf("%s %T %d", m.TLName(), m.SignedPayment, m.MaxTokens)
	case *tl.ProxyRunQueryEx:
		return fmt.Sprintf("%s %x %d %.3f %d %v", m.TLName(), m.Query, m.Coefficient, m.Timeout, m.Flags, m.EnableDebug)
	case *tl.ProxyWorkerRequestPayment:
		return fmt.Sprintf("%s %T %d %d %s", m.TLName(), m.SignedPayment, m.MaxTokens, m.RequestTokens, m.RequestClientOwner)
	}
	return o.TLName()
}

// asWe turns what the recorded proxy said into what this one says: the two
// forms of refusal become the one that clients survive.
func asWe(t *testing.T, o tl.Object) []string {
	t.Helper()
	switch o.(type) {
	case *tl.ClientQueryAnswerError, *tl.ClientQueryAnswerErrorEx:
		return []string{"error head", "error body"}
	}
	return []string{plain(t, o)}
}

// said is what this proxy has sent to a peer, in the same words.
func said(t *testing.T, objects []tl.Object) (list []string) {
	t.Helper()
	errorBody := false
	for _, o := range objects {
		switch m := o.(type) {
		case *tl.ClientQueryAnswerEx:
			var h tl.HTTPResponse
			if err := tl.Unmarshal(m.Answer, &h); err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(h.Headers, func(x tl.HTTPHeader) bool { return x.Name == "X-Cocoon-Error" && x.Value == "621" }) {
				errorBody = true
				list = append(list, "error head")
				continue
			}
		case *tl.ClientQueryAnswerPartEx:
			if errorBody {
				errorBody = false
				if _, ok := openaiError(string(m.Answer)); !ok || m.Flags != 1 || m.FinalInfo.TokensUsed != (tl.TokensUsed{}) {
					t.Errorf("body of an error: %+v", m)
				}
				list = append(list, "error body")
				continue
			}
		}
		list = append(list, plain(t, o))
	}
	return list
}

// stream is one direction of one connection: answers to queries, or packets.
// How the two interleave is a matter of milliseconds.
type stream struct{ worker, answers bool }

// The recorded peers speak to this proxy, which has the recorded key, owner
// and registry. It must say the same to them, word for word, in the same order.
func TestRecordedSessions(t *testing.T) {
	frames := append(recording(t, "testdata/clients.frames.txt", false), recording(t, "testdata/workers.frames.txt", true)...)
	slices.SortStableFunc(frames, func(a, b frame) int { return cmp.Compare(a.at, b.at) })
	registry, err := os.ReadFile("testdata/registry.json")
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := contract.Parse(registry)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := base64.StdEncoding.DecodeString("ml+7xELuOQtfp9q9mSWtHiSWx5aSBV6p3xCfwPmHOwY=")
	if err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(c *Config) {
		c.Registry, c.Key = contract.NewMemory(root), ed25519.NewKeyFromSeed(seed)
	}, func(r *rig) {
		peers := map[bool]*peer{false: r.dial(r.clients, image), true: r.dial(r.workers, image)}
		heard, wanted := map[stream][]tl.Object{}, map[stream][]string{}
		ids := map[tl.Int256]tl.Int256{} // the recorded proxy's request id to ours
		var given []tl.Int256
		hear := func() {
			synctest.Wait()
			for worker, p := range peers {
				for len(p.in) > 0 {
					o := <-p.in
					if q, ok := o.(*tl.ProxyRunQueryEx); ok {
						given = append(given, q.RequestID)
					}
					heard[stream{worker, false}] = append(heard[stream{worker, false}], o)
				}
			}
		}
		recorded := 0
		for _, f := range frames {
			switch o := f.o.(type) {
			case *tl.TCPQuery:
				fn, err := tl.Decode(o.Data)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := peers[f.worker].ask(fn)
				if err != nil {
					t.Fatalf("%s: %v", fn.TLName(), err)
				}
				heard[stream{f.worker, true}] = append(heard[stream{f.worker, true}], answer)
				hear() // what the proxy does right behind an answer is done before the next message, as it was when this was recorded
			case *tl.TCPQueryAnswer:
				m, err := tl.Decode(o.Data)
				if err != nil {
					t.Fatal(err)
				}
				wanted[stream{f.worker, true}] = append(wanted[stream{f.worker, true}], asWe(t, m)...)
			case *tl.TCPPacket:
				m, err := tl.Decode(o.Data)
				if err != nil {
					t.Fatal(err)
				}
				if f.outgoing {
					if q, ok := m.(*tl.ProxyRunQueryEx); ok {
						if recorded >= len(given) {
							t.Fatalf("the recorded proxy gave the worker request %d, this one did not", recorded)
						}
						ids[q.RequestID] = given[recorded]
						recorded++
					}
					wanted[stream{f.worker, false}] = append(wanted[stream{f.worker, false}], asWe(t, m)...)
					continue
				}
				peers[f.worker].send(translate(m, ids))
				hear()
			}
		}
		time.Sleep(time.Second) // of the bubble's time: payments leave a little later than answers
		hear()
		for s, want := range wanted {
			got := said(t, heard[s])
			for i := range max(len(got), len(want)) {
				var g, w string
				if i < len(got) {
					g = got[i]
				}
				if i < len(want) {
					w = want[i]
				}
				if g != w {
					t.Errorf("message %d of %+v\n got %s\nwant %s", i, s, g, w)
				}
			}
		}
		if recorded != 4 || len(wanted[stream{false, false}]) < 15 {
			t.Errorf("%d requests, %d messages to the client: the recording was not played", recorded, len(wanted[stream{false, false}]))
		}
	})
}

// translate gives a worker's message the id that this proxy chose.
func translate(o tl.Object, ids map[tl.Int256]tl.Int256) tl.Object {
	switch m := o.(type) {
	case *tl.ProxyQueryAnswerEx:
		m.RequestID = ids[m.RequestID]
	case *tl.ProxyQueryAnswerPartEx:
		m.RequestID = ids[m.RequestID]
	case *tl.ProxyQueryAnswerErrorEx:
		m.RequestID = ids[m.RequestID]
	}
	return o
}
