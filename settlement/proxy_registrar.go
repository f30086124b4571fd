package settlement

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

const (
	// maxReads bounds the reading of contracts on behalf of those who connect:
	// of clients that the ledger knows, and of strangers.
	maxReads = 16
	// absentFor is how long a wallet without a contract is not looked up again.
	// One that gets a contract is heard of by what it says on the chain.
	absentFor = 30 * time.Second
	// readLimit is how long somebody who connects waits for the chain.
	readLimit = 3 * time.Second
	// maxNonces is how many of a client's latest words are remembered, and
	// maxSaid how many clients'.
	maxNonces, maxSaid = 8, 10_000
)

// noSecret is the hash of the empty secret, which anybody can guess.
var noSecret = sha256.Sum256(nil)

// Known implements the proxy's registrar: the hash of the secret that the
// client's contract publishes. A client that the proxy has not heard of is
// looked up on the chain, which takes a moment. One without a secret, or
// with the empty one, is not known by it: it must register. While the chain is
// away it could not be seen to do so, and would pay for that in vain: then the
// error is a contract.AwayError.
func (p *Proxy) Known(wallet *address.Address) (hash [32]byte, ok bool, err error) {
	g := p.currentGeneration()
	if g == nil {
		return hash, false, nil
	}
	s, ok := p.secretOf(g, wallet)
	if !ok {
		s, ok = p.lookUp(g, wallet)
	}
	known := ok && s.hash != [32]byte{} && s.hash != noSecret
	if out := ton.OutageOf(p.cfg.Chain); !known && out.Away() {
		return hash, false, &contract.AwayError{Since: out.Since, What: "a client that this proxy has not seen on it yet can be let in when it is back; use another proxy, or try again then"}
	}
	return s.hash, known, nil
}

// lookUp reads a client that was not heard of.
func (p *Proxy) lookUp(g *generation, wallet *address.Address) (s secret, ok bool) {
	if p.absent(g, wallet) || ton.OutageOf(p.cfg.Chain).Away() {
		return s, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	reads := p.readsFor(g, wallet)
	select {
	case reads <- struct{}{}:
		defer func() { <-reads }()
	case <-ctx.Done():
		return s, false
	}
	if err := p.readClient(ctx, g, wallet); err != nil {
		return s, false
	}
	if s, ok = p.secretOf(g, wallet); !ok {
		p.missed(g, wallet)
	}
	return s, ok
}

// readsFor bounds strangers apart from clients that the ledger knows: however
// many wallets somebody makes up, those are not sent to register anew.
func (p *Proxy) readsFor(g *generation, wallet *address.Address) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := g.doubted[doubt{client: wallet}.key()]; known {
		return p.knownReads
	}
	return p.reads
}

// absent says whether the wallet had no contract a moment ago.
func (p *Proxy) absent(g *generation, wallet *address.Address) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := g.absent[wallet.StringRaw()]
	return ok && p.cfg.Now().Sub(at) < absentFor
}

func (p *Proxy) missed(g *generation, wallet *address.Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(g.absent) >= maxSaid {
		clear(g.absent)
	}
	g.absent[wallet.StringRaw()] = p.cfg.Now()
}

func (p *Proxy) currentGeneration() *generation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.generations[p.current]
}

func (p *Proxy) secretOf(g *generation, wallet *address.Address) (secret, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := g.clients[wallet.StringRaw()]
	return s, ok
}

// Await implements the proxy's registrar: it returns when the client has said
// the nonce on chain, which may have been a moment before.
func (p *Proxy) Await(ctx context.Context, wallet *address.Address, nonce int64) error {
	for {
		p.mu.Lock()
		news, g := p.news, p.generations[p.current]
		heard := g != nil && slices.Contains(g.nonces[wallet.StringRaw()], uint64(nonce))
		p.mu.Unlock()
		if heard {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("client %s has not registered on chain: %w", wallet, ctx.Err())
		}
	}
}

// registered takes note of what clients have said, once their states are known.
func (p *Proxy) registered(g *generation, list []said) {
	if len(list) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range list {
		if len(g.nonces) >= maxSaid && g.nonces[s.wallet] == nil {
			clear(g.nonces) // who waits just now registers again
		}
		all := append(g.nonces[s.wallet], s.nonce)
		g.nonces[s.wallet] = all[max(0, len(all)-maxNonces):]
	}
	close(p.news)
	p.news = make(chan struct{})
}
