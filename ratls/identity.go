package ratls

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// Identity is the key of this process, and a certificate in which the
// platform vouches for it. It is safe for concurrent use.
type Identity struct {
	platform attest.Platform
	opts     IdentityOptions
	quotes   chan struct{} // a place for each that is being made for a connection
	current  atomic.Pointer[tls.Certificate]
}

// IdentityOptions may be zero.
type IdentityOptions struct {
	// Life is how long a certificate is valid. Zero means 24 h, the most that
	// the network uses. It is renewed at about half of it.
	Life time.Duration
	// Now dates certificates. Nil means time.Now.
	Now func() time.Time
	// Log gets a line for each renewal. Nil discards.
	Log *slog.Logger
}

const (
	defaultLife  = 24 * time.Hour
	quoteTimeout = time.Minute // for the platform to make a quote
	renewRetry   = time.Minute // after a renewal that failed, about
	clockLook    = time.Minute / 2
)

// NewIdentity makes a key, lets platform quote it and signs a certificate.
// opts may be nil. Call Run to keep it fresh.
func NewIdentity(ctx context.Context, platform attest.Platform, opts *IdentityOptions) (*Identity, error) {
	id := &Identity{platform: platform, quotes: make(chan struct{}, maxSessionQuotes)}
	if opts != nil {
		id.opts = *opts
	}
	id.opts.Life = cmp.Or(id.opts.Life, defaultLife)
	id.opts.Log = cmp.Or(id.opts.Log, slog.New(slog.DiscardHandler))
	if id.opts.Now == nil {
		id.opts.Now = time.Now
	}
	return id, id.Renew(ctx)
}

// Kind is the kind of evidence that the identity shows.
func (id *Identity) Kind() attest.Kind { return id.platform.Kind() }

// Certificate is what new handshakes show. The caller must not change it.
func (id *Identity) Certificate() *tls.Certificate { return id.current.Load() }

// Renew takes a new key and certificate for the handshakes to come.
// Connections that exist keep theirs. A new key each time limits what
// the loss of one gives away.
func (id *Identity) Renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quoteTimeout)
	defer cancel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("ratls: identity: %w", err)
	}
	raw, err := id.platform.Quote(ctx, attest.ReportData(public))
	if err != nil {
		return fmt.Errorf("ratls: identity: %w", err)
	}
	now := id.opts.Now()
	der, err := newCertificate(private, attest.Evidence{Kind: id.Kind(), Raw: raw}, now.Add(-backdate), now.Add(id.opts.Life))
	if err != nil {
		return fmt.Errorf("ratls: identity: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("ratls: identity: %w", err)
	}
	id.current.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf})
	return nil
}

// Run renews the identity until ctx ends. A renewal that fails is tried again
// long before the certificate expires; Run itself returns only the end of ctx.
//
// It looks at the clock now and then instead of setting a timer to the hour of
// renewal: timers stand still while a machine sleeps, and do not notice when
// its clock is set.
func (id *Identity) Run(ctx context.Context) error {
	timer := time.NewTimer(id.nextLook())
	defer timer.Stop()
	for due := id.halfLife(); ; timer.Reset(id.nextLook()) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		now := id.opts.Now().Round(0) // without the reading of the timers' clock
		if now.Before(due) && !now.Before(id.Certificate().Leaf.NotBefore) {
			continue
		}
		if err := id.Renew(ctx); err != nil {
			due = now.Add(jitter(min(renewRetry, id.opts.Life/16)))
			id.opts.Log.Warn("certificate not renewed", "err", err, "expires", id.Certificate().Leaf.NotAfter, "retry", due)
		} else {
			due = id.halfLife()
			id.opts.Log.Debug("certificate renewed", "expires", id.Certificate().Leaf.NotAfter)
		}
	}
}

// halfLife is about when half of the certificate's life is over.
func (id *Identity) halfLife() time.Time {
	return id.Certificate().Leaf.NotAfter.Add(-jitter(id.opts.Life / 2))
}

func (id *Identity) nextLook() time.Duration { return min(clockLook, id.opts.Life/32) }

// jitter is d, a tenth more or less, so that a fleet that started together
// does not renew together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + mathrand.N(d/5+1)
}
