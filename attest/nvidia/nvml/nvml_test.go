//go:build linux && (amd64 || arm64)

package nvml

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/opencocoon/cocoon/attest/nvidia"
)

// The sizes are those of NVIDIA's own bindings for Python (nvidia-ml-py).
func TestStructures(t *testing.T) {
	for name, c := range map[string]struct{ got, want uintptr }{
		"nvmlConfComputeGpuAttestationReport_t": {unsafe.Sizeof(report{}), 12332},
		"nvmlConfComputeGpuCertificate_t":       {unsafe.Sizeof(certificate{}), 9224},
		"nvmlConfComputeSystemState_t":          {unsafe.Sizeof(systemState{}), 12},
	} {
		if c.got != c.want {
			t.Errorf("%s has %d bytes, want %d", name, c.got, c.want)
		}
	}
}

// With a GPU this shows that the library is called rightly: texts and states
// come out sensibly, and evidence is for its nonce or refused with the reason.
// Without one the reason is ErrUnavailable.
func TestLibrary(t *testing.T) {
	l, err := Open()
	if err != nil {
		if !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Open: %v, want ErrUnavailable", err)
		}
		t.Skip(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, err := l.State()
	if err != nil {
		t.Fatal(err)
	}
	gpus, err := l.GPUs()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("driver %s, confidential %t, development tools %t", s.Driver, s.Confidential, s.DevTools)
	for i, g := range gpus {
		t.Logf("GPU %d: %s, VBIOS %s, %s", i, g.Name, g.VBIOS, g.UUID)
		if len(g.UUID) < 40 || g.Name == "" || len(g.VBIOS) != len("96.00.9F.00.01") {
			t.Errorf("GPU %d is %+v", i, g)
		}
	}
	nonce := [32]byte{1}
	blob, err := l.Evidence(t.Context(), nonce)
	if !s.Confidential {
		if !errors.Is(err, ErrNotConfidential) {
			t.Errorf("evidence: %v, want ErrNotConfidential", err)
		}
		// Ask the GPU itself: the structures must be right, or this crashes.
		err := l.each(func(d device) error { _, err := l.board(d, nonce); return err })
		if err == nil {
			t.Error("a GPU outside confidential mode attested")
		}
		t.Logf("a GPU outside confidential mode: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	boards, err := nvidia.Decode(blob)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range boards {
		r, err := nvidia.ParseReport(b.Report)
		if err != nil || r.Nonce != nonce {
			t.Errorf("GPU %d: %v", i, err)
		}
	}
}
