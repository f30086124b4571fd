package node

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/atomicfile"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Files in a data directory that let a node start while the chain is away.
const (
	registrySeen   = "registry.seen"   // the registry
	settlementSeen = "settlement.seen" // what a proxy knew of its contract and clients
)

// seen is a file of what a node has seen on the chain, for its next process.
// It says whom to trust, so it carries a code that only the holder of the node's key
// can make: where keys are sealed, the machine's owner cannot write another.
type seen struct {
	path string
	key  []byte
}

func (k *keyring) seen(name string) (*seen, error) {
	key, err := k.key(WalletKey)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key.Private().Seed())
	fmt.Fprintf(mac, "cocoon %s %s", k.role, name)
	return &seen{k.path(name), mac.Sum(nil)}, nil
}

func (s *seen) code(text []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(text)
	return hex.AppendEncode(nil, mac.Sum(nil))
}

// Save replaces what was seen.
func (s *seen) Save(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return atomicfile.Replace(s.path, bytes.Join([][]byte{s.code(text), text, nil}, []byte("\n")), 0o600)
}

// Load reads it into v. Without a file it is fs.ErrNotExist.
func (s *seen) Load(v any) error {
	file, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	code, text, _ := bytes.Cut(bytes.TrimSuffix(file, []byte("\n")), []byte("\n"))
	if !hmac.Equal(code, s.code(text)) {
		return fmt.Errorf("%s: not written by this node, or damaged: it is not believed", s.path)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}

// openRegistry opens chain and registry. While the chain is away a node with a
// data directory begins with the registry that its last process saw.
func (c *Common) openRegistry(ctx context.Context, env Env, b *base, ring *keyring) (err error) {
	if c.TONConfig == "" {
		b.registry, err = contract.OpenFile(c.Registry, env.log())
		return err
	}
	root, err := contract.ParseAddress(c.RootAddress)
	if err != nil {
		return err
	}
	var kept *seen
	if ring != nil {
		if kept, err = ring.seen(registrySeen); err != nil {
			return err
		}
	}
	cfg := ton.Config{Path: c.TONConfig, InsecureUnsigned: c.InsecureUnsigned, Now: env.Now, Log: env.Log}
	registry, err := b.follow(ctx, env, cfg, root)
	if errors.Is(err, ton.ErrUnreachable) || errors.Is(err, ton.ErrStale) {
		registry, err = b.recall(env, cfg, root, kept, err)
	}
	if err != nil {
		return err
	}
	b.registry = registry
	if kept != nil {
		b.more = append(b.more, func(ctx context.Context) error { return remember(ctx, env, registry, kept) })
	}
	return nil
}

func (b *base) follow(ctx context.Context, env Env, cfg ton.Config, root *address.Address) (o *contract.OnChain, err error) {
	if b.chain, err = ton.Dial(ctx, cfg); err != nil {
		return nil, err
	}
	if o, err = contract.Follow(ctx, b.chain, root, env.log()); err != nil {
		return nil, errors.Join(err, b.chain.Close())
	}
	return o, nil
}

// recall begins without the chain.
func (b *base) recall(env Env, cfg ton.Config, root *address.Address, kept *seen, away error) (*contract.OnChain, error) {
	if kept == nil {
		return nil, fmt.Errorf("%w; a node with data could start with what it saw before", away)
	}
	var r contract.Record
	if err := kept.Load(&r); err != nil {
		return nil, fmt.Errorf("%w; nor can it start with what was seen before: %w", away, err)
	}
	chain, err := ton.Open(cfg)
	if err != nil {
		return nil, err
	}
	o, err := contract.Recall(chain, root, r, env.now(), env.log())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w; nor can it start with what was seen before: %w", away, err), chain.Close())
	}
	b.chain = chain
	env.log().Warn("the chain is away: starting with the registry that was seen before it went", "seen", o.AsOf().Time.UTC(), "good until", o.AsOf().Time.Add(contract.MaxAge).UTC(), "error", away)
	return o, nil
}

// rememberEvery is how much younger a registry may be than what is remembered.
const rememberEvery = time.Minute

// remember keeps the registry for the next process until ctx ends.
func remember(ctx context.Context, env Env, o *contract.OnChain, kept *seen) error {
	tick := time.NewTicker(rememberEvery / 4)
	defer tick.Stop()
	var last time.Time
	failing := false
	for {
		changed := o.Changed()
		if at := o.AsOf().Time; at.Sub(last) >= rememberEvery || ctx.Err() != nil && at.After(last) {
			err := kept.Save(o.Record())
			if err == nil {
				last = at
			} else if !failing {
				env.log().Error("the registry is not kept for a start without the chain", "error", err)
			}
			failing = err != nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
		case <-changed:
			last = time.Time{}
		case <-tick.C:
		}
	}
}
