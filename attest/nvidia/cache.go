package nvidia

import (
	"context"
	"crypto/x509"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/collateral"
)

const (
	lifeOfManifest = 7 * 24 * time.Hour // before it is asked for again; NVIDIA signs anew now and then
	lifeOfKeys     = time.Hour
	maxLifeOfKeys  = 24 * time.Hour // while the source does not answer
	cacheSize      = 1024           // answers in memory; some eight for each GPU
)

// Cache keeps collateral in memory and on disk, so that judging a peer seldom
// waits for another machine and a restart forgets nothing. A status is asked
// for again in the last quarter of its life, in the background; what has ended
// is not served.
type Cache struct {
	src  Collateral
	kept *collateral.Cache[[]byte]
}

// Cached keeps the answers of src in memory and, unless path is empty, in the
// files of a directory that exists, as [Dir] reads them. now may be nil for
// time.Now. The caller must call Close.
func Cached(src Collateral, path string, now func() time.Time) *Cache {
	o := collateral.Options[[]byte]{Life: lifeOf, Size: cacheSize, Now: now}
	if path != "" {
		o.Disk = collateral.Files(path)
	}
	return &Cache{src, collateral.New(o)}
}

// Close waits for fetches in the background, at most their time-out.
func (c *Cache) Close() { c.kept.Close() }

// Manifest implements [Collateral].
func (c *Cache) Manifest(ctx context.Context, name string) ([]byte, error) {
	file := manifestFile(name)
	if err := local(file); err != nil {
		return nil, err
	}
	return c.kept.Get(ctx, file, func(ctx context.Context) ([]byte, error) { return c.src.Manifest(ctx, name) })
}

// Status implements [Collateral].
func (c *Cache) Status(ctx context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	return c.kept.Get(ctx, statusFile(cert), func(ctx context.Context) ([]byte, error) { return c.src.Status(ctx, cert, issuer) })
}

// Keys implements [Collateral].
func (c *Cache) Keys(ctx context.Context) ([]byte, error) {
	return c.kept.Get(ctx, keysFile, c.src.Keys)
}

// lifeOf is never an error: what does not say when it ends is for the verifier
// to judge.
func lifeOf(file string, body []byte, fetched time.Time) (l collateral.Life, _ error) {
	switch {
	case file == keysFile:
		l.Ask, l.End = fetched.Add(lifeOfKeys), fetched.Add(maxLifeOfKeys)
	case strings.HasSuffix(file, manifestSuffix):
		if m, err := ParseManifest(body); err == nil {
			l.End = endOf(m.certs)
			l.Ask = earlier(fetched.Add(lifeOfManifest), l.End)
		}
	default:
		var from time.Time
		from, l.End = lifeOfAnswer(body)
		l.Ask = l.End.Add(-l.End.Sub(from) / 4)
	}
	return l, nil
}
