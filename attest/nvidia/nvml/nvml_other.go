//go:build !(linux && (amd64 || arm64))

package nvml

import "context"

// Library is the opened library; there is none on this system.
type Library struct{}

// Open returns ErrUnavailable.
func Open() (*Library, error) { return nil, ErrUnavailable }

// Close does nothing.
func (*Library) Close() error { return nil }

// State returns ErrUnavailable.
func (*Library) State() (State, error) { return State{}, ErrUnavailable }

// GPUs returns ErrUnavailable.
func (*Library) GPUs() ([]GPU, error) { return nil, ErrUnavailable }

// Evidence returns ErrUnavailable.
func (*Library) Evidence(context.Context, [32]byte) ([]byte, error) { return nil, ErrUnavailable }
