package client

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"github.com/opencocoon/cocoon/openai"
)

// Engines keep what they have read of a conversation, so the worker that
// answered its beginning answers the rest sooner. The proxy finds that worker by a digest that is made
// here, under a key that is made at each start and never leaves this process, and of each proxy another: it can tell that two
// requests of this gateway begin alike, and nothing of how they begin, not even by guessing. Gateways of other
// people make other digests of the same words.

// leastPrefix is how long a body must be for its beginning to be worth finding
// again, in bytes.
const leastPrefix = 2 << 10

// mostPrefix is as much of one message as tells it from others, in bytes: who
// sends a document twice wants the worker that has read it, whatever he asks
// at its end.
const mostPrefix = 64 << 10

// affinityKey is the secret of one gateway.
type affinityKey [32]byte

func newAffinityKey() (k affinityKey) {
	rand.Read(k[:])
	return k
}

// beginning is a hash of how the conversation in a body begins: the model, the tools, and the
// messages up to the first of the user, of each no more than mostPrefix; of a plain prompt its first bytes. ok is false if that
// cannot be told, or is not worth it.
func beginning(path, model string, body []byte) (sum [sha256.Size]byte, ok bool) {
	if len(body) < leastPrefix || path == pathTranscriptions {
		return sum, false
	}
	doc, err := openai.ParseObject(body)
	if err != nil {
		return sum, false
	}
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	part([]byte(model))
	part(doc.Get("tools"))
	if prompt := doc.Get("prompt"); path == pathCompletions {
		if len(prompt) < leastPrefix {
			return sum, false
		}
		part(prompt[:leastPrefix])
		return [sha256.Size]byte(h.Sum(nil)), true
	}
	for message := range openai.Elements(doc.Get("messages")) {
		part(message[:min(len(message), mostPrefix)])
		m, err := openai.ParseObject(message)
		if err != nil {
			return sum, false
		}
		if string(m.Get("role")) == `"user"` {
			return [sha256.Size]byte(h.Sum(nil)), true
		}
	}
	return sum, false
}

// digest is what one proxy is told of it.
func (k *affinityKey) digest(proxy []byte, sum *[sha256.Size]byte) []byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write(proxy)
	mac.Write(sum[:])
	return mac.Sum(nil)[:16]
}
