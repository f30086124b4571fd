package settlement

import (
	"encoding/hex"
	"time"

	"github.com/xssnick/tonutils-go/address"
)

// evidence is a line of the evidence file.
type evidence struct {
	At       time.Time `json:"at"`
	Contract string    `json:"contract"`
	Proxy    string    `json:"proxy"`
	Key      string    `json:"proxy_public_key"`
	// Payment is what the proxy signed, empty if it charged it itself.
	Payment []byte `json:"payment,omitempty"`
	Why     string `json:"why"`
}

func (e *evidence) id() string { return e.Contract + hex.EncodeToString(e.Payment) }

// maxEvidence bounds the file: one line proves as much as a thousand.
const maxEvidence = 1000

// Inflated keeps a charge that claims too much as evidence. The proxy gets no
// more money and no more requests.
func (c *Client) Inflated(own *address.Address, payment []byte, why error) {
	if a := c.accountOf(own); a != nil {
		a.dispute(payment, why)
	}
}

// dispute ends the trust in the proxy, and keeps why.
func (a *clientAccount) dispute(payment []byte, why error) {
	c := a.c
	e := evidence{At: c.cfg.Now().UTC(), Contract: a.name, Proxy: a.proxy.StringRaw(), Key: hex.EncodeToString(a.key), Payment: payment, Why: why.Error()}
	c.mu.Lock()
	kept := c.proven[e.id()]
	if !kept && len(c.proven) < maxEvidence {
		c.proven[e.id()] = true
		if err := c.evidence.add(&e); err != nil {
			c.cfg.Log.Error("settlement: evidence cannot be written", "error", err)
		}
	}
	first := a.r.Disputed == ""
	if first {
		a.r.Disputed = why.Error()
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.cfg.Log.Error("settlement: a proxy charges more than was used; it gets no more requests and no more money", "proxy", a.proxy.String(), "client contract", a.address.String(), "why", why)
	if err := c.save(); err != nil {
		c.cfg.Log.Error("settlement: the record cannot be written", "error", err)
	}
}
