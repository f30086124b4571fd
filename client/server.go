package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerLimit = 10 * time.Second // for a caller to send the head of a request
	idleLimit   = 2 * time.Minute  // between two requests on a connection
	headerBytes = 64 << 10
)

// server is the gateway while Run runs; without an address it serves nothing.
type server struct {
	http   *http.Server
	failed chan error // why it ended by itself
}

// serve opens the gateway. There is no limit on how long an answer may last:
// a stream dies when it stalls (Config.Stall), not when it lasts.
func (c *Client) serve() (*server, error) {
	s := &server{failed: make(chan error, 1)}
	l := c.cfg.Listener
	if l == nil && c.cfg.Listen == "" {
		return s, nil
	}
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", c.cfg.Listen); err != nil {
			return nil, fmt.Errorf("client: gateway: %w", err)
		}
	}
	c.warnIfOpen(l.Addr())
	s.http = &http.Server{
		Handler: c.Handler(), ReadHeaderTimeout: headerLimit, IdleTimeout: idleLimit, MaxHeaderBytes: headerBytes,
		ErrorLog: slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelDebug),
	}
	c.cfg.Log.Info("gateway listens", "address", l.Addr())
	c.wg.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("client: gateway: %w", err)
		}
	})
	return s, nil
}

// shutdown stops listening, waits for what runs until ctx ends, and closes
// the rest.
func (s *server) shutdown(ctx context.Context) error {
	if s.http == nil {
		return nil
	}
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
	}
	return nil
}

func (c *Client) warnIfOpen(addr net.Addr) {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && !tcp.IP.IsLoopback() && len(c.cfg.APIKeys) == 0 {
		c.cfg.Log.Warn("the gateway is open to the network without API keys: whoever reaches it spends your balance", "address", addr)
	}
}
