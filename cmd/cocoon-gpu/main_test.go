package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/nvidia/nvml"
)

func TestArguments(t *testing.T) {
	nonce := strings.Repeat("5a", 32)
	for name, args := range map[string][]string{
		"no hex": {"nonce"}, "too short": {nonce[2:]}, "too long": {nonce + "5a"}, "two": {nonce, nonce}, "empty": {""},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), args, &out); err == nil || !strings.Contains(err.Error(), "64 hexadecimal digits") || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, out.Len())
		}
	}
}

// Without a GPU there is no output that could be taken for evidence.
func TestWithoutGPU(t *testing.T) {
	if gpus, err := nvml.Open(); err == nil {
		gpus.Close()
		t.Skip("this machine has a GPU")
	}
	for _, args := range [][]string{nil, {strings.Repeat("5a", 32)}} {
		var out bytes.Buffer
		if err := run(t.Context(), args, &out); !errors.Is(err, nvml.ErrUnavailable) || out.Len() > 0 {
			t.Errorf("%v: %v, %d bytes written, want ErrUnavailable and none", args, err, out.Len())
		}
	}
}
