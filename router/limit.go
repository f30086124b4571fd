package router

import (
	"net"
	"net/netip"
	"sync"
)

// crowd counts connections at a time, in all and by where they come from.
type crowd struct {
	mu     sync.Mutex // guards all
	all    int
	source map[netip.Prefix]int
}

// enter takes a place, or says which limit forbids it.
func (c *crowd) enter(from netip.Prefix, most, mostFrom int) (full string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= most:
		return "all"
	case from.IsValid() && c.source[from] >= mostFrom:
		return "source"
	}
	if c.source == nil {
		c.source = map[netip.Prefix]int{}
	}
	c.all++
	c.source[from]++
	return ""
}

func (c *crowd) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.source[from]--; c.source[from] == 0 {
		delete(c.source, from)
	}
}

// counted is a connection that has a place in the crowd until it is closed.
type counted struct {
	*net.TCPConn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.TCPConn.Close()
}

// limited is a listener that closes at once what is too much.
type limited struct {
	net.Listener
	enter func(net.Addr) (leave func(), ok bool)
}

// Accept returns a *counted.
func (l *limited) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if leave, ok := l.enter(nc.RemoteAddr()); ok {
			return &counted{nc.(*net.TCPConn), sync.OnceFunc(leave)}, nil
		}
		plain{nc.(*net.TCPConn)}.abort()
	}
}

// sourceOf is a peer's address, of IPv6 the network: its owner has all of it.
func sourceOf(a net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	p, _ := ip.Prefix(min(ip.BitLen(), 64))
	return p
}
