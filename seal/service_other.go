//go:build !linux

package seal

import (
	"context"
	"errors"
	"io"
)

// DefaultService is where the network's hosts offer the service.
const DefaultService = "vsock:2:12345"

var errNotLinux = errors.New("guests run Linux")

// Dial is for Linux guests.
func Dial(string) func(context.Context) (io.ReadWriteCloser, error) {
	return func(context.Context) (io.ReadWriteCloser, error) { return nil, errNotLinux }
}

// TDReport is for Linux guests.
func TDReport([64]byte) ([]byte, error) { return nil, errNotLinux }

func derivedKey() (key [32]byte, err error) { return key, errNotLinux }
