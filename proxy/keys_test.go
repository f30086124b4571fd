package proxy

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/tl"
)

// ring holds one key.
type ring struct{ public, private [32]byte }

func (k *ring) Private(public [32]byte) ([32]byte, bool) {
	if public != k.public {
		return [32]byte{}, false
	}
	return k.private, true
}
func (k *ring) Count() int { return 1 }

var someKey = &ring{public: [32]byte{1}, private: [32]byte{0x5e, 0xc4, 0xe7, 0xf0}}

func withKey(c *Config) { c.Keys = someKey }

func encrypted(n int) *tl.ClientRunQueryEx {
	q := question(n)
	q.Flags, q.PublicKey = 3, someKey.public
	return q
}

// The worker gets the private half with the question, unchanged, and nobody
// keeps it afterwards.
func TestEncryptedRequest(t *testing.T) {
	for _, version := range []int32{3, 4} {
		inBubble(t, withKey, func(r *rig) {
			w, c := r.worker(workerOptions{version: version}), r.client(4, nil)
			q := encrypted(1)
			c.send(q)
			given := want[*tl.ProxyRunQueryEx](w)
			if given.Flags != 3 || given.PrivateKey != someKey.private || string(given.Query) != string(q.Query) {
				t.Errorf("given flags %d, the key %t, the query %t", given.Flags, given.PrivateKey == someKey.private, string(given.Query) == string(q.Query))
			}
			running := r.p.requests()
			w.head(given.RequestID)
			want[*tl.ClientQueryAnswerEx](c)
			for _, x := range running {
				x.mu.Lock()
				if x.private != (tl.Int256{}) {
					t.Error("the key is kept after the answer has begun")
				}
				x.mu.Unlock()
			}
			if s := r.p.Snapshot(); s.Local.Keys != 1 {
				t.Errorf("%d keys are shown, want 1", s.Local.Keys)
			}
			for _, text := range []string{hex.EncodeToString(someKey.private[:]), hex.EncodeToString(someKey.private[:4])} {
				if log := r.log.String(); log == "" || strings.Contains(log, text) {
					t.Errorf("the log has %d bytes, or holds the key", len(log))
				}
			}
		})
	}
}

// Only workers that have room for the key are asked, also when another is
// cheaper, and also after a failure.
func TestEncryptedRequestNeedsVersion3(t *testing.T) {
	inBubble(t, withKey, func(r *rig) {
		old, first := r.worker(workerOptions{version: 2, coefficient: 10}), r.worker(workerOptions{version: 3, coefficient: 1000})
		c := r.client(4, nil)
		c.send(encrypted(1))
		want[*tl.ProxyRunQueryEx](first)
		first.conn.Close(nil)
		c.answer(requestID(1), false).refusedWith(t, 502, "651", "")
		old.quiet()
		c.send(question(2)) // in the clear, the old one will do
		if q := want[*tl.ProxyRunQueryEx](old); q.Flags != 1 || q.PrivateKey != (tl.Int256{}) {
			t.Errorf("given flags %d", q.Flags)
		}
	})
}

func TestEncryptedRequestWithOldWorkersOnly(t *testing.T) {
	inBubble(t, withKey, func(r *rig) {
		old, c := r.worker(workerOptions{version: 2}), r.client(4, nil)
		c.send(encrypted(1))
		c.answer(requestID(1), false).refusedWith(t, 503, "651", "no_worker")
		old.quiet()
	})
}

// A key of zeros is none, and one that nobody knows is refused (current.md
// section 3.5).
func TestUnknownKey(t *testing.T) {
	inBubble(t, withKey, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		q := encrypted(1)
		q.PublicKey[5] = 1
		c.send(q)
		c.answer(q.RequestID, false).refusedWith(t, 400, "602", "invalid_value")
		c.quiet()
		w.quiet()
		q = encrypted(2)
		q.PublicKey = tl.Int256{}
		c.send(q)
		if given := want[*tl.ProxyRunQueryEx](w); given.PrivateKey != (tl.Int256{}) {
			t.Error("a clear question got a key")
		}
	})
}
