package seal

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// DefaultService is where the network's hosts offer the service (wire.md 7.1).
const DefaultService = "vsock:2:12345"

// Dial opens a stream to a sealing service: "vsock:CID:PORT", or the path of
// a Unix socket.
func Dial(address string) func(context.Context) (io.ReadWriteCloser, error) {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		if !strings.HasPrefix(address, "vsock:") {
			var d net.Dialer
			return d.DialContext(ctx, "unix", address)
		}
		cid, port, err := vsock(address)
		if err != nil {
			return nil, err
		}
		return tdx.DialVsock(cid, port)
	}
}

// CheckService says whether [Dial] can read an address.
func CheckService(address string) error {
	if !strings.HasPrefix(address, "vsock:") {
		return nil
	}
	_, _, err := vsock(address)
	return err
}

func vsock(address string) (cid, port uint32, err error) {
	host, service, _ := strings.Cut(strings.TrimPrefix(address, "vsock:"), ":")
	c, err := strconv.ParseUint(host, 10, 32)
	p, err2 := strconv.ParseUint(service, 10, 32)
	if err != nil || err2 != nil {
		return 0, 0, fmt.Errorf("address %q, want vsock:CID:PORT, as %s, or the path of a Unix socket", address, DefaultService)
	}
	return uint32(c), uint32(p), nil
}
