package ratls

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// socksConnect asks the SOCKS5 server (RFC 1928) at the other end of rw to
// connect to target. A router answers only when the peer was reached and
// judged, and otherwise just closes.
//
//	greeting   05 01 00              one method: no authentication
//	chosen     05 00
//	request    05 01 00 type address port
//	reply      05 00 00 type address port
func socksConnect(rw io.ReadWriter, target netip.AddrPort) error {
	if _, err := rw.Write([]byte{5, 1, 0}); err != nil {
		return err
	}
	var chosen [2]byte
	if _, err := io.ReadFull(rw, chosen[:]); err != nil {
		return fmt.Errorf("socks5: no answer to the greeting: %w", err)
	}
	if chosen != [2]byte{5, 0} {
		return fmt.Errorf("socks5: greeting answered %x, want 0500: no authentication", chosen)
	}
	request := []byte{5, 1, 0, 1}
	if target.Addr().Is6() {
		request[3] = 4
	}
	request = append(request, target.Addr().AsSlice()...)
	if _, err := rw.Write(binary.BigEndian.AppendUint16(request, target.Port())); err != nil {
		return err
	}
	return readSOCKSReply(rw)
}

// readSOCKSReply reads exactly the reply: what follows belongs to the peer.
func readSOCKSReply(r io.Reader) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("socks5: router closed: it did not reach the peer or refused it: %w", err)
	}
	if head[0] != 5 || head[1] != 0 {
		return fmt.Errorf("socks5: reply begins %x, want 0500: connected", head[:2])
	}
	size := map[byte]int{1: 4, 4: 16}[head[3]]
	if size == 0 {
		return fmt.Errorf("socks5: reply has address type %d, want 1 or 4", head[3])
	}
	var bound [16 + 2]byte // where the router connected from; of no interest
	if _, err := io.ReadFull(r, bound[:size+2]); err != nil {
		return fmt.Errorf("socks5: reply: %w", err)
	}
	return nil
}

// resolve turns host:port into a numeric address, IPv4 if there is one:
// the reference's router knows nothing else.
func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if port == 0 {
		return netip.AddrPort{}, fmt.Errorf("port of %q is 0, want 1 to 65535", address)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	best := ips[0].Unmap()
	for _, ip := range ips {
		if ip.Unmap().Is4() {
			best = ip.Unmap()
			break
		}
	}
	return netip.AddrPortFrom(best, uint16(port)), nil
}
