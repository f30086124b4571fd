//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package node

import "os"

// lock does nothing where files cannot be locked this way: keep to one
// process per directory.
func lock(*os.File) error { return nil }
