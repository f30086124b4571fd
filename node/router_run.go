package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
	"github.com/opencocoon/cocoon/stats"
)

// fileLook is how often configuration and certificate files are looked at.
const fileLook = 5 * time.Second

// Run implements [Role].
func (s *Router) Run(ctx context.Context, env Env) error {
	identity, keep, err := s.identity(ctx, env)
	if err != nil {
		return err
	}
	trust, err := s.policy(nil)
	if err != nil {
		return err
	}
	settings, _ := s.settings() // Check has read them
	r, err := router.New(router.Config{Settings: settings, Trust: *trust, Identity: identity, Log: env.Log})
	if err != nil {
		return err
	}
	observe, err := s.observe(env, r)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	needed, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	beside.Go(func() { keep(needed) })
	beside.Go(func() { s.follow(ctx, env, r) })
	beside.Go(func() { observe(needed) })
	err = r.Run(ctx)
	stop()
	beside.Wait()
	return err
}

// identity is what peers are shown, and what keeps it fresh until its context
// ends.
func (s *Router) identity(ctx context.Context, env Env) (*ratls.Identity, func(context.Context), error) {
	if s.Cert != "" {
		files, err := ratls.ReadIdentity(s.Cert)
		if err != nil {
			return nil, nil, err
		}
		return files.Identity, func(ctx context.Context) { reread(ctx, env, files) }, nil
	}
	platform, err := s.platform(true)
	if errors.Is(err, tdx.ErrNotGuest) && errors.Is(err, snp.ErrNotGuest) {
		env.log().Info("this is no trusted guest: peers are shown no evidence")
		platform, err = attest.NoPlatform{}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	id, err := ratls.NewIdentity(ctx, platform, &ratls.IdentityOptions{Log: env.Log})
	if err != nil {
		return nil, nil, err
	}
	return id, func(ctx context.Context) { _ = id.Run(ctx) }, nil // it ends with its context only
}

// reread takes a certificate as soon as it is renewed.
func reread(ctx context.Context, env Env, files *ratls.IdentityFiles) {
	failing := false
	every(ctx, fileLook, func() {
		changed, err := files.Reread()
		if changed {
			env.log().Info("certificate read anew", "expires", files.Identity.Certificate().Leaf.NotAfter)
		}
		if err != nil && !failing {
			env.log().Warn("certificate not read, the one before stays", "err", err)
		}
		failing = err != nil
	})
}

// every calls f from time to time until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f()
		}
	}
}

// follow reloads the settings when the file has changed or somebody asks.
func (s *Router) follow(ctx context.Context, env Env, r *router.Router) {
	if s.Again == nil {
		return
	}
	last := stamp(s.File)
	reload := func() {
		err := s.reload(r)
		if err != nil {
			env.log().Error("settings not reloaded, the ones before stay", "err", err)
			return
		}
		env.log().Info("settings reloaded")
	}
	ticker := time.NewTicker(fileLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Ask:
			last = stamp(s.File)
			reload()
		case <-ticker.C:
			if now := stamp(s.File); now != last {
				last = now
				reload()
			}
		}
	}
}

func (s *Router) reload(r *router.Router) error {
	next, err := s.Again()
	if err == nil {
		err = next.Check()
	}
	if err != nil {
		return err
	}
	settings, _ := next.settings()
	return r.Reload(settings)
}

// stamp tells one content of a file from another, without reading it.
func stamp(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size())
}

// observe opens /metrics and returns what serves it until its context ends.
func (s *Router) observe(env Env, r *router.Router) (func(context.Context), error) {
	if s.Metrics == "" {
		return func(context.Context) {}, nil
	}
	l, err := net.Listen("tcp", s.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if env.Ready != nil {
		env.Ready("http://" + l.Addr().String())
	}
	server := &http.Server{Handler: stats.Handler(stats.Config{Metrics: stats.NewRegistry(r.Metrics)}), ReadHeaderTimeout: 10 * time.Second}
	return func(ctx context.Context) {
		context.AfterFunc(ctx, func() { server.Close() })
		_ = server.Serve(l) // it ends when it is closed
	}, nil
}
