package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/ton"
)

// Role is one role's settings, ready to be checked and run.
//
//   - Check must report every problem that can be seen without running.
//   - Run must return nil after ctx ended and the role has finished in order,
//     and only when everything it started has ended.
type Role interface {
	Check() error
	Run(ctx context.Context, env Env) error
}

// Common are the settings that client, proxy and worker share.
type Common struct {
	// Listen is the role's HTTP address, for pages, metrics and, at a client,
	// the OpenAI API.
	Listen string `json:"listen"`
	// TONConfig is the global.config.json of the TON network that the registry
	// and all accounts are on.
	TONConfig string `json:"ton_config,omitempty"`
	// InsecureUnsigned believes liteservers without validators' signatures, as
	// a local chain needs.
	InsecureUnsigned bool `json:"insecure_unsigned_chain,omitempty"`
	// Registry is a registry file instead, for networks without a chain.
	Registry string `json:"registry,omitempty"`
	// RootAddress is the address of the registry's contract; it enters every
	// other contract's address.
	RootAddress string `json:"root_contract_address"`
	// OwnerAddress is the wallet that owns this node: it pays or is paid.
	OwnerAddress string `json:"owner_address"`
	// ControlTokenFile holds the token that opens control actions; it is made
	// if missing. Without a file the actions are closed.
	ControlTokenFile string `json:"control_token_file,omitempty"`
	Attestation
	Sealing
}

func (c *Common) check(p *Problems) {
	if (c.Registry == "") == (c.TONConfig == "") {
		p.Add("ton_config or, without a chain, registry: want exactly one of them")
	}
	if c.InsecureUnsigned && c.TONConfig == "" {
		p.Add("insecure_unsigned_chain: there is no chain without ton_config")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		p.Add("listen %q: want host:port", c.Listen)
	}
	for _, a := range []struct{ key, text string }{{"root_contract_address", c.RootAddress}, {"owner_address", c.OwnerAddress}} {
		if a.text == "" {
			p.Add("%s: missing", a.key)
		} else if _, err := contract.ParseAddress(a.text); err != nil {
			p.Add("%s: %v", a.key, err)
		}
	}
	c.Attestation.check(p)
}

// token is the control token, empty if there is no file for it.
func (c *Common) token() (string, error) {
	if c.ControlTokenFile == "" {
		return "", nil
	}
	return Token(c.ControlTokenFile)
}

// registry is the network's list of whom to trust, followed while Run runs.
type registry interface {
	contract.Registry
	Run(ctx context.Context, interval time.Duration) error
}

// base is what every role is built on.
type base struct {
	registry registry
	chain    *ton.Client // nil without a chain
	tls      *ratls.Config
	token    string
	more     []func(context.Context) error // runs beside the role
	done     func()                        // nil, or what ends with the node
}

// base opens chain and registry and makes the identity. images chooses the
// images that peers may run, of those in the registry; nil believes any. A nil ring
// keeps nothing.
func (c *Common) base(ctx context.Context, env Env, guest bool, images func(*contract.Root, [32]byte) bool, ring *keyring) (*base, error) {
	token, err := c.token()
	if err != nil {
		return nil, fmt.Errorf("control token: %w", err)
	}
	b := &base{token: token}
	if err := c.openRegistry(ctx, env, b, ring); err != nil {
		return nil, err
	}
	if err := c.identify(ctx, env, b, guest, images); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (c *Common) identify(ctx context.Context, env Env, b *base, guest bool, images func(*contract.Root, [32]byte) bool) error {
	platform, err := c.platform(guest)
	if err != nil {
		return err
	}
	identity, err := ratls.NewIdentity(ctx, platform, &ratls.IdentityOptions{Log: env.Log})
	if err != nil {
		return err
	}
	wanted := func(h attest.Hash) bool { return images(b.registry.Root(), h) }
	if images == nil {
		wanted = nil
	}
	policy, err := c.policy(wanted)
	if err != nil {
		return err
	}
	if policy.Proven, err = attest.OpenProven(c.ProvenMachinesFile, env.log()); err != nil {
		return fmt.Errorf("proven_machines_file: %w", err)
	}
	if b.done, err = c.judgeGPUs(policy); err != nil {
		return err
	}
	sessions := ratls.NewSessions(ratls.SessionsOptions{Log: env.Log})
	if c.DenyPlatformsFile != "" {
		list := &struck{file: c.DenyPlatformsFile, policy: policy, sessions: sessions, log: env.log()}
		if policy, err = list.begin(); err != nil {
			return err
		}
		b.more = append(b.more, func(ctx context.Context) error { return list.run(ctx, lookAtList) })
	}
	b.tls = &ratls.Config{Identity: identity, Policy: policy, GPU: c.gpus(platform, env.log()), Log: env.Log, Sessions: sessions}
	return nil
}

// close lets chain and collateral go.
func (b *base) close() {
	if b.done != nil {
		b.done()
	}
	if b.chain != nil {
		_ = b.chain.Close() // nothing was written through it that could be lost
	}
}

// run runs the role beside what it needs as long as it runs: the registry's
// watch, the renewal of the certificate and the judging anew of connected peers
// end after the role, because a role that finishes its work still needs them.
func (b *base) run(ctx context.Context, role func(context.Context) error, more ...func(context.Context) error) error {
	needed, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beside sync.WaitGroup
	more = append(append(more, b.more...), b.tls.Identity.Run,
		func(ctx context.Context) error { return b.registry.Run(ctx, 0) },
		func(ctx context.Context) error { return b.tls.Sessions.Run(ctx, b.registry.Changed) })
	for _, f := range more {
		beside.Go(func() { _ = f(needed) }) // they end with their context only
	}
	err := role(ctx)
	stop()
	beside.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}
