package devnet

import "syscall"

// dieWithParent puts a process into a group of its own, so that Ctrl-C
// reaches only the devnet, which stops its roles in order; and lets the kernel
// stop it should the devnet be killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
