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

// DeviceReport asks the kernel of a TDX guest for a report over data, of 1024
// bytes, that only this processor can check.
func DeviceReport(data [64]byte) ([]byte, error) {
	f, err := os.OpenFile(devicePath, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("no TDX guest, or no right to its device: %w", err)
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

func dialHost(context.Context) (connection, error) { return DialVsock(hostID, quotesPort) }

// DialVsock opens a stream to a port of the host or of another guest, which
// package net cannot. The file honours deadlines.
func DialVsock(cid, port uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("vsock %d:%d: %w", cid, port, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that deadlines work and Close ends a read
		unix.Close(fd)
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return os.NewFile(uintptr(fd), "vsock"), nil
}
