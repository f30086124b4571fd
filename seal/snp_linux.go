package seal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const sevDevice = "/dev/sev-guest"

// sevRequest is the kernel's struct snp_guest_request_ioctl, linux/sev-guest.h.
type sevRequest struct {
	version  uint8
	request  uint64 // address of a derivedKeyRequest
	response uint64 // address of 64 bytes
	failure  uint64 // of the firmware in the lower half, of the hypervisor in the upper
}

// derivedKeyRequest is struct snp_derived_key_req; zero for the root means the
// chip's own key, VCEK.
type derivedKeyRequest struct {
	root, reserved uint32
	fields         uint64
	vmpl, svn      uint32
	tcb            uint64
}

// getDerivedKey is SNP_GET_DERIVED_KEY, _IOWR('S', 1, struct snp_guest_request_ioctl).
const getDerivedKey = 3<<30 | unsafe.Sizeof(sevRequest{})<<16 | 'S'<<8 | 1

// derivedKey asks the firmware: a status, 28 reserved bytes, then the key.
func derivedKey() (key [32]byte, err error) {
	device, err := os.OpenFile(sevDevice, os.O_RDWR, 0)
	if err != nil {
		return key, fmt.Errorf("no SEV-SNP guest, or no right to its device: %w", err)
	}
	defer device.Close()
	ask, answer := &derivedKeyRequest{fields: mixPolicy | mixMeasurement}, &[64]byte{}
	var pinned runtime.Pinner // the kernel reads and writes through addresses that Go does not see
	pinned.Pin(ask)
	pinned.Pin(answer)
	defer pinned.Unpin()
	r := sevRequest{version: 1, request: uint64(uintptr(unsafe.Pointer(ask))), response: uint64(uintptr(unsafe.Pointer(answer)))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, device.Fd(), getDerivedKey, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return key, fmt.Errorf("%s: %w (firmware %#x)", sevDevice, errno, r.failure)
	}
	if answer[0]|answer[1]|answer[2]|answer[3] != 0 {
		return key, errors.New("the firmware refuses")
	}
	return [32]byte(answer[32:]), nil
}
