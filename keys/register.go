package keys

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

// Registrar brings public keys into the registry.
//
//   - Register must see to it that the registry is told, once, and not wait for
//     that. It is called again while the registry does not list the key.
//   - It is called by one goroutine at a time.
type Registrar interface {
	Register(ctx context.Context, key contract.PublicKey) error
}

// registerAgain is how long a key may be on its way into the registry before it
// is told again. Messages get lost; a key that nobody can see helps nobody. But
// every message costs gas: a registry that does not list the key after a few of
// them is full, or takes none of ours, and is told ever more rarely, to once in
// registerSeldom.
const (
	registerAgain  = 2 * time.Minute
	registerSeldom = time.Hour
	registerOften  = 4 // times before that
)

// tellAfter is the pause before the registry is told of the key again.
func (e *entry) tellAfter() time.Duration {
	return min(registerAgain<<min(max(e.tries-registerOften, 0), 10), registerSeldom)
}

// ErrNotNamed means that the registry has another key manager, or none.
var ErrNotNamed = errors.New("the registry does not name this key manager")

// named says whether the registry has our key.
func (m *Manager) named(root *contract.Root) bool {
	return bytes.Equal(root.KeyManagerKey, m.public())
}

func (m *Manager) public() ed25519.PublicKey { return m.cfg.Key.Public().(ed25519.PublicKey) }

// register tells the registry of every key that it does not list, once it is ripe.
func (m *Manager) register(ctx context.Context, root *contract.Root) error {
	if m.cfg.Registrar == nil {
		return nil
	}
	due := m.unlisted()
	if len(due) == 0 {
		return nil
	}
	if !m.named(root) {
		return fmt.Errorf("%w: its owner has to give it our public key %s", ErrNotNamed, hex.EncodeToString(m.public()))
	}
	var errs []error
	for _, e := range due {
		if err := m.cfg.Registrar.Register(ctx, e.listing()); err != nil {
			errs = append(errs, fmt.Errorf("key %s cannot be registered: %w", hex.EncodeToString(e.public[:4]), err))
			continue
		}
		m.mu.Lock()
		e.told, e.tries = m.cfg.Now(), e.tries+1
		m.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (m *Manager) unlisted() (due []*entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	for _, e := range m.keys {
		ripe := now.Sub(time.Unix(e.created, 0)) >= m.cfg.Ripen
		if ripe && !e.listed && e.expires > now.Unix() && (e.told.IsZero() || now.Sub(e.told) >= e.tellAfter()) {
			due = append(due, e)
		}
	}
	return due
}

// registrationValue goes along with a registration; nearly all of it comes back.
const registrationValue = coin.TON * 2 / 5

// Wallet is the wallet that pays for registrations: wallet.Driver.
type Wallet interface {
	Address() *address.Address
	Enqueue(ctx context.Context, m wallet.Message) (*wallet.Handle, error)
}

// ByWallet registers keys by messages of a node's wallet, signed by the key
// manager. Each attempt is one message: an attempt that is under way is not
// repeated, not even by another process after a crash.
type ByWallet struct {
	// Wallet sends the messages.
	Wallet Wallet
	// Root is the registry.
	Root *address.Address
	// Key signs for the key manager.
	Key ed25519.PrivateKey
	// Unbound signs in the reference's form, which does not say for which registry:
	// the signature is then good at every registry with the same key manager.
	Unbound bool

	mu       sync.Mutex // guards attempts
	attempts map[string]uint64
}

// Register implements [Registrar].
func (r *ByWallet) Register(ctx context.Context, key contract.PublicKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempts == nil {
		r.attempts = map[string]uint64{}
	}
	for name := string(key.Key); ; r.attempts[name]++ {
		handle, err := r.attempt(ctx, key, r.attempts[name])
		if err != nil {
			return err
		}
		if _, over := handle.Outcome(); !over {
			return nil
		}
	}
}

func (r *ByWallet) attempt(ctx context.Context, key contract.PublicKey, n uint64) (*wallet.Handle, error) {
	order := contract.KeyOrder{QueryID: attemptID(key, n), Excess: r.Wallet.Address(), Key: key}
	if !r.Unbound {
		order.Root = r.Root
	}
	signed, err := order.Sign(r.Key)
	if err != nil {
		return nil, err
	}
	body, err := signed.Cell()
	if err != nil {
		return nil, err
	}
	return r.Wallet.Enqueue(ctx, wallet.Message{ID: order.QueryID, To: r.Root, Value: registrationValue, Body: body})
}

// attemptID is the same number for the same attempt, in every process.
func attemptID(key contract.PublicKey, n uint64) uint64 {
	text := binary.BigEndian.AppendUint64([]byte("cocoon key registration "), n)
	text = binary.BigEndian.AppendUint32(append(text, key.Type), key.ExpireAt)
	sum := sha256.Sum256(append(text, key.Key...))
	return max(binary.BigEndian.Uint64(sum[:8]), 1)
}
