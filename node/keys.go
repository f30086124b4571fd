package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/keys"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/wallet"
)

// Keys is a key manager's settings.
type Keys struct {
	Common
	// KeysListen is the door for proxies and workers, open to the network: proof
	// of work and attested TLS.
	KeysListen string `json:"keys_listen,omitempty"`
	// RPCPort is used instead behind a router on this machine that does both: a
	// port on 127.0.0.1.
	RPCPort int `json:"rpc_port,omitempty"`
	// Data is the directory of what must survive: the key manager's key and the
	// node wallet's, both made at the first start, the keys that it has made, and
	// the wallet's queue. Without seal its disk must be encrypted.
	Data string `json:"data"`
	// AnyImage gives keys to whoever asks, on test networks only.
	AnyImage bool `json:"insecure_any_image,omitempty"`
	// ServeWorkers gives keys to workers too, which have no use for them.
	ServeWorkers bool `json:"serve_workers,omitempty"`
	// UnboundOrders signs registrations in the reference's form, which does not
	// say for which registry.
	UnboundOrders bool `json:"unbound_orders,omitempty"`
	// RegisterAfter is how long a new key is handed out before it is registered;
	// 0 means 15 s.
	RegisterAfter Duration `json:"register_after,omitempty"`
	// Difficulty is the proof of work that callers do; 0 means 20 bits.
	Difficulty int `json:"pow_difficulty,omitempty"`
}

// Check implements [Role].
func (s *Keys) Check() error {
	var p Problems
	s.Common.check(&p)
	switch {
	case (s.KeysListen == "") == (s.RPCPort == 0):
		p.Add("keys_listen or, behind a router, rpc_port: want exactly one of them")
	case s.RPCPort < 0 || s.RPCPort > 65535:
		p.Add("rpc_port %d: want 1 to 65535", s.RPCPort)
	case s.RPCPort == 0:
		checkAddress(&p, "keys_listen", s.KeysListen)
	}
	if s.Data == "" {
		p.Add("data: missing: what is encrypted for a key that a restart forgets, nobody can read")
	}
	if s.Difficulty < 0 || s.Difficulty > 64 {
		p.Add("pow_difficulty %d: want 1 to 64 bits, or 0 for the network's 20", s.Difficulty)
	}
	if s.RegisterAfter < 0 {
		p.Add("register_after: cannot be negative")
	}
	s.Sealing.check(&p, &s.Common, s.Data != "")
	return p.Err()
}

// Run implements [Role].
func (s *Keys) Run(ctx context.Context, env Env) error {
	ring, release, err := s.holding().begin(ctx, env)
	if err != nil {
		return err
	}
	defer release()
	// Whoever proves what it is may ask; the key manager looks at the image itself,
	// at each question.
	s.keepProven(s.Data)
	b, err := s.base(ctx, env, true, nil, ring)
	if err != nil {
		return err
	}
	defer b.close()
	b.tls.Difficulty = s.Difficulty
	key, err := ring.key(ManagerKey)
	if err != nil {
		return fmt.Errorf("data %s: %w", s.Data, err)
	}
	cfg := keys.Config{
		Registry: b.registry, CheckImages: !s.AnyImage, Key: key.Private(), Store: ring.blob(keysFile), KeysKept: ring.kept,
		ServeWorkers: s.ServeWorkers, Ripen: time.Duration(s.RegisterAfter), ControlToken: b.token, Now: env.Now, Log: env.Log,
	}
	var more []func(context.Context) error
	if b.chain != nil {
		w, err := ring.openNodeWallet(env, b)
		if err != nil {
			return fmt.Errorf("data %s: %w", s.Data, err)
		}
		defer w.Close()
		root, err := contract.ParseAddress(s.RootAddress)
		if err != nil {
			return err
		}
		cfg.Registrar = &keys.ByWallet{Wallet: w, Root: root, Key: cfg.Key, Unbound: s.UnboundOrders}
		cfg.Wallet = func() any { return w.Status() }
		more = append(more, w.Run, func(ctx context.Context) error { return awaitFunding(ctx, env, b, registrationFunds(w)) })
	}
	return s.serve(ctx, env, b, cfg, more...)
}

func (s *Keys) serve(ctx context.Context, env Env, b *base, cfg keys.Config, more ...func(context.Context) error) (err error) {
	if cfg.Listener, err = listen(s.KeysListen, s.RPCPort, b.tls); err != nil {
		return err
	}
	if cfg.HTTPListener, err = net.Listen("tcp", s.Listen); err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	m, err := keys.New(cfg)
	if err != nil {
		return errors.Join(err, cfg.Listener.Close(), cfg.HTTPListener.Close())
	}
	env.log().Info("key manager", "public key", fmt.Sprintf("%x", cfg.Key.Public()), "door", cfg.Listener.Addr().String())
	if env.Ready != nil {
		env.Ready("http://" + cfg.HTTPListener.Addr().String())
	}
	return b.run(ctx, m.Run, more...)
}

// registrationFunds is what the key manager's wallet needs to begin.
func registrationFunds(w *wallet.Driver) *settlement.Funding {
	return &settlement.Funding{Address: w.Address(), Want: contract.WalletKeeps + coin.TON,
		For: "2 TON that stay in it and 1 TON for registering a key each hour, most of which comes back."}
}

// keyFollower is who asks the network's key manager, at a proxy. check demands
// the image that the registry names.
func (c *Common) keyFollower(env Env, b *base, via string, check bool) (*keys.Follower, error) {
	wanted := func(h attest.Hash) bool { return h != attest.Hash{} && h == b.registry.Root().KeyManagerImage }
	if !check {
		wanted = nil
	}
	policy, err := c.policy(wanted)
	if err != nil {
		return nil, err
	}
	tls := *b.tls
	tls.Policy = policy
	return keys.NewFollower(keys.FollowerConfig{
		Registry: b.registry, CheckImages: check, As: keys.Proxy, Log: env.Log,
		Dial: func(ctx context.Context, address string) (net.Conn, *ratls.Peer, error) {
			if via != "" {
				return ratls.DialVia(ctx, via, address, &tls)
			}
			nc, err := ratls.Dial(ctx, address, &tls)
			if err != nil {
				return nil, nil, err
			}
			return nc, nc.Peer, nil
		},
	})
}
