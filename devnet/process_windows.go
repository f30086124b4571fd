package devnet

import "syscall"

// dieWithParent puts a process into a group of its own, so that Ctrl-C
// reaches only the devnet, which stops its roles in order. That it ends with
// the devnet is up to its standard input.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
