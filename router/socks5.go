package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/opencocoon/cocoon/attest"
)

// The server's side of SOCKS5 (RFC 1928, RFC 1929): CONNECT without
// authentication, or with a user name that chooses the policy.
//
//	greeting   05 n methods          chosen  05 method, ff for none
//	user       01 n name n password  answer  01 00
//	request    05 01 00 type address port
//	reply      05 code 00 type address port
//
// The reference takes IPv4 addresses only and never says why it closes.
const (
	socksVersion = 5
	authVersion  = 1

	methodNone = 0
	methodUser = 2
	methodNo   = 0xff

	addressIPv4 = 1
	addressName = 3
	addressIPv6 = 4
)

// Reply codes.
const (
	replyDone        = 0
	replyFailed      = 1
	replyNotAllowed  = 2
	replyNoNetwork   = 3
	replyNoHost      = 4
	replyNoListener  = 5
	replyNoCommand   = 7
	replyAddressType = 8
)

// request is what a program asks for.
type request struct {
	user    string // empty if it gave none
	address string // host:port
}

// socksError is a request that is answered with a code. Without one the
// connection just ends.
type socksError struct {
	code byte
	text string
}

func (e *socksError) Error() string { return "socks5: " + e.text }

// readRequest reads greeting and request, and not a byte more: what follows
// belongs to the peer. users says whether a user name is wanted, and which
// are known.
func readRequest(rw io.ReadWriter, users func(string) bool) (q request, err error) {
	var head [2]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return q, fmt.Errorf("socks5: greeting: %w", err)
	}
	if head[0] != socksVersion {
		return q, fmt.Errorf("socks5: greeting of version %d, want 5", head[0])
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(rw, methods); err != nil {
		return q, fmt.Errorf("socks5: greeting: %w", err)
	}
	method := choose(methods, users != nil)
	if _, err := rw.Write([]byte{socksVersion, method}); err != nil {
		return q, err
	}
	switch method {
	case methodNo:
		return q, fmt.Errorf("socks5: methods %x offered, want 00, no authentication", methods)
	case methodUser:
		if q.user, err = readUser(rw, users); err != nil {
			return q, err
		}
	}
	q.address, err = readAddress(rw)
	return q, err
}

func choose(methods []byte, users bool) byte {
	chosen := byte(methodNo)
	for _, m := range methods {
		if m == methodUser && users {
			return m
		}
		if m == methodNone {
			chosen = m
		}
	}
	return chosen
}

// readUser reads user name and password, and forgets the latter.
func readUser(rw io.ReadWriter, known func(string) bool) (string, error) {
	var version [1]byte
	if _, err := io.ReadFull(rw, version[:]); err != nil {
		return "", fmt.Errorf("socks5: user name: %w", err)
	}
	if version[0] != authVersion {
		return "", fmt.Errorf("socks5: user name of version %d, want 1", version[0])
	}
	name, err := readShort(rw)
	if err != nil {
		return "", fmt.Errorf("socks5: user name: %w", err)
	}
	if _, err := readShort(rw); err != nil {
		return "", fmt.Errorf("socks5: password: %w", err)
	}
	answer := []byte{authVersion, 0}
	if !known(name) {
		answer[1] = 1
		err = fmt.Errorf("socks5: user name %.50q is no policy that may be chosen", name)
	}
	if _, werr := rw.Write(answer); werr != nil && err == nil {
		err = werr
	}
	return name, err
}

// readShort reads up to 255 bytes with their number before them.
func readShort(r io.Reader) (string, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	b := make([]byte, n[0])
	_, err := io.ReadFull(r, b)
	return string(b), err
}

func readAddress(r io.Reader) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", fmt.Errorf("socks5: request: %w", err)
	}
	if head[0] != socksVersion {
		return "", fmt.Errorf("socks5: request of version %d, want 5", head[0])
	}
	host, err := readHost(r, head[3])
	if err != nil {
		return "", err
	}
	var port [2]byte
	if _, err := io.ReadFull(r, port[:]); err != nil {
		return "", fmt.Errorf("socks5: port: %w", err)
	}
	n := binary.BigEndian.Uint16(port[:])
	switch {
	case head[1] != 1:
		return "", &socksError{replyNoCommand, fmt.Sprintf("command %d, want 1, connect", head[1])}
	case n == 0:
		return "", &socksError{replyFailed, "port 0"}
	}
	return net.JoinHostPort(host, strconv.Itoa(int(n))), nil
}

func readHost(r io.Reader, kind byte) (string, error) {
	switch kind {
	case addressIPv4, addressIPv6:
		b := make([]byte, map[byte]int{addressIPv4: 4, addressIPv6: 16}[kind])
		if _, err := io.ReadFull(r, b); err != nil {
			return "", fmt.Errorf("socks5: address: %w", err)
		}
		ip, _ := netip.AddrFromSlice(b)
		return ip.String(), nil
	case addressName:
		name, err := readShort(r)
		if err != nil {
			return "", fmt.Errorf("socks5: host name: %w", err)
		}
		if !plausible(name) {
			return "", &socksError{replyFailed, fmt.Sprintf("host name %.50q", name)}
		}
		return name, nil
	}
	return "", &socksError{replyAddressType, fmt.Sprintf("address type %d, want 1, 3 or 4", kind)}
}

// plausible keeps what no name server should be asked away from it.
func plausible(name string) bool {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == ':') {
			return false
		}
	}
	return name != ""
}

// reply is the answer to a request; bound is where the router dialed from.
func reply(code byte, bound netip.AddrPort) []byte {
	ip, kind := unmap(bound).Addr(), byte(addressIPv4)
	switch {
	case !ip.IsValid():
		ip = netip.IPv4Unspecified()
	case ip.Is6():
		kind = addressIPv6
	}
	b := append([]byte{socksVersion, code, 0, kind}, ip.WithZone("").AsSlice()...)
	return binary.BigEndian.AppendUint16(b, bound.Port())
}

// codeOf is what a program is told about a connection that failed.
func codeOf(err error) byte {
	var asked *socksError
	var name *net.DNSError
	switch {
	case errors.As(err, &asked):
		return asked.code
	case errors.Is(err, attest.ErrUntrusted):
		return replyNotAllowed
	case errors.Is(err, syscall.ECONNREFUSED):
		return replyNoListener
	case errors.Is(err, syscall.ENETUNREACH):
		return replyNoNetwork
	case errors.Is(err, syscall.EHOSTUNREACH), errors.As(err, &name), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errDial):
		return replyNoHost
	}
	return replyFailed
}
