package tdx

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"
	"github.com/google/go-configfs-tsm/report"
	"github.com/opencocoon/cocoon/attest/evidence"
)

// ErrNotGuest means that this machine cannot make TDX quotes: it is no TDX
// guest, or its kernel is older than 6.7, or the process lacks the rights.
var ErrNotGuest = errors.New("tdx: this machine makes no TDX quotes (no TDX guest with /sys/kernel/config/tsm/report)")

// Guest asks the kernel of a TDX guest for quotes.
type Guest struct {
	tsm configfsi.Client
}

// NewGuest opens the kernel's interface, or returns ErrNotGuest.
func NewGuest() (*Guest, error) {
	tsm, err := linuxtsm.MakeClient()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotGuest, err)
	}
	return &Guest{tsm}, nil
}

// Kind returns evidence.TDX.
func (g *Guest) Kind() evidence.Kind { return evidence.TDX }

// Quote returns a quote that carries reportData, with the zeros that the
// driver leaves behind it. The kernel takes a few milliseconds and cannot be
// interrupted; ctx is looked at before it is asked.
func (g *Guest) Quote(ctx context.Context, reportData [64]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	resp, err := report.Get(g.tsm, &report.Request{InBlob: reportData[:]})
	if err != nil {
		return nil, fmt.Errorf("tdx: quote from the kernel: %w", err)
	}
	if provider := strings.TrimSpace(resp.Provider); provider != "tdx_guest" {
		return nil, fmt.Errorf("%w: the kernel's provider is %q", ErrNotGuest, provider)
	}
	return resp.OutBlob, nil
}
