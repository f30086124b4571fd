package client

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/wire"
)

// Field encryption "v1" on behalf of the caller (current.md section 3). It comes
// on top of TLS to an attested proxy and hides texts from what ends that TLS
// before the proxy does, such as a router, and from what a proxy writes down by
// mistake. It hides nothing from the proxy itself, which holds the private keys.
// A body that its app has encrypted travels as it is, in every mode; where
// encryption is demanded, it must be.

// Values of [Config.Encryption].
const (
	// EncryptionOff leaves bodies as they are.
	EncryptionOff = "off"
	// EncryptionAuto encrypts when the registry lists a key that can be used and
	// some connected proxy carries it, and else does not.
	EncryptionAuto = "auto"
	// EncryptionV1 encrypts every request; those that cannot be are refused.
	EncryptionV1 = "v1"
)

// headerEncryption asks for "v1" for one request, and says "v1" in an answer that
// was encrypted all the way here. It can demand more than the configuration, never less.
const headerEncryption = "X-Cocoon-Encryption"

// keyTypeV1 is the type of the registry's keys of field encryption v1.
const keyTypeV1 = 1

const (
	// keyMargin is how long a key should still live: clocks differ, and proxies
	// drop keys when their time is over.
	keyMargin = 5 * time.Minute
	// leastMargin is for want of a better one.
	leastMargin = 15 * time.Second
)

// encryption is the mode for a request with these headers.
func (c *Client) encryption(h http.Header) (string, *openai.Error) {
	switch values := h[headerEncryption]; {
	case len(values) == 0:
		return c.cfg.Encryption, nil
	case len(values) == 1 && values[0] == EncryptionV1:
		return EncryptionV1, nil
	}
	return "", openai.BadRequest(headerEncryption, openai.CodeInvalidValue, "header %s: want v1, which encrypts this request", headerEncryption)
}

// seal encrypts a body with a key pair of its own, if mode wants that. The
// private half is forgotten at once; what opens the answer stays with the request.
func (rq *request) seal(mode string, h http.Header, body []byte) ([]byte, *openai.Error) {
	if rq.options.Encrypted && mode == EncryptionV1 {
		return body, rq.checkSealed(h, body)
	}
	if rq.options.Encrypted || mode == EncryptionOff || mode == EncryptionAuto && !rq.client.carriesKeys() {
		return body, nil
	}
	key, err := rq.client.networkKey()
	if err != nil && mode == EncryptionAuto {
		return body, nil
	}
	if err != nil {
		return nil, openai.Unavailable(codeNoKey, retryAfter, "the request cannot be encrypted: %s", err)
	}
	var app fieldcrypt.Seed
	rand.Read(app[:])
	sealer, err := fieldcrypt.NewSealer(&app, key, fieldcrypt.ToWorker)
	clear(app[:])
	if err != nil {
		return nil, openai.Unavailable(codeNoKey, retryAfter, "the request cannot be encrypted: the registry's key is unusable")
	}
	if rq.path == pathTranscriptions {
		body, err = sealer.SealForm(h.Get("Content-Type"), body)
	} else {
		body, err = sealer.Seal(body)
	}
	if err != nil {
		return nil, openai.BadRequest("", openai.CodeInvalidValue, "the request cannot be encrypted: %s", err)
	}
	rq.options.ReceiverPublicKey, rq.options.Encrypted, rq.opener = key, true, sealer.Reply()
	return body, nil
}

// checkSealed refuses a body that says it is encrypted and is not: whoever
// demands encryption is not to be talked out of it by a member of the body.
func (rq *request) checkSealed(h http.Header, body []byte) *openai.Error {
	var err error
	if rq.path == pathTranscriptions {
		err = fieldcrypt.CheckForm(h.Get("Content-Type"), body)
	} else {
		err = fieldcrypt.Check(body)
	}
	if err != nil {
		return openai.BadRequest("receiver_public_key", openai.CodeInvalidValue, "the request must be encrypted, and its body, which names a key, is not throughout: %s", err)
	}
	return nil
}

const codeNoKey = "no_encryption_key"

// carriesKeys says whether requests can be encrypted as far as the connections go.
func (c *Client) carriesKeys() bool {
	ready, _ := c.readyLinks()
	for _, l := range ready {
		if l.version >= versionKeys {
			return true
		}
	}
	return false
}

// versionKeys is the protocol version from which on messages have room for keys.
const versionKeys = 3

// networkKey picks the key to encrypt for, out of the registry, which is read
// from the chain with its proofs: a peer's word would let it read along. Of those
// that live long enough the one that dies first is taken. So every key serves
// for one hour of its day, whoever steals all keys one day can read one hour of
// what was said before, and proxies have long got it.
func (c *Client) networkKey() (key fieldcrypt.PublicKey, err error) {
	now := c.cfg.Now()
	if err := contract.Stale(c.cfg.Registry, now); err != nil {
		return key, err
	}
	var best, last, shunned *contract.PublicKey
	defer c.lockShunned(now)()
	root := c.cfg.Registry.Root()
	keys := root.PublicKeys
	for i := range keys {
		k := &keys[i]
		if k.Type != keyTypeV1 || len(k.Key) != len(key) || !lives(k, now.Add(leastMargin)) ||
			fieldcrypt.PublicKey(k.Key) == publicTestKey && !root.IsTest {
			continue
		}
		if _, ok := c.shunned[fieldcrypt.PublicKey(k.Key)]; ok {
			shunned = k
			continue
		}
		if lives(k, now.Add(keyMargin)) && (best == nil || k.ExpireAt < best.ExpireAt) {
			best = k
		}
		if last == nil || k.ExpireAt > last.ExpireAt {
			last = k
		}
	}
	if best = cmp.Or(best, last, shunned); best == nil {
		return key, fmt.Errorf("the registry lists no key that can be used, of %d", len(keys))
	}
	return fieldcrypt.PublicKey(best.Key), nil
}

// publicTestKey is the key that test networks of the reference share; everybody
// has its private half.
var publicTestKey = fieldcrypt.PublicKey{
	0xfb, 0x67, 0xd0, 0xfc, 0xd3, 0x38, 0xf2, 0x0e, 0x0d, 0x49, 0x57, 0xd9, 0xe8, 0x2a, 0xdc, 0x10,
	0x1d, 0x2e, 0x35, 0x13, 0xa4, 0x48, 0xa3, 0xab, 0x46, 0x05, 0x2e, 0xe1, 0xb8, 0x8c, 0x58, 0x18,
}

func lives(k *contract.PublicKey, at time.Time) bool { return int64(k.ExpireAt) > at.Unix() }

// shunFor is how long a key is not used that no proxy had.
const shunFor = time.Minute

// lockShunned takes the lock of the shunned keys, and forgets those whose time is over.
func (c *Client) lockShunned(now time.Time) (unlock func()) {
	c.mu.Lock()
	for key, until := range c.shunned {
		if !now.Before(until) {
			delete(c.shunned, key)
		}
	}
	return c.mu.Unlock
}

// unknownKey sees whether a request failed because no proxy had the key, which
// happens while a key manager is away. The caller had no part in choosing it, so it
// is told to try again, and then another key is taken.
func (c *Client) unknownKey(rq *request, a *answer, err error) (*answer, error) {
	f, refused := err.(*failure)
	switch {
	case rq.opener == nil:
		return a, err
	case a != nil && header(a.head, headerError) == strconv.Itoa(wire.CodeError) && a.says(unknownKeyText):
		a.drop()
	case refused && f.code == wire.CodeError && strings.Contains(f.as.Message, unknownKeyText):
	default:
		return a, err
	}
	now := c.cfg.Now()
	unlock := c.lockShunned(now)
	c.shunned[rq.options.ReceiverPublicKey] = now.Add(shunFor)
	unlock()
	return nil, &failure{as: openai.Unavailable(codeNoKey, retryAfter, "the proxy does not have the key that the request was encrypted for; try again")}
}

// unknownKeyText is in every proxy's refusal (current.md section 3.5).
const unknownKeyText = "unknown public key"

// says looks for a text in what has come of an answer.
func (a *answer) says(text string) bool {
	return a.pending != nil && bytes.Contains(bytes.Join(a.pending.chunks, nil), []byte(text))
}
