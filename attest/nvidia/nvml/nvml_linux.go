//go:build linux && (amd64 || arm64)

package nvml

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/ebitengine/purego"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

const (
	library       = "libnvidia-ml.so.1"
	success       = 0
	notSupported  = 3
	textSize      = 96 // the longest of the library's texts
	maxGPUs       = 64
	reportSize    = 0x2000
	cecReportSize = 0x1000
	certSize      = 0x1000
	certChainSize = 0x1400
)

// report is nvmlConfComputeGpuAttestationReport_t.
type report struct {
	HasCEC    uint32
	Size      uint32
	CECSize   uint32
	Nonce     [32]byte
	Report    [reportSize]byte
	CECReport [cecReportSize]byte
}

// certificate is nvmlConfComputeGpuCertificate_t.
type certificate struct {
	CertSize  uint32
	ChainSize uint32 // of attestation
	Cert      [certSize]byte
	Chain     [certChainSize]byte
}

// systemState is nvmlConfComputeSystemState_t.
type systemState struct{ Environment, Feature, DevTools uint32 }

// device is nvmlDevice_t, a pointer of the library's.
type device uintptr

// Library is the opened library. Calls go one after the other: a report is the
// work of the GPU itself, and the library's promises about threads are few.
type Library struct {
	mu sync.Mutex // held during calls

	shutdown    func() int32
	errorString func(code int32) string
	driver      func(text *byte, size uint32) int32
	state       func(*systemState) int32
	count       func(*uint32) int32
	handle      func(index uint32, d *device) int32
	uuid        func(d device, text *byte, size uint32) int32
	name        func(d device, text *byte, size uint32) int32
	vbios       func(d device, text *byte, size uint32) int32
	certificate func(d device, c *certificate) int32
	report      func(d device, r *report) int32
}

var _ nvidia.Source = (*Library)(nil)

// Open loads the library and initialises it, or returns ErrUnavailable.
func Open() (*Library, error) {
	h, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	l := &Library{}
	var start func() int32
	for name, f := range map[string]any{
		"nvmlInit_v2": &start, "nvmlShutdown": &l.shutdown, "nvmlErrorString": &l.errorString,
		"nvmlSystemGetDriverVersion": &l.driver, "nvmlSystemGetConfComputeState": &l.state,
		"nvmlDeviceGetCount_v2": &l.count, "nvmlDeviceGetHandleByIndex_v2": &l.handle,
		"nvmlDeviceGetUUID": &l.uuid, "nvmlDeviceGetName": &l.name, "nvmlDeviceGetVbiosVersion": &l.vbios,
		"nvmlDeviceGetConfComputeGpuCertificate":       &l.certificate,
		"nvmlDeviceGetConfComputeGpuAttestationReport": &l.report,
	} {
		address, err := purego.Dlsym(h, name)
		if err != nil {
			return nil, fmt.Errorf("%w: the driver is too old: no %s", ErrUnavailable, name)
		}
		purego.RegisterFunc(f, address)
	}
	if err := l.check("initialise", start()); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	return l, nil
}

// Close ends the use of the library.
func (l *Library) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.check("shut down", l.shutdown())
}

func (l *Library) check(what string, code int32) error {
	if code == success {
		return nil
	}
	return fmt.Errorf("nvml: %s: %s (%d)", what, l.errorString(code), code)
}

// State reads what the driver says of confidential mode.
func (l *Library) State() (s State, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Driver, err = l.text("driver version", l.driver); err != nil {
		return s, err
	}
	var state systemState
	code := l.state(&state)
	if code == notSupported { // a machine that has never been confidential
		return s, nil
	}
	s.Confidential, s.DevTools = state.Feature == 1, state.DevTools == 1
	return s, l.check("state of confidential mode", code)
}

// GPUs lists the boards.
func (l *Library) GPUs() (list []GPU, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.each(func(d device) error {
		var g GPU
		for _, f := range []struct {
			what string
			into *string
			get  func(device, *byte, uint32) int32
		}{{"UUID", &g.UUID, l.uuid}, {"name", &g.Name, l.name}, {"VBIOS version", &g.VBIOS, l.vbios}} {
			if *f.into, err = l.text(f.what, func(b *byte, n uint32) int32 { return f.get(d, b, n) }); err != nil {
				return err
			}
		}
		list = append(list, g)
		return nil
	})
	return list, err
}

// Evidence implements nvidia.Source for all GPUs of this machine. A GPU takes
// about a second; between two of them ctx is looked at.
func (l *Library) Evidence(ctx context.Context, nonce [32]byte) ([]byte, error) {
	s, err := l.State()
	if err != nil {
		return nil, err
	}
	if !s.Confidential || s.DevTools {
		return nil, ErrNotConfidential
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var boards []nvidia.Board
	err = l.each(func(d device) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := l.board(d, nonce)
		boards = append(boards, b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return nvidia.Encode(boards)
}

func (l *Library) board(d device, nonce [32]byte) (b nvidia.Board, err error) {
	r, c := &report{Nonce: nonce}, &certificate{}
	if err := l.check("attestation report", l.report(d, r)); err != nil {
		return b, err
	}
	if err := l.check("certificates", l.certificate(d, c)); err != nil {
		return b, err
	}
	if r.Size > reportSize || c.ChainSize > certChainSize {
		return b, fmt.Errorf("nvml: report of %d bytes, certificates of %d, want at most %d and %d", r.Size, c.ChainSize, reportSize, certChainSize)
	}
	return nvidia.Board{Report: r.Report[:r.Size], Chain: c.Chain[:c.ChainSize]}, nil
}

// each calls do for each GPU.
func (l *Library) each(do func(device) error) error {
	var n uint32
	if err := l.check("number of GPUs", l.count(&n)); err != nil {
		return err
	}
	if n == 0 || n > maxGPUs {
		return fmt.Errorf("nvml: %d GPUs, want 1 to %d", n, maxGPUs)
	}
	for i := range n {
		var d device
		if err := l.check(fmt.Sprintf("GPU %d", i), l.handle(i, &d)); err != nil {
			return err
		}
		if err := do(d); err != nil {
			return fmt.Errorf("GPU %d: %w", i, err)
		}
	}
	return nil
}

func (l *Library) text(what string, get func(*byte, uint32) int32) (string, error) {
	var b [textSize]byte
	if err := l.check(what, get(&b[0], textSize)); err != nil {
		return "", err
	}
	text, _, _ := bytes.Cut(b[:], []byte{0})
	return string(text), nil
}
