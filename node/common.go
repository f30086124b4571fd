package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ratls"
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
	// Registry is the registry file.
	Registry string `json:"registry"`
	// RootAddress is the address of the registry's contract; it enters every
	// other contract's address.
	RootAddress string `json:"root_contract_address"`
	// OwnerAddress is the wallet that owns this node: it pays or is paid.
	OwnerAddress string `json:"owner_address"`
	// ControlTokenFile holds the token that opens control actions; it is made
	// if missing. Without a file the actions are closed.
	ControlTokenFile string `json:"control_token_file,omitempty"`
	Attestation
}

func (c *Common) check(p *Problems) {
	if c.Registry == "" {
		p.Add("registry: missing: name the registry file")
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

// base is what every role is built on.
type base struct {
	registry *contract.File
	tls      *ratls.Config
	token    string
}

// base opens the registry and makes the identity. images chooses the images
// that peers may run, of those in the registry; nil believes any.
func (c *Common) base(ctx context.Context, env Env, guest bool, images func(*contract.Root, [32]byte) bool) (*base, error) {
	token, err := c.token()
	if err != nil {
		return nil, fmt.Errorf("control token: %w", err)
	}
	registry, err := contract.OpenFile(c.Registry, env.log())
	if err != nil {
		return nil, err
	}
	platform, err := c.platform(guest)
	if err != nil {
		return nil, err
	}
	identity, err := ratls.NewIdentity(ctx, platform, &ratls.IdentityOptions{Log: env.Log})
	if err != nil {
		return nil, err
	}
	wanted := func(h attest.Hash) bool { return images(registry.Root(), h) }
	if images == nil {
		wanted = nil
	}
	policy, err := c.policy(wanted)
	if err != nil {
		return nil, err
	}
	return &base{registry, &ratls.Config{Identity: identity, Policy: policy, Log: env.Log}, token}, nil
}

// run runs the role beside what it needs as long as it runs: the registry's
// watch and the renewal of the certificate end after the role, because a role
// that finishes its work still needs them.
func (b *base) run(ctx context.Context, role func(context.Context) error, more ...func(context.Context) error) error {
	needed, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beside sync.WaitGroup
	for _, f := range append(more, b.tls.Identity.Run, func(ctx context.Context) error { return b.registry.Run(ctx, 0) }) {
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
