package ratls

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// Everybody is judged when the verdict expires, at the latest after the sweep,
// and a verdict that does not move is no reason to hurry.
func TestRunSweeps(t *testing.T) {
	for name, c := range map[string]struct {
		expires []time.Duration // of one verdict after the other, from its own time on
		want    []time.Duration // of the judgements, from the start
	}{
		"by expiry":    {[]time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}, []time.Duration{0, 20 * time.Second, 50 * time.Second}},
		"by sweep":     {[]time.Duration{time.Hour, time.Hour, time.Hour}, []time.Duration{0, time.Minute, 2 * time.Minute}},
		"not in haste": {[]time.Duration{0, 0, 0}, []time.Duration{0, time.Second, 2 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var at []time.Duration
				cfg := (&Config{Sessions: NewSessions(SessionsOptions{})}).withDefaults()
				here, there := net.Pipe()
				defer there.Close()
				ctx, cancel := context.WithCancel(t.Context())
				peer := &Peer{Verdict: &attest.Verdict{Expires: start.Add(c.expires[0])}, Addr: here.RemoteAddr()}
				conn, err := cfg.keep(ctx, &Conn{here, peer}, 0, func(_ context.Context, _ *attest.Verdict, now time.Time) (*attest.Verdict, error) {
					at = append(at, time.Since(start))
					if len(at) == len(c.want) {
						cancel()
					}
					return &attest.Verdict{Expires: now.Add(c.expires[min(len(at), len(c.expires)-1)])}, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := cfg.Sessions.Run(ctx, nil); !errors.Is(err, context.Canceled) {
					t.Errorf("Run = %v", err)
				}
				for i, want := range c.want {
					if at[i] != want {
						t.Errorf("judged at %v, want %v", at, c.want)
						break
					}
				}
			})
		})
	}
}

// Somebody who leaves is not told from somebody who is refused by a look at
// the network that was broken off: nobody loses trust by our going away.
func TestLeavingRefusesNobody(t *testing.T) {
	cfg := (&Config{Sessions: NewSessions(SessionsOptions{})}).withDefaults()
	here, there := net.Pipe()
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := cfg.keep(ctx, &Conn{here, &Peer{Verdict: &attest.Verdict{}}}, 0, func(ctx context.Context, old *attest.Verdict, _ time.Time) (*attest.Verdict, error) {
		cancel()
		<-ctx.Done()
		return old, ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Peer.OnRefused(func(reason error) { t.Errorf("refused: %v", reason) })
	if n := cfg.Sessions.Revalidate(ctx); n != 0 {
		t.Errorf("%d refused", n)
	}
}
