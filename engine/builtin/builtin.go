// Package builtin is the engine that needs nothing else: a llama runtime in
// plain Go with a small demonstration model inside the binary, behind the
// OpenAI API.
//
// Start with [Default] for the demonstration model or [Load] for a GGUF file
// of your own, and give the result to [NewServer]. Weights are used where they
// lie, in f32, f16 or q8_0; nothing is widened beforehand, and the
// demonstration model costs no memory until somebody loads it.
//
// It is made to be small and predictable, not fast: no SIMD, one processor core
// per answer for small models. Use an engine with a GPU for real work. The file
// format is GGUF's specification, the arithmetic is that of the llama
// architecture. How the demonstration model is made stands in train/README.md.
package builtin

import (
	"crypto/sha256"
	_ "embed"
	"sync"
)

//go:embed cocoon-demo-3m.gguf
var demo []byte

var loadDemo = sync.OnceValues(func() (*Model, error) { return Load(demo) })

// Default returns the demonstration model. It is read at the first call and
// then shared.
func Default() (*Model, error) { return loadDemo() }

// DefaultSum is the SHA-256 of the demonstration model's file.
func DefaultSum() [sha256.Size]byte { return sha256.Sum256(demo) }
