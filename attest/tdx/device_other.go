//go:build !linux

package tdx

import (
	"context"
	"errors"
	"os"
)

const devicePath = "/dev/tdx_guest"

var errLinuxOnly = errors.New("only Linux has an interface for it")

func findDevice() error                            { return errLinuxOnly }
func dialHost(context.Context) (connection, error) { return nil, errLinuxOnly }

// DeviceReport is for Linux guests.
func DeviceReport([64]byte) ([]byte, error) { return nil, errLinuxOnly }

// DialVsock is for Linux guests.
func DialVsock(cid, port uint32) (*os.File, error) { return nil, errLinuxOnly }
