package node

import (
	"context"
	"strings"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine"
	"github.com/opencocoon/cocoon/worker"
)

// Worker is a worker's settings.
type Worker struct {
	Common
	// Engine is the base URL of the engine.
	Engine string `json:"engine"`
	// EngineKey is sent to the engine as a bearer token. It is in a file or
	// the environment.
	EngineKey string `json:"engine_key,omitempty"`
	// Model is the full name, name@commit:hash.
	Model string `json:"model"`
	// Coefficient is the price in thousandths of the network's.
	Coefficient int32 `json:"coefficient"`
	// MaxActiveRequests is how many run at a time; 0 means 60.
	MaxActiveRequests int `json:"max_active_requests,omitempty"`
	// ProxyConnections is how many proxies to work for; 0 means 1.
	ProxyConnections int `json:"proxy_connections,omitempty"`
	// Via is the SOCKS5 address of a router that makes attested connections.
	Via string `json:"connect_to_proxy_via,omitempty"`
	// AnyProxyImage believes proxies whatever image they run.
	AnyProxyImage bool `json:"insecure_any_proxy_image,omitempty"`
}

// Check implements [Role].
func (s *Worker) Check() error {
	var p Problems
	s.Common.check(&p)
	if s.Engine == "" {
		p.Add("engine: missing: give the engine's base URL, such as http://127.0.0.1:8000")
	} else if _, err := engine.Base(s.Engine); err != nil {
		p.Add("%v", err)
	}
	if name, _, full := strings.Cut(s.Model, "@"); name == "" || !full {
		p.Add("model %q: want name@commit:hash, as the registry lists it", s.Model)
	}
	if s.Coefficient < 0 {
		p.Add("coefficient %d: want 0 or more (1000 is the network's price)", s.Coefficient)
	}
	if s.MaxActiveRequests < 0 || s.ProxyConnections < 0 {
		p.Add("max_active_requests and proxy_connections cannot be negative")
	}
	if s.Via != "" {
		checkAddress(&p, "connect_to_proxy_via", s.Via)
	}
	return p.Err()
}

// Run implements [Role].
func (s *Worker) Run(ctx context.Context, env Env) error {
	images := (*contract.Root).AllowsProxyImage
	if s.AnyProxyImage {
		images = nil
	}
	b, err := s.base(ctx, env, true, images)
	if err != nil {
		return err
	}
	defer b.close()
	owner, err := contract.ParseAddress(s.OwnerAddress)
	if err != nil {
		return err
	}
	root, err := contract.ParseAddress(s.RootAddress)
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Config{
		Engine: s.Engine, EngineKey: s.EngineKey, Model: s.Model, Coefficient: s.Coefficient, MaxActive: s.MaxActiveRequests,
		Connections: s.ProxyConnections, OwnerAddress: owner, RootAddress: root, Registry: b.registry, RATLS: b.tls, Via: s.Via,
		CheckImages: !s.AnyProxyImage, HTTP: s.Listen, ControlToken: b.token, Log: env.Log,
	})
	if err != nil {
		return err
	}
	return b.run(ctx, w.Run)
}
