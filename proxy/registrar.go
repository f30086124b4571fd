package proxy

import (
	"context"
	"crypto/sha256"

	"github.com/xssnick/tonutils-go/address"
)

// Registrar knows clients from the chain.
//
//   - Known must say within a few seconds whether the client's contract exists and, if so,
//     the hash of the secret that the client published there. An error means that only the chain
//     could say, and is away; its text is for the client.
//   - Await must return nil once the client has registered on chain with the
//     nonce, or an error when ctx ends first.
//   - Both must be safe for concurrent use.
type Registrar interface {
	Known(wallet *address.Address) (secretHash [32]byte, ok bool, err error)
	Await(ctx context.Context, wallet *address.Address, nonce int64) error
}

// noSecret is what clients without a chain authorise with: nothing.
var noSecret = sha256.Sum256(nil)

func (p *Proxy) known(wallet *address.Address) ([32]byte, bool, error) {
	if p.cfg.Registrar == nil {
		return noSecret, true, nil
	}
	return p.cfg.Registrar.Known(wallet)
}
