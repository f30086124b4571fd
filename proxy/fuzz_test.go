package proxy

import (
	"context"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// messages cuts fuzz input into messages: a byte that says how it is sent, two
// with its length, and its bytes.
func messages(data []byte, f func(how byte, message []byte)) {
	for len(data) >= 3 {
		how, n := data[0], int(binary.LittleEndian.Uint16(data[1:]))
		data = data[3:]
		n = min(n, len(data))
		f(how, data[:n])
		data = data[n:]
	}
}

func pack(how byte, o tl.Object) []byte {
	b := tl.Marshal(o)
	return append(binary.LittleEndian.AppendUint16([]byte{how}, uint16(len(b))), b...)
}

// fuzzPeer lets a peer say anything, and then demands that another client gets its answer from another worker.
func fuzzPeer(t *testing.T, act func(r *rig, w, c *peer)) {
	inBubble(t, func(c *Config) { c.QueueWait = time.Second }, func(r *rig) {
		w := r.worker(workerOptions{version: 4, features: allFeatures, model: "fuzzed"})
		c := r.client(4, allFeatures)
		act(r, w, c)
		synctest.Wait()
		good, other := r.worker(workerOptions{version: 4}), r.client(4, nil)
		good.serve(3)
		other.send(question(1))
		if a := other.answer(requestID(1), true); a.head.StatusCode != 200 {
			t.Errorf("somebody else got status %d", a.head.StatusCode)
		}
	})
}

// say sends raw bytes as a packet, or as a query whose answer does not matter.
func (p *peer) say(how byte, message []byte) {
	if how&1 == 0 {
		p.conn.SendRaw(message)
		return
	}
	ctx, cancel := context.WithTimeout(p.r.t.Context(), time.Minute)
	defer cancel()
	p.conn.Ask(ctx, rawFunction(message))
}

// rawFunction is bytes in the place of a function.
type rawFunction []byte

func (rawFunction) TLID() uint32                { return 0 }
func (rawFunction) TLName() string              { return "raw" }
func (b rawFunction) SizeTL() int               { return len(b) }
func (b rawFunction) AppendTL(to []byte) []byte { return append(to, b...) }
func (rawFunction) DecodeTL(*tl.Reader) error   { return nil }

func FuzzClientPackets(f *testing.F) {
	q := question(5)
	q.ModelName = "fuzzed"
	f.Add(append(pack(0, q), pack(0, &tl.CocoonCancelQuery{RequestID: q.RequestID})...))
	f.Add(append(pack(0, &tl.ClientRunQuery{ModelName: "fuzzed", Query: q.Query, Timeout: 5}), pack(0, q)...))
	f.Add(pack(1, &tl.ClientUpdatePaymentStatus{}))
	f.Add(pack(1, clientHello()))
	f.Add(pack(1, &tl.CocoonGetFeatures{Names: allFeatures}))
	f.Add(pack(1, &tl.ClientGetWorkerTypesV2{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzPeer(t, func(r *rig, w, c *peer) {
			messages(data[:min(len(data), 1<<14)], c.say)
			early := r.dial(r.clients, [32]byte{}) // the same without a handshake
			messages(data[:min(len(data), 1<<14)], early.say)
			early.conn.Close(nil)
		})
	})
}

// A worker's messages get the id of its running request where they have room
// for one, or they would all be about nothing.
func FuzzWorkerPackets(f *testing.F) {
	head := response(200, "", "Content-Type", "text/event-stream")
	f.Add(append(pack(2, &tl.ProxyQueryAnswerEx{Answer: head}), pack(2, &tl.ProxyQueryAnswerPartEx{Answer: []byte("x"), Flags: 1, FinalInfo: final(3)})...))
	f.Add(append(pack(2, &tl.ProxyQueryAnswerEx{Answer: head}), pack(2, &tl.ProxyQueryAnswerPartEx{Answer: []byte("x")})...))
	f.Add(pack(2, &tl.ProxyQueryAnswerErrorEx{ErrorCode: 5, Error: "x", Flags: 1, FinalInfo: final(1)}))
	f.Add(append(pack(2, &tl.CocoonQueryProgress{TokensUsed: used(5)}), pack(0, &tl.WorkerNewCoefficient{NewCoefficient: 700})...))
	f.Add(append(pack(0, &tl.WorkerEnabledDisabled{Disabled: 1}), pack(1, &tl.WorkerUpdatePaymentStatus{})...))
	f.Add(pack(1, workerHello()))
	f.Add(pack(0, &tl.ProxyQueryAnswer{Answer: head, IsCompleted: true, TokensUsed: used(9)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzPeer(t, func(r *rig, w, c *peer) {
			q := question(5)
			q.ModelName = "fuzzed"
			c.send(q)
			id := w.given().RequestID
			messages(data[:min(len(data), 1<<14)], func(how byte, m []byte) {
				if how&2 != 0 && len(m) >= requestIDTo {
					m = append([]byte(nil), m...)
					copy(m[requestIDFrom:], id[:])
				}
				w.say(how, m)
			})
			early := r.dial(r.workers, image)
			messages(data[:min(len(data), 1<<14)], early.say)
			early.conn.Close(nil)
		})
	})
}

func FuzzHead(f *testing.F) {
	f.Add(response(200, "body", "Content-Type", "application/json", "Content-Length", "4"))
	f.Add(response(999, "", "transfer-encoding", "chunked"))
	f.Add(tl.Marshal(httpRequest()))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRequest(data)
		h, err := parseHead(data)
		if err != nil {
			return
		}
		for _, final := range []bool{false, true} {
			var got tl.HTTPResponse
			if err := tl.Unmarshal(h.rewrite(final, time.Unix(1, 0), time.Unix(2, 0)), &got); err != nil {
				t.Errorf("a head became unreadable: %v", err)
			}
			if got.StatusCode != h.status || string(got.Payload) != string(h.payload) {
				t.Errorf("status %d, want %d", got.StatusCode, h.status)
			}
		}
	})
}
