package contract

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Messages about field encryption's keys, for registries of shapes 4 and 5.
// Source: contracts.md section 19.2, current.md section 5.3.

// ChangeKeyManager, from the registry's owner, names the key manager.
type ChangeKeyManager struct {
	QueryID uint64
	Key     ed25519.PublicKey
	Image   [32]byte
	// Address is ip:port, empty for none.
	Address string
}

func (*ChangeKeyManager) op() uint32 { return 0xb01c0fe9 }

func (m *ChangeKeyManager) fields(c codec) {
	c.u64(&m.QueryID)
	c.key(&m.Key)
	c.hash(&m.Image)
	c.text(&m.Address)
}

// Cell refuses an address that would make the whole registry unreadable.
func (m *ChangeKeyManager) Cell() (*cell.Cell, error) {
	if m.Address != "" {
		if _, err := parseEndpoint(m.Address); err != nil {
			return nil, fmt.Errorf("key manager: %w", err)
		}
	}
	return write(m)
}

// AddKey, from the registry's owner, registers a key.
type AddKey struct {
	QueryID uint64
	Key     PublicKey
}

func (*AddKey) op() uint32                  { return 0x6e5a646a }
func (m *AddKey) fields(c codec)            { c.u64(&m.QueryID); m.Key.fields(c) }
func (m *AddKey) Cell() (*cell.Cell, error) { return write(m) }

func (k *PublicKey) fields(c codec) {
	c.key(&k.Key)
	c.u8(&k.Type)
	c.u32(&k.ExpireAt)
}

const opSignedKey = 0x9e0e1821

// KeyOrder registers a key by the key manager's word; anybody may bring it.
type KeyOrder struct {
	QueryID uint64
	Excess  *address.Address
	Key     PublicKey
	// Root is the registry that the order is for. Without it, which is the
	// network's form, the same order can be used at every registry that has
	// the same key manager. Our root contract takes both.
	Root *address.Address
}

// SignedKey is a key manager's order under its signature.
//
//	envelope  op:32 query:64 excess:MsgAddress signature:512 ^payload
//	payload   op:32 query:64 key:256 type:8 expire:32 [root:Addr]
type SignedKey struct {
	// KeyOrder is what the payload says. Changing it does not change the payload.
	KeyOrder
	signature []byte
	payload   *cell.Cell
}

// Sign makes the order good.
func (o *KeyOrder) Sign(key ed25519.PrivateKey) (*SignedKey, error) {
	b := newBuilder("key order").uint(opSignedKey, 32).uint(o.QueryID, 64)
	o.Key.fields(writing{b})
	if o.Root != nil {
		b.addr(o.Root)
	}
	payload, err := b.done()
	if err != nil {
		return nil, err
	}
	s := &SignedKey{*o, ed25519.Sign(key, payload.Hash()), payload}
	_, err = s.Cell()
	return s, err
}

func (*SignedKey) op() uint32 { return opSignedKey }

func (s *SignedKey) fields(c codec) {
	c.u64(&s.QueryID)
	c.change(&s.Excess)
	c.signature(&s.signature)
	c.cell(&s.payload)
	if r, ok := c.(reading); ok {
		r.reader.inside("payload", s.payload, s.readPayload)
	}
}

func (s *SignedKey) readPayload(in *reader) {
	op, query := in.uint(32), in.uint(64)
	if in.err == nil && (op != opSignedKey || query != s.QueryID) {
		in.fail(fmt.Errorf("says %08x %d, envelope says %08x %d", op, query, opSignedKey, s.QueryID))
	}
	s.Key.fields(reading{in})
	if in.err == nil && in.s.BitsLeft() > 0 {
		s.Root = in.addr()
	}
}

// Cell is the message to the registry.
func (s *SignedKey) Cell() (*cell.Cell, error) { return write(s) }

// Repack is the same order with the change going to excess. The signature holds.
func (s *SignedKey) Repack(excess *address.Address) *SignedKey {
	again := *s
	again.Excess = excess
	return &again
}

// Verify says whether the key manager has signed the order.
func (s *SignedKey) Verify(manager ed25519.PublicKey) error {
	if s.payload == nil || len(manager) != ed25519.PublicKeySize || !ed25519.Verify(manager, s.payload.Hash(), s.signature) {
		return errors.New("key order: signature is not the key manager's")
	}
	return nil
}
