//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package seal

import (
	"os"
	"syscall"
)

// lock waits until no other process changes the store; it ends with the file
// or the process.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
