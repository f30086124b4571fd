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
// guest, or its kernel is too old, or the process lacks the rights.
var ErrNotGuest = errors.New("tdx: this machine makes no TDX quotes (no TDX guest with /sys/kernel/config/tsm/report or " + devicePath + ")")

// Guest gets quotes about the TDX guest that this process runs in.
type Guest struct {
	tsm    configfsi.Client                          // nil: by report and host
	report func(data [64]byte) ([]byte, error)       // what the processor signs, for this machine alone
	dial   func(context.Context) (connection, error) // to the host's quoting service
}

// NewGuest opens the kernel's interface, or returns ErrNotGuest. A kernel of
// 6.7 or newer makes quotes itself; an older one only reports, which the
// host's quoting service turns into quotes.
func NewGuest() (*Guest, error) {
	if tsm, err := linuxtsm.MakeClient(); err == nil && providerIs(tsm, provider) {
		return &Guest{tsm: tsm}, nil
	}
	if err := findDevice(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotGuest, err)
	}
	return &Guest{report: DeviceReport, dial: dialHost}, nil
}

// provider is the kernel's name for its source of TDX quotes.
const provider = "tdx_guest"

// providerIs asks the kernel for whom it makes reports, without having one
// made.
func providerIs(tsm configfsi.Client, want string) bool {
	dir, err := tsm.MkdirTemp("/sys/kernel/config/tsm/report", "cocoon")
	if err != nil {
		return false
	}
	defer tsm.RemoveAll(dir)
	got, err := tsm.ReadFile(dir + "/provider")
	return err == nil && strings.TrimSpace(string(got)) == want
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
	if g.tsm == nil {
		return g.quoteByHost(ctx, reportData)
	}
	resp, err := report.Get(g.tsm, &report.Request{InBlob: reportData[:]})
	if err != nil {
		return nil, fmt.Errorf("tdx: quote from the kernel: %w", err)
	}
	if got := strings.TrimSpace(resp.Provider); got != provider {
		return nil, fmt.Errorf("%w: the kernel's provider is %q", ErrNotGuest, got)
	}
	return resp.OutBlob, nil
}

// quoteByHost has the processor's report turned into a quote by the host,
// which cannot change what it says.
func (g *Guest) quoteByHost(ctx context.Context, reportData [64]byte) ([]byte, error) {
	report, err := g.report(reportData)
	if err != nil {
		return nil, fmt.Errorf("tdx: report from the kernel: %w", err)
	}
	conn, err := g.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("tdx: the host's quoting service: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
	defer stop()
	quote, err := askHost(conn, report)
	if err != nil {
		return nil, errors.Join(ctx.Err(), fmt.Errorf("tdx: the host's quoting service: %w", err))
	}
	return quote, nil
}
