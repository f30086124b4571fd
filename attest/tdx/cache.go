package tdx

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/collateral"
)

// refreshAfter is the age at which a statement is asked for again, though it
// has not expired; earlier once half of the time to its expiry has passed.
const refreshAfter = 24 * time.Hour

// Cached keeps the statements of src until they expire, in memory and, unless
// path is empty, in the files of that directory, as [Dir] reads them. now may
// be nil for time.Now.
func Cached(src Collateral, path string, now func() time.Time) Collateral {
	o := collateral.Options[Statement]{Life: lifeOf, Now: now}
	if path != "" {
		o.Disk = disk(path)
	}
	return &cached{src, collateral.New(o)}
}

type cached struct {
	src  Collateral
	kept *collateral.Cache[Statement]
}

func (c *cached) Get(ctx context.Context, part Part) (Statement, error) {
	return c.kept.Get(ctx, part.File(), func(ctx context.Context) (Statement, error) { return c.src.Get(ctx, part) })
}

// lifeOf is never an error: what does not say when it expires is for the
// verifier to judge.
func lifeOf(_ string, s Statement, fetched time.Time) (collateral.Life, error) {
	end := nextUpdate(s.Body)
	return collateral.Life{Ask: fetched.Add(min(refreshAfter, end.Sub(fetched)/2)), End: end}, nil
}

// disk is a directory of statements. A chain lies beside its statement, whose
// file is dated.
type disk string

func (d disk) Read(name string) (s Statement, fetched time.Time, err error) {
	if s.Body, fetched, err = collateral.Files(d).Read(name); err == nil && chained(name) {
		s.Chain, err = collateral.ReadFile(filepath.Join(string(d), name+chainSuffix))
	}
	return s, fetched, err
}

// Write writes the chain first, which outlives statements.
func (d disk) Write(name string, s Statement, fetched time.Time) error {
	if chained(name) {
		if err := collateral.Files(d).Write(name+chainSuffix, s.Chain, fetched); err != nil {
			return err
		}
	}
	return collateral.Files(d).Write(name, s.Body, fetched)
}

func (d disk) Remove(name string) {
	collateral.Files(d).Remove(name)
	collateral.Files(d).Remove(name + chainSuffix)
}

// chained tells the files of parts whose issuers lie in one of their own.
func chained(name string) bool { return strings.HasSuffix(name, ".json") }
