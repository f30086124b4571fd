package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"path/filepath"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/proxy"
	"github.com/opencocoon/cocoon/ratls"
)

// Proxy is a proxy's settings.
type Proxy struct {
	Common
	// WorkersListen and ClientsListen are the two doors, open to the network:
	// proof of work and attested TLS.
	WorkersListen string `json:"workers_listen,omitempty"`
	ClientsListen string `json:"clients_listen,omitempty"`
	// WorkersRPCPort and ClientRPCPort are used instead behind a router on
	// this machine that does both: ports on 127.0.0.1.
	WorkersRPCPort int `json:"workers_rpc_port,omitempty"`
	ClientRPCPort  int `json:"client_rpc_port,omitempty"`
	// Via is the SOCKS5 address of a router that makes the attested connection to
	// the key manager.
	Via string `json:"connect_to_proxy_via,omitempty"`
	// AnyWorkerImage believes workers whatever image and model they run.
	AnyWorkerImage bool `json:"insecure_any_worker_image,omitempty"`
	// Difficulty is the proof of work that callers do; 0 means 20 bits.
	Difficulty int `json:"pow_difficulty,omitempty"`
	// QueueLimit is how many requests may wait per model; 0 means 256.
	QueueLimit int `json:"queue_limit,omitempty"`
	// QueueWait is how long they wait; 0 means 10 s.
	QueueWait Duration `json:"queue_wait,omitempty"`
	// HedgeShare is how many second workers may be asked per request, on
	// average, as soon as the first answer is late; 0 is none. What is overdue is given on in any case.
	HedgeShare float64 `json:"hedge_share,omitempty"`
	// ClientRequests and ClientTokens are what a client may have in a minute,
	// ClientConcurrent how many requests at a time; 0 is no limit.
	ClientRequests   float64 `json:"client_requests_per_minute,omitempty"`
	ClientTokens     float64 `json:"client_tokens_per_minute,omitempty"`
	ClientConcurrent int     `json:"client_concurrent,omitempty"`
	Settlement
}

// Check implements [Role].
func (s *Proxy) Check() error {
	var p Problems
	s.Common.check(&p)
	for _, door := range []struct {
		key, address string
		rpcKey       string
		port         int
	}{{"workers_listen", s.WorkersListen, "workers_rpc_port", s.WorkersRPCPort}, {"clients_listen", s.ClientsListen, "client_rpc_port", s.ClientRPCPort}} {
		switch {
		case (door.address == "") == (door.port == 0):
			p.Add("%s or, behind a router, %s: want exactly one of them", door.key, door.rpcKey)
		case door.port < 0 || door.port > 65535:
			p.Add("%s %d: want 1 to 65535", door.rpcKey, door.port)
		case door.port == 0:
			checkAddress(&p, door.key, door.address)
		}
	}
	if s.Via != "" {
		checkAddress(&p, "connect_to_proxy_via", s.Via)
	}
	if s.Difficulty < 0 || s.Difficulty > 64 {
		p.Add("pow_difficulty %d: want 1 to 64 bits, or 0 for the network's 20", s.Difficulty)
	}
	if s.QueueWait < 0 {
		p.Add("queue_wait: cannot be negative")
	}
	if !(s.HedgeShare >= 0 && s.HedgeShare <= 1) {
		p.Add("hedge_share %g: want 0 to 1", s.HedgeShare)
	}
	if !(s.ClientRequests >= 0) || !(s.ClientTokens >= 0) || s.ClientConcurrent < 0 {
		p.Add("client_requests_per_minute, client_tokens_per_minute and client_concurrent cannot be negative")
	}
	s.Settlement.check(&p, s.TONConfig != "")
	s.Sealing.check(&p, &s.Common, s.Data != "")
	return p.Err()
}

// Run implements [Role].
func (s *Proxy) Run(ctx context.Context, env Env) error {
	images := (*contract.Root).AllowsWorkerImage
	if s.AnyWorkerImage {
		images = nil
	}
	var ring *keyring
	if s.Data != "" {
		held, release, err := s.holding().begin(ctx, env)
		if err != nil {
			return err
		}
		defer release()
		ring = held
	}
	s.keepProven(s.Data)
	b, err := s.base(ctx, env, true, images, ring)
	if err != nil {
		return err
	}
	defer b.close()
	b.tls.Difficulty = s.Difficulty
	if ring == nil {
		return s.serve(ctx, env, b, proxy.Config{Key: freshKey()})
	}
	h, err := s.openHouse(env, b, ring)
	if err != nil {
		return err
	}
	cfg := proxy.Config{Key: h.key, KeysKept: ring.kept, Book: h.ledger, Registrar: h.settler, Settler: settler{h.settler},
		MemoryFile: filepath.Join(s.Data, "reputation.json")}
	return errors.Join(s.serve(ctx, env, b, cfg, h.wallet.Run, h.settler.Run), h.close())
}

// serve runs the proxy, beside what it needs as long as it runs.
func (s *Proxy) serve(ctx context.Context, env Env, b *base, cfg proxy.Config, more ...func(context.Context) error) error {
	held, err := s.keyFollower(env, b, s.Via, !s.AnyWorkerImage)
	if err != nil {
		return err
	}
	doors, err := s.open(b)
	if err != nil {
		return err
	}
	cfg.WorkersListener, cfg.ClientsListener, cfg.HTTPListener = doors.workers, doors.clients, doors.http
	cfg.Registry, cfg.OwnerAddress, cfg.RootAddress = b.registry, s.OwnerAddress, s.RootAddress
	cfg.CheckImages, cfg.QueueLimit, cfg.QueueWait = !s.AnyWorkerImage, s.QueueLimit, time.Duration(s.QueueWait)
	cfg.HedgeShare = s.HedgeShare
	cfg.Limits = market.Limits{Requests: s.ClientRequests, Concurrent: s.ClientConcurrent, Tokens: s.ClientTokens}
	cfg.ControlToken, cfg.Seed, cfg.Log, cfg.Keys, cfg.Now = b.token, mrand.Uint64(), env.Log, held, env.Now
	p, err := proxy.New(cfg)
	if err != nil {
		return errors.Join(err, doors.close())
	}
	if env.Ready != nil {
		env.Ready("http://" + doors.http.Addr().String())
	}
	return b.run(ctx, p.Run, append(more, held.Run)...)
}

// freshKey is the proxy's key on this run, where nothing is settled. The ledger is in memory, so
// a proxy that starts again has forgotten what it promised; under its old key
// its peers would rightly refuse the smaller promises.
func freshKey() ed25519.PrivateKey {
	_, key, _ := ed25519.GenerateKey(rand.Reader) // crypto/rand does not fail
	return key
}

// doors are the addresses a proxy is reached at.
type doors struct{ workers, clients, http net.Listener }

func (d doors) close() error {
	var errs []error
	for _, l := range []net.Listener{d.workers, d.clients, d.http} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// open opens all doors or none. Workers must prove themselves; clients need
// not, as they are only who pays.
func (s *Proxy) open(b *base) (d doors, err error) {
	clients := *b.tls
	clients.Policy = &attest.Policy{AllowNone: true, AnyImage: true}
	clients.Sessions = nil // there is nothing to judge anew
	if d.workers, err = listen(s.WorkersListen, s.WorkersRPCPort, b.tls); err != nil {
		return d, err
	}
	if d.clients, err = listen(s.ClientsListen, s.ClientRPCPort, &clients); err != nil {
		return d, errors.Join(err, d.close())
	}
	if d.http, err = net.Listen("tcp", s.Listen); err != nil {
		return d, errors.Join(err, d.close())
	}
	return d, nil
}

func listen(address string, behindRouter int, cfg *ratls.Config) (net.Listener, error) {
	var l *ratls.Listener
	var err error
	if behindRouter != 0 {
		l, err = ratls.ListenBehindRouter(fmt.Sprintf("127.0.0.1:%d", behindRouter), cfg)
	} else {
		l, err = ratls.Listen(address, cfg)
	}
	if err != nil {
		return nil, err // not l: a nil *Listener in an interface is not nil
	}
	return l, nil
}
