// Package nvml asks the GPUs of this machine for evidence, through the
// driver's management library. Start with [Open].
//
// It loads libnvidia-ml.so.1 without cgo. A program that imports it is linked
// dynamically all the same, which is why only cmd/cocoon-gpu does. Structures
// and functions: NVML API Reference Guide, Confidential Computing.
package nvml

import "errors"

// ErrUnavailable means that this machine has no NVIDIA driver, or that its
// library lacks what is needed here.
var ErrUnavailable = errors.New("nvml: the NVIDIA driver's library libnvidia-ml.so.1 cannot be used here")

// ErrNotConfidential means that the GPUs are not in confidential mode, in
// which alone they attest, or in its variant for debugging. The mode is set
// from the host, with the machine off.
var ErrNotConfidential = errors.New("nvml: the GPUs are not in confidential mode")

// GPU is a board as the driver describes it. Nothing of it is proven.
type GPU struct {
	UUID, Name, VBIOS string
}

// State is what the driver says of confidential mode.
type State struct {
	Driver       string
	Confidential bool
	DevTools     bool // debugging is possible: nothing is confidential
}
