package keys

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
)

const (
	// lookEvery is the longest time between two looks at what there is to do,
	// retryAfter the time after something failed.
	lookEvery  = 30 * time.Second
	retryAfter = 5 * time.Second
	// maxKeys is how many keys a root contract has room for, with ours among them.
	maxKeys = 256
)

// keep makes, registers and erases keys until ctx ends.
func (m *Manager) keep(ctx context.Context) {
	for {
		changed := m.cfg.Registry.Changed()
		timer := time.NewTimer(m.step(ctx))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-m.kick:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// step does what is due, and says when to look again at the latest.
func (m *Manager) step(ctx context.Context) time.Duration {
	root := m.cfg.Registry.Root()
	err := m.rotate(root)
	if err == nil {
		err = m.register(ctx, root)
	}
	m.note(err)
	if err != nil {
		return retryAfter
	}
	return m.pause()
}

// note keeps why it does not go on, and logs when that changes.
func (m *Manager) note(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	m.mu.Lock()
	before := m.trouble
	m.trouble = text
	m.mu.Unlock()
	switch {
	case text == before:
	case text == "":
		m.cfg.Log.Info("key manager: goes on")
	default:
		m.cfg.Log.Error("key manager: cannot go on", "reason", text)
	}
}

// rotate follows the registry, erases what has expired or was struck, and makes
// a key if one is due.
func (m *Manager) rotate(root *contract.Root) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	m.dirty = m.follow(root) || m.dirty
	kept := slices.Clone(m.keys)
	gone := m.take(&kept, func(e *entry) bool { return e.expires <= now.Unix() || e.registered && !e.listed })
	if due(kept, now, m.cfg.Every) {
		kept = append(kept, newEntry(TypeV1, now, m.cfg.Life))
	}
	if !m.dirty && len(gone) == 0 && len(kept) == len(m.keys) {
		return nil
	}
	return m.adopt(kept, gone)
}

// adopt makes a new set of keys true once it is durable. The caller holds mu.
func (m *Manager) adopt(keys, gone []*entry) error {
	if err := save(m.cfg.Store, keys); err != nil {
		for _, e := range keys {
			if !slices.Contains(m.keys, e) {
				e.forget() // it was never true
			}
		}
		return fmt.Errorf("the keys cannot be stored: %w", err)
	}
	for _, e := range keys {
		if !slices.Contains(m.keys, e) {
			m.cfg.Log.Info("key manager: new key", "key", hex.EncodeToString(e.public[:]), "type", e.kind, "until", time.Unix(e.expires, 0).UTC())
		}
	}
	for _, e := range gone {
		m.cfg.Log.Info("key manager: key erased", "key", hex.EncodeToString(e.public[:]), "type", e.kind)
		e.forget()
	}
	m.keys, m.dirty = keys, false
	return nil
}

// take moves the entries that match out of the list.
func (m *Manager) take(from *[]*entry, match func(*entry) bool) (taken []*entry) {
	*from = slices.DeleteFunc(*from, func(e *entry) bool {
		if match(e) {
			taken = append(taken, e)
			return true
		}
		return false
	})
	return taken
}

// follow notes which keys the registry lists. One that it has listed and lists no
// more, or lists as another type, was struck by the network's owner. While the registry
// names another key manager, or is of a shape without keys, its silence means
// nothing. It says whether there is something to be stored.
func (m *Manager) follow(root *contract.Root) (changed bool) {
	if !m.named(root) {
		for _, e := range m.keys {
			e.listed = e.registered
		}
		return false
	}
	for _, e := range m.keys {
		at := slices.IndexFunc(root.PublicKeys, func(k contract.PublicKey) bool { return bytes.Equal(k.Key, e.public[:]) })
		e.listed = at >= 0 && root.PublicKeys[at].Type == e.kind
		changed = changed || at >= 0 && !e.registered
		e.registered = e.registered || at >= 0
	}
	return changed
}

// due says whether it is time for a new key of type 1. One that was made far in
// the future, by a clock that was wrong, is nobody's until then.
func due(keys []*entry, now time.Time, every time.Duration) bool {
	if len(keys) >= maxKeys {
		return false
	}
	return !slices.ContainsFunc(keys, func(e *entry) bool {
		return e.kind == TypeV1 && e.created > now.Add(-every).Unix() && e.created < now.Add(every).Unix()
	})
}

// pause is the time until something is due.
func (m *Manager) pause() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, next := m.cfg.Now(), lookEvery
	at := func(unix int64) { next = min(next, time.Unix(unix, 0).Sub(now)) }
	for _, e := range m.keys {
		at(e.expires)
		if e.kind == TypeV1 && e == m.keys[len(m.keys)-1] {
			at(e.created + int64(m.cfg.Every/time.Second))
		}
		if !e.listed && m.cfg.Registrar != nil {
			next = min(next, max(m.cfg.Ripen-now.Sub(time.Unix(e.created, 0)), time.Second))
		}
	}
	return max(next, time.Second)
}

var errManyKeys = fmt.Errorf("there are %d keys already, and the registry has room for no more", maxKeys)

// Generate makes a key of this type now. It is durable when Generate returns, and
// registered soon after.
func (m *Manager) Generate(kind uint8) (public fieldcrypt.PublicKey, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.keys) >= maxKeys {
		return public, errManyKeys
	}
	e := newEntry(kind, m.cfg.Now(), m.cfg.Life)
	if err := m.adopt(append(slices.Clone(m.keys), e), nil); err != nil {
		return public, err
	}
	m.wake()
	return e.public, nil
}

// ErrUnknown means that there is no such key, or no more.
var ErrUnknown = errors.New("no such key")

// Remove erases a key. Proxies forget it when they ask next. The registry lists it
// until it expires, and only the network's owner can strike it there.
func (m *Manager) Remove(public fieldcrypt.PublicKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := slices.Clone(m.keys)
	gone := m.take(&kept, func(e *entry) bool { return e.public == public })
	if gone == nil {
		return ErrUnknown
	}
	defer m.wake()
	return m.adopt(kept, gone)
}

func (m *Manager) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}
