package snp

import (
	"context"
	"errors"
	"time"

	"github.com/opencocoon/cocoon/attest/collateral"
)

const (
	cacheSize    = 4096           // answers in memory; one for each chip, and six lists
	minRetry     = time.Minute    // before a source that is busy is asked again
	maxRetry     = time.Hour      // whatever it says
	refreshAfter = 24 * time.Hour // what can still change is fetched anew, long before it ends
)

var errRefused = errors.New("snp: the source's last answer was refused")

// Cached keeps the answers of src in memory and, unless path is empty, in the
// files of a directory that exists, as [Dir] reads them. An answer serves
// until it ends by its own word: a revocation list until its next update, a
// certificate until it expires. Lists and chains of more than a day are fetched
// anew in the background while the old ones serve. A source that fails is left
// in peace for a minute, or as long as it says. now may be nil for time.Now.
func Cached(src Collateral, path string, now func() time.Time) Collateral {
	o := collateral.Options[[]byte]{Life: lifeOf, Retry: saidBy, Size: cacheSize, Chosen: ofChip, Now: now}
	if path != "" {
		o.Disk = disk(path)
	}
	return &cached{src, collateral.New(o)}
}

type cached struct {
	src  Collateral
	kept *collateral.Cache[[]byte]
}

func (c *cached) Get(ctx context.Context, path string) ([]byte, error) {
	return c.kept.Get(ctx, path, func(ctx context.Context) ([]byte, error) { return c.src.Get(ctx, path) })
}

// Forget drops an answer that the verifier found not to be authentic.
func (c *cached) Forget(path string) { c.kept.Forget(path, errRefused) }

// forget tells a source that remembers.
func forget(src Collateral, path string) {
	if f, ok := src.(interface{ Forget(string) }); ok {
		f.Forget(path)
	}
}

func lifeOf(path string, body []byte, fetched time.Time) (l collateral.Life, err error) {
	if l.End, err = expiry(path, body); err == nil && !fetched.Before(l.End) {
		err = errors.New("snp: the source's answer has ended")
	}
	if err != nil {
		return l, err
	}
	if l.Ask = l.End; ofChip(path) { // whose certificate never changes
		return l, nil
	}
	l.Ask = fetched.Add(min(refreshAfter, l.End.Sub(fetched)/2))
	return l, nil
}

// saidBy is how long a service wants to be left in peace.
func saidBy(err error) time.Duration {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Retry
	}
	return 0
}

// ofChip tells paths that peers choose.
func ofChip(path string) bool {
	it, err := locate(path)
	return err == nil && it.chip
}

// disk is a directory with answers under the names that [Dir] knows.
type disk string

func (d disk) Read(path string) ([]byte, time.Time, error) {
	it, err := locate(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	return collateral.Files(d).Read(it.file)
}

func (d disk) Write(path string, body []byte, fetched time.Time) error {
	it, err := locate(path)
	if err != nil {
		return err
	}
	return collateral.Files(d).Write(it.file, body, fetched)
}

func (d disk) Remove(path string) {
	if it, err := locate(path); err == nil {
		collateral.Files(d).Remove(it.file)
	}
}
