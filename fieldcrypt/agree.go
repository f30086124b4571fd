package fieldcrypt

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Direction says who seals for whom; the two never share keys.
type Direction byte

const (
	ToWorker Direction = 'c'
	ToApp    Direction = 'w'
)

// Seed is a private key: the 32 bytes an Ed25519 key is made from. It is never printed.
type Seed [32]byte

// Format prints no key, whatever the verb.
func (Seed) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(private key)") }

// Public returns the public half.
func (s *Seed) Public() PublicKey {
	return PublicKey(ed25519.NewKeyFromSeed(s[:]).Public().(ed25519.PublicKey))
}

// PublicKey is a compressed Ed25519 point. It is used for agreement only.
type PublicKey [32]byte

var errKeyText = errors.New("a public key is 64 hexadecimal, 44 base64 or 32 raw characters")

// ParsePublicKey reads a key in one of the network's three spellings.
func ParsePublicKey(text string) (key PublicKey, err error) {
	raw := []byte(text)
	switch len(text) {
	case 64:
		raw, err = hex.DecodeString(text)
	case 44:
		raw, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil || len(raw) != len(key) {
		return key, errKeyText
	}
	return PublicKey(raw), nil
}

var errWeakKey = fmt.Errorf("%w: a key of low order", ErrMarks)

// agree is X25519 between the Curve25519 forms of both keys. A key of low order
// would make the secret one that everybody knows; crypto/ecdh refuses it.
func agree(own *Seed, peer PublicKey) (shared [32]byte, err error) {
	hash := sha512.Sum512(own[:])
	private, err := ecdh.X25519().NewPrivateKey(hash[:32]) // clamped there
	if err != nil {
		return shared, err
	}
	u := montgomery(peer)
	public, err := ecdh.X25519().NewPublicKey(u[:])
	if err != nil {
		return shared, err
	}
	secret, err := private.ECDH(public)
	if err != nil {
		return shared, errWeakKey
	}
	return [32]byte(secret), nil
}

// prime is 2^255 - 19.
var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

// montgomery maps the point to Curve25519: u = (1+y)/(1-y) (RFC 7748 §4.1).
// Both sides are public, so nothing is lost by arithmetic in variable time. The
// neutral element, y = 1, has no image; it becomes 0, which agree refuses.
func montgomery(key PublicKey) (u [32]byte) {
	key[31] &= 0x7f // the sign of x, which u does not depend on
	slices.Reverse(key[:])
	y := new(big.Int).SetBytes(key[:])
	one := big.NewInt(1)
	below := new(big.Int).Sub(one, y)
	inverse := below.ModInverse(below.Mod(below, prime), prime)
	if inverse == nil {
		return u
	}
	y.Add(y, one).Mul(y, inverse).Mod(y, prime).FillBytes(u[:])
	slices.Reverse(u[:])
	return u
}
