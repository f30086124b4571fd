package insecure

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
)

// Sealing gives the sealing keys of a simulated machine: they depend on the
// authority and the image, as a real machine's depend on the processor and
// its registers. Whoever has the authority's files can open what they seal.
type Sealing struct {
	authority *Authority
	image     string
}

// Sealing returns the sealing keys of the machine that runs the named image.
func (a *Authority) Sealing(image string) *Sealing { return &Sealing{a, image} }

// Binding says what the keys depend on.
func (s *Sealing) Binding() string {
	return "INSECURE: simulated, the files of the test authority and the image " + s.image
}

// Key derives the key of a name.
func (s *Sealing) Key(_ context.Context, name string) (key [32]byte, err error) {
	root, err := s.authority.root.key.Bytes()
	if err != nil {
		return key, err
	}
	b, err := hkdf.Key(sha256.New, root, []byte(s.image), "simulated sealing key "+name, len(key))
	return [32]byte(b), err
}
