// Package seal keeps secrets so that only this image on this machine can read
// them back, and hands them to a successor that the policy wants.
//
// A [Source] gives a key that the hardware derives from what runs: another
// image, or another machine, gets another key. [Store] is a file of secrets
// (wallet, identity and ledger keys) under such a key; start with [Open].
// An upgrade changes the key, so the old image hands the store over: the new
// one asks with a [Request] that carries its evidence, the old one judges it
// and answers with a [Grant], and only the new one can use that. Whoever
// carries the files between them learns nothing and can forge nothing.
//
// Sources: [SGX], the sealing service of a TDX host (wire.md 7); [SNP], the
// derived key of AMD's firmware (current.md 6.5). What a simulated machine
// seals anyone can open: package attest/insecure.
package seal

import (
	"context"
	"errors"
)

// Source gives the sealing key of what runs here.
//
// Key must give the same 32 bytes for the same name as long as image and
// machine stay what they are, and others for any other name, image or
// machine, or fail: with an error that is [ErrAway] if it may succeed later.
// It may be called from several goroutines.
type Source interface {
	// Binding says in a few words what the key depends on, for people.
	Binding() string
	Key(ctx context.Context, name string) ([32]byte, error)
}

// maxName bounds the name of a key, in bytes (wire.md 7.2).
const maxName = 256

// ErrAway means that whoever gives the keys did not answer. Try again.
var ErrAway = errors.New("sealing service of the host does not answer")

// ErrSealed means that the store was sealed by another image or on another
// machine. Nothing is damaged; see [Store] for the hand-over. The error that
// wraps it is a *SealedError.
var ErrSealed = errors.New("sealed by another image or machine")

// SealedError is an [ErrSealed] with what the file says of itself.
type SealedError struct {
	Path string
	Info Info
}

func (e *SealedError) Error() string { return e.Path + ": " + ErrSealed.Error() }

// Unwrap returns ErrSealed.
func (e *SealedError) Unwrap() error { return ErrSealed }

// Named is source with the name of its image, which its slots then carry for
// people to read.
func Named(source Source, image string) Source { return named{source, image} }

type named struct {
	Source
	image string
}
