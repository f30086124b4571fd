package devnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// portPicker finds free loopback addresses. They have to be known before
// the roles open them, because the registry names them; so they are taken
// below the range from which systems give ports to outgoing connections.
type portPicker struct {
	taken map[int]bool
	err   error
}

const (
	firstPort = 12_100
	lastPort  = 32_000
)

// pick returns an address that nobody has; after a failure, with err set, it
// returns one that nobody can open.
func (p *portPicker) pick() string {
	if p.taken == nil {
		p.taken = map[int]bool{}
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if p.taken[port] {
			continue
		}
		p.taken[port] = true
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	p.err = errors.New("devnet: no free port on 127.0.0.1")
	return "127.0.0.1:0"
}
