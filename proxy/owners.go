package proxy

import (
	"net"
	"net/netip"
	"sync"
)

// maxOwners is how many owners' workers may come from one machine. Each owner
// is an account of its own, and when the parameters change the proxy pays the
// gas of each account's last payout.
const maxOwners = 16

// maxHosts bounds the machines that are remembered.
const maxHosts = 10_000

// owners are whose workers have come from where, under the present parameters.
type owners struct {
	mu     sync.Mutex // guards the rest
	params uint32
	hosts  map[netip.Prefix]map[string]struct{}
}

// admit says whether a worker of the owner may come from there. What is behind
// a router on this machine all comes from here, and is not told apart.
func (o *owners) admit(params uint32, from net.Addr, owner string) bool {
	host, ok := hostOf(from)
	if !ok {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hosts == nil || o.params != params || len(o.hosts) >= maxHosts && o.hosts[host] == nil {
		o.params, o.hosts = params, map[netip.Prefix]map[string]struct{}{}
	}
	if o.hosts[host] == nil {
		o.hosts[host] = map[string]struct{}{}
	}
	if _, known := o.hosts[host][owner]; !known && len(o.hosts[host]) >= maxOwners {
		return false
	}
	o.hosts[host][owner] = struct{}{}
	return true
}

// hostOf is a machine: an IPv4 address, or what one has of IPv6.
func hostOf(a net.Addr) (netip.Prefix, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, false
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if !ip.IsValid() || ip.IsLoopback() {
		return netip.Prefix{}, false
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	return prefix, err == nil
}
