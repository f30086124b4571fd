package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/opencocoon/cocoon/bench"
	"github.com/opencocoon/cocoon/engine/builtin"
)

// Engine is the settings of an engine of ours that runs alone.
type Engine struct {
	// Listen is its HTTP address.
	Listen string `json:"listen"`
	// ModelFile is a GGUF file; empty means the demonstration model.
	ModelFile string `json:"model_file,omitempty"`
	// Bench serves no model but answers at once, for measuring.
	Bench bool `json:"bench,omitempty"`
}

// Check implements [Role].
func (s *Engine) Check() error {
	var p Problems
	checkAddress(&p, "listen", s.Listen)
	if s.Bench && s.ModelFile != "" {
		p.Add("bench and model_file exclude each other")
	}
	return p.Err()
}

// Run implements [Role].
func (s *Engine) Run(ctx context.Context, env Env) error {
	var handler http.Handler
	if !s.Bench {
		model, err := s.model()
		if err != nil {
			return err
		}
		env.log().Info("model loaded", "model", model.Name(), "context", model.Context())
		handler = builtin.NewServer(model, builtin.Options{})
	}
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	if env.Ready != nil {
		env.Ready("http://" + l.Addr().String())
	}
	if s.Bench {
		return (&bench.Engine{Log: env.Log}).Serve(ctx, l)
	}
	return serve(ctx, l, handler)
}

func (s *Engine) model() (*builtin.Model, error) {
	if s.ModelFile == "" {
		return builtin.Default()
	}
	file, err := os.ReadFile(s.ModelFile)
	if err != nil {
		return nil, err
	}
	m, err := builtin.Load(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.ModelFile, err)
	}
	return m, nil
}

// engineGrace is how long answers may take to finish after ctx ended.
const engineGrace = 5 * time.Second

// serve serves h on l until ctx ends, lets running answers finish for a short
// while, and ends them.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("engine: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), engineGrace)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-failed // it is http.ErrServerClosed
	return err
}
