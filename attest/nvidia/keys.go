package nvidia

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// keySet is a JSON Web Key Set (RFC 7517), by key id: its P-384 keys.
type keySet map[string]*ecdsa.PublicKey

// parseKeys reads a key set. Keys of other kinds are left out: nothing is ever
// verified with them.
func parseKeys(text []byte) (keySet, error) {
	var file struct {
		Keys []struct {
			ID    string   `json:"kid"`
			Type  string   `json:"kty"`
			Curve string   `json:"crv"`
			X     string   `json:"x"`
			Y     string   `json:"y"`
			Certs []string `json:"x5c"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("nvidia: key set: %w", err)
	}
	set := keySet{}
	for _, k := range file.Keys {
		var key *ecdsa.PublicKey
		var err error
		switch {
		case k.ID == "" || k.Type != "EC":
			continue
		case k.X != "":
			if k.Curve != "P-384" {
				continue
			}
			key, err = pointKey(k.X, k.Y)
		case len(k.Certs) > 0:
			key, err = certKey(k.Certs[0])
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("nvidia: key %q: %w", k.ID, err)
		}
		if _, twice := set[k.ID]; twice {
			return nil, fmt.Errorf("nvidia: key %q comes twice", k.ID)
		}
		set[k.ID] = key
	}
	return set, nil
}

func pointKey(x, y string) (*ecdsa.PublicKey, error) {
	bx, err1 := base64.RawURLEncoding.DecodeString(x)
	by, err2 := base64.RawURLEncoding.DecodeString(y)
	if err := errors.Join(err1, err2); err != nil || len(bx) != signatureSize/2 || len(by) != signatureSize/2 {
		return nil, errors.New("not a point of P-384")
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P384(), append(append([]byte{4}, bx...), by...))
}

// certKey reads the key of the first certificate of a key's chain, in base64.
func certKey(text string) (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return nil, errors.New("certificate's key is not P-384")
	}
	return key, nil
}

// open verifies a token (RFC 7515, compact form) and returns its claims. The
// one algorithm is ES384, whatever the token asks for.
func (set keySet) open(token string) ([]byte, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("token of %d parts, want 3", len(parts))
	}
	var raw [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil {
			return nil, fmt.Errorf("token's part %d: %w", i, err)
		}
		raw[i] = b
	}
	var header struct {
		Algorithm string            `json:"alg"`
		ID        string            `json:"kid"`
		Critical  []json.RawMessage `json:"crit"`
	}
	if err := json.Unmarshal(raw[0], &header); err != nil {
		return nil, fmt.Errorf("token's header: %w", err)
	}
	key := set[header.ID]
	switch {
	case header.Algorithm != "ES384":
		return nil, fmt.Errorf("token is signed by %q, want ES384", header.Algorithm)
	case header.Critical != nil:
		return nil, errors.New("token asks for extensions")
	case key == nil:
		return nil, fmt.Errorf("token is signed by key %q, which the service does not have", header.ID)
	case len(raw[2]) != signatureSize:
		return nil, fmt.Errorf("signature of %d bytes, want %d", len(raw[2]), signatureSize)
	}
	digest := sha512.Sum384([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(raw[2][:signatureSize/2]), new(big.Int).SetBytes(raw[2][signatureSize/2:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return nil, errors.New("token's signature is wrong")
	}
	return raw[1], nil
}
