package seal

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where the network's hosts offer the service (wire.md 7.1).
const (
	DefaultService = "vsock:2:12345"
	guestDevice    = "/dev/tdx_guest"
)

// Dial opens a stream to a sealing service: "vsock:CID:PORT", or the path of
// a Unix socket.
func Dial(address string) func(context.Context) (io.ReadWriteCloser, error) {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		rest, ok := strings.CutPrefix(address, "vsock:")
		if !ok {
			var d net.Dialer
			return d.DialContext(ctx, "unix", address)
		}
		host, service, _ := strings.Cut(rest, ":")
		cid, err := strconv.ParseUint(host, 10, 32)
		port, err2 := strconv.ParseUint(service, 10, 32)
		if err != nil || err2 != nil {
			return nil, fmt.Errorf("address %q, want vsock:CID:PORT, as %s", address, DefaultService)
		}
		return dialVsock(uint32(cid), uint32(port))
	}
}

func dialVsock(cid, port uint32) (io.ReadWriteCloser, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("vsock %d:%d: %w", cid, port, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that Close ends a read
		unix.Close(fd)
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return os.NewFile(uintptr(fd), "vsock"), nil
}

// tdReport is the kernel's struct tdx_report_req, linux/tdx-guest.h.
type tdReport struct {
	data   [64]byte
	report [reportSize]byte
}

// getReport0 is TDX_CMD_GET_REPORT0, _IOWR('T', 1, struct tdx_report_req).
const getReport0 = 3<<30 | unsafe.Sizeof(tdReport{})<<16 | 'T'<<8 | 1

// TDReport asks the kernel of a TDX guest for a report over data. Only this
// processor can check it.
func TDReport(data [64]byte) ([]byte, error) {
	device, err := os.OpenFile(guestDevice, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("no TDX guest, or no right to its device: %w", err)
	}
	defer device.Close()
	ask := tdReport{data: data}
	if err := ioctl(device, getReport0, unsafe.Pointer(&ask)); err != nil {
		return nil, fmt.Errorf("%s: %w", guestDevice, err)
	}
	return ask.report[:], nil
}

func ioctl(device *os.File, command uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, device.Fd(), command, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
