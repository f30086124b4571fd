package nvidia

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// memo remembers what has been verified and does not depend on the time, so
// that a GPU seen before costs one signature.
type memo struct {
	mu   sync.Mutex // guards what follows
	done map[[32]byte]any
}

const maxMemo = 4096 // a manifest has 5 kB, the rest little

// get returns what do returned for the same kind, root and data, without an
// error, once before.
func (m *memo) get(kind string, root *x509.Certificate, data []byte, do func() (any, error)) (any, error) {
	h := sha256.New()
	for _, b := range [][]byte{[]byte(kind), {0}, root.Raw, data} { // a certificate says how long it is
		h.Write(b)
	}
	key := [32]byte(h.Sum(nil))
	m.mu.Lock()
	v, ok := m.done[key]
	m.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := do()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.done) >= maxMemo || m.done == nil {
		m.done = map[[32]byte]any{}
	}
	m.done[key] = v
	return v, nil
}
