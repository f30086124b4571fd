package contract_test

import "testing"

// scene is one message and what became of it, in a network of its own.
type scene struct {
	name  string
	given func(n *network) // what happened before; nil for nothing
	do    func(n *network) *outcome
	want  string                       // exit codes
	then  func(n *network, o *outcome) // what must be so afterwards; nil for nothing
}

func play(t *testing.T, scenes []scene) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := open(t)
			if s.given != nil {
				s.given(n)
			}
			o := s.do(n).wants(s.want)
			if s.then != nil {
				s.then(n, o)
			}
		})
	}
}

// equal is for everything that is not money.
func equal[T comparable](n *network, what string, got, want T) {
	n.t.Helper()
	if got != want {
		n.t.Errorf("%s = %v, want %v", what, got, want)
	}
}
