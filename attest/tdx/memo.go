package tdx

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// memo remembers signatures that were found good. The same few certificates,
// documents and lists come with every quote, and whether a signature is good
// depends on nothing but signer, message and signature; whether either is valid
// now, or trusted, is asked each time. Failures are not remembered.
type memo struct {
	mu   sync.Mutex // guards good
	good map[[32]byte]struct{}
}

// maxMemo bounds it, at about 100 bytes each. A peer that fills it with
// certificates of its own making costs others some microseconds.
const maxMemo = 4096

// signatures is shared by all verifiers: what is in it is true for each.
var signatures memo

// once is what check returns, unless it has returned nil for these parts.
func (m *memo) once(check func() error, parts ...[]byte) error {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	key := [32]byte(h.Sum(nil))
	m.mu.Lock()
	_, known := m.good[key]
	m.mu.Unlock()
	if known {
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.good) >= maxMemo || m.good == nil {
		m.good = map[[32]byte]struct{}{}
	}
	m.good[key] = struct{}{}
	return nil
}
