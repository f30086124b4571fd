package measure

import "crypto/sha256"

// sha256 is the digest that pesign prints.
func (p *pe) sha256(b []byte) []byte {
	h := sha256.New()
	for _, r := range p.runs {
		h.Write(b[r.from:r.to])
	}
	return h.Sum(nil)
}
