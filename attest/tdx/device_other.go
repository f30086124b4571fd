//go:build !linux

package tdx

import (
	"context"
	"errors"
)

const devicePath = "/dev/tdx_guest"

var errLinuxOnly = errors.New("only Linux has an interface for it")

func findDevice() error                            { return errLinuxOnly }
func deviceReport([64]byte) ([]byte, error)        { return nil, errLinuxOnly }
func dialHost(context.Context) (connection, error) { return nil, errLinuxOnly }
