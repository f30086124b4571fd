package ratls

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// Lists changed while a peer negotiated, and its time ran out while it was
// judged by the new ones: it was accepted by nobody, and is no connection.
func TestKeepEndsWithItsNegotiation(t *testing.T) {
	cfg := (&Config{Sessions: NewSessions(SessionsOptions{})}).withDefaults()
	begun := cfg.Sessions.begun()
	cfg.Sessions.Revalidate(t.Context())
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	judge := func(context.Context, *attest.Verdict, time.Time) (*attest.Verdict, error) {
		cancel()
		return &attest.Verdict{}, errors.New("struck off")
	}
	conn, err := cfg.keep(ctx, &Conn{ours, &Peer{Verdict: &attest.Verdict{Trusted: true}}}, begun, judge)
	if conn != nil || err == nil || cfg.Sessions.Len() != 0 {
		t.Errorf("connection %v, error %v, %d sessions, want an error and nothing else", conn, err, cfg.Sessions.Len())
	}
}
