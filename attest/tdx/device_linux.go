package tdx

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	devicePath = "/dev/tdx_guest"
	// getReport is TDX_CMD_GET_REPORT0 of linux/tdx-guest.h: read and write,
	// 64 bytes of report data and 1024 of report, type 'T', number 1.
	getReport = 3<<30 | (64+reportBytes)<<16 | 'T'<<8 | 1

	hostID     = unix.VMADDR_CID_HOST
	quotesPort = 4050 // where Intel's service listens unless it is told otherwise
)

func findDevice() error {
	_, err := os.Stat(devicePath)
	return err
}

// deviceReport asks the kernel for a report.
func deviceReport(data [64]byte) ([]byte, error) {
	f, err := os.OpenFile(devicePath, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var req [64 + reportBytes]byte
	copy(req[:], data[:])
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getReport, uintptr(unsafe.Pointer(&req)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return nil, fmt.Errorf("%s: %w", devicePath, errno)
	}
	return req[64:], nil
}

// dialHost connects to the host's quoting service over vsock, which package
// net does not know.
func dialHost(context.Context) (connection, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: hostID, Port: quotesPort}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("vsock port %d of the host: %w", quotesPort, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that deadlines work
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "vsock"), nil
}
