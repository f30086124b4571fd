//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package node

import (
	"os"
	"syscall"
)

// lock keeps a second process away; it ends with the file or the process.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
