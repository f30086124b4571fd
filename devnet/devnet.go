// Package devnet runs the whole network on this machine: a TON chain with the
// registry, proxies, workers, a client, and an engine if none runs here already.
//
// Start with [Start]. The roles are the production roles with their ordinary
// settings, over proof of work and attested TLS on loopback; only the edges
// differ: the chain has no validators, and the machines are simulated under a root
// of this devnet's own, so the attestation proves nothing. Every role is a
// group of goroutines here, or, with [Config.Split], a process of its own that
// is started again when it dies.
//
// Everything a devnet writes is in one directory: see [Info].
package devnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/node"
)

// Names of roles.
const (
	RoleClient = "client"
	RoleProxy  = "proxy"
	RoleWorker = "worker"
	RoleEngine = "engine"
	RoleChain  = "chain"
	RoleKeys   = "keys"
)

// Engines that [Config.Engine] can name beside URLs.
const (
	EngineBuiltin = "builtin"
	// EngineBench answers at once; it is for measuring.
	EngineBench = "bench"
)

// Config says what to run. The zero Config is a network of one proxy and one
// worker that leaves nothing behind.
type Config struct {
	// Listen is the client's OpenAI address; empty means 127.0.0.1:10000, and
	// port 0 any free one.
	Listen string
	// Data is the directory to keep everything in; empty means a temporary
	// one that is removed in the end.
	Data string
	// Engine is an engine's URL, [EngineBuiltin] or [EngineBench]. Empty means
	// whichever engine runs on this machine, else the built-in one.
	Engine string
	// Model is the engine's model to serve; empty means its first.
	Model string
	// Workers and Proxies are how many of each to run; 0 means 1.
	Workers, Proxies int
	// Keys adds a key manager, so that requests can be encrypted field by field.
	Keys bool
	// Sealed keeps the keys of proxies, workers and key manager sealed to their
	// simulated machines. In a directory of an earlier run they stay as they are.
	Sealed bool
	// Split runs every role as a process of its own.
	Split bool
	// Program is the cocoon binary for Split; empty means this program.
	Program string
	// Progress gets a line for each step of the start. Nil discards.
	Progress func(string)
	// Log gets what happens afterwards. Nil means a file in the directory.
	Log *slog.Logger

	// door, in tests, puts something between a proxy's door and those who
	// dial it, and returns the address they shall dial.
	door func(name, address string) string
	// queueWait, in tests, is how long requests wait for a worker.
	queueWait node.Duration
}

// limit keeps a slip of the finger from taking the machine down.
const limit = 64

func (c *Config) setDefaults() error {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:10000"
	}
	c.Workers, c.Proxies = max(c.Workers, 1), max(c.Proxies, 1)
	if c.Workers > limit || c.Proxies > limit {
		return fmt.Errorf("devnet: %d workers and %d proxies: want at most %d of each", c.Workers, c.Proxies, limit)
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.door == nil {
		c.door = func(_, address string) string { return address }
	}
	return nil
}

// Network is a running devnet.
type Network struct {
	config    Config
	temporary bool
	log       *slog.Logger
	closeLog  func() error
	cancel    context.CancelFunc
	nodes     []*running // in the order of their start
	failed    chan error // the first node that ended by itself
	stop      func() error

	supervisor *supervisor // nil unless split

	mu    sync.Mutex // guards what follows
	info  Info
	ready bool
}

// Start brings a devnet up and returns when the first request can be served.
// It stops when ctx ends; Stop must be called in any case.
func Start(ctx context.Context, c Config) (*Network, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	n := &Network{config: c, cancel: cancel, failed: make(chan error, 1), closeLog: func() error { return nil }}
	n.stop = sync.OnceValue(n.stopAll)
	err := n.start(ctx)
	if err == nil {
		return n, nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, errors.Join(err, n.Stop())
}

func (n *Network) start(ctx context.Context) error {
	p, err := n.prepare(ctx)
	if err != nil {
		return err
	}
	if n.config.Split {
		n.supervisor = &supervisor{
			command: p.command, logs: p.path(logDir), cores: shareOfCores(len(n.info.Nodes)), log: n.log,
			changed: func() {
				if err := n.saveInfo(); err != nil {
					n.log.Warn("cannot write "+InfoFile, "err", err)
				}
			},
		}
	}
	if err := n.startRegistry(ctx, p); err != nil {
		return err
	}
	for _, spec := range p.nodes {
		if err := n.launch(ctx, p, spec); err != nil {
			return err
		}
	}
	if err := n.waitReady(ctx, p); err != nil {
		return err
	}
	n.mu.Lock()
	n.ready = true
	n.mu.Unlock()
	return n.saveInfo()
}

// startRegistry brings up the chain and the registry on it, and tells every
// role where that is.
func (n *Network) startRegistry(ctx context.Context, p *plan) error {
	chain, err := n.startChain(ctx, p)
	if err != nil {
		return err
	}
	defer chain.Close()
	root, err := found(ctx, chain, p, p.root)
	if err != nil {
		return err
	}
	if err := p.endow(ctx, chain); err != nil {
		return err
	}
	n.tell(p, root)
	for _, s := range p.nodes {
		if c := common(s.settings); c != nil {
			c.RootAddress = root.String()
		}
	}
	n.config.Progress("chain: " + n.info.GlobalConfig + ", registry " + root.String())
	return nil
}

// tell puts what is known now where others read it. The chain runs already, and
// with it who reads.
func (n *Network) tell(p *plan, root *address.Address) {
	nodes := make([]NodeInfo, 0, len(n.info.Nodes))
	for _, s := range p.nodes {
		if s.info.Role != RoleEngine {
			nodes = append(nodes, s.info)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.info.Nodes = append(nodes, p.chain.info)
	n.info.FaucetKeyFile, n.info.Contracts = p.faucetFile(), map[string]string{"root": root.String()}
}

// common are the settings that a role shares with others, nil if none.
func common(r node.Role) *node.Common {
	switch r := r.(type) {
	case *node.Client:
		return &r.Common
	case *node.Proxy:
		return &r.Common
	case *node.Worker:
		return &r.Common
	case *node.Keys:
		return &r.Common
	}
	return nil
}

// Info says where everything is.
func (n *Network) Info() Info {
	n.mu.Lock()
	defer n.mu.Unlock()
	info := n.info
	if n.supervisor != nil {
		info.Processes = n.supervisor.list()
	}
	return info
}

// saveInfo writes [InfoFile] as things are now, unless the network is not
// ready yet or no more: who finds the file finds a network.
func (n *Network) saveInfo() error {
	info := n.Info()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		return nil
	}
	return info.write(info.Data)
}

// Wait returns when the devnet has to end: with ctx's end, which is nil, or
// with the error of a role that ended by itself.
func (n *Network) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.failed:
		return err
	}
}

// Stop ends every role, callers' side first, so that what runs can finish;
// then it removes what was temporary. It may be called more than once.
func (n *Network) Stop() error { return n.stop() }

func (n *Network) stopAll() error {
	n.mu.Lock()
	n.ready = false
	if n.info.Data != "" {
		_ = os.Remove(filepath.Join(n.info.Data, InfoFile))
	}
	n.mu.Unlock()
	var errs []error
	for _, node := range slices.Backward(n.nodes) {
		node.stop()
		<-node.done // its own grace bounds this
		if node.err != nil {
			errs = append(errs, node.err)
		}
	}
	n.cancel()
	errs = append(errs, n.closeLog())
	if n.temporary {
		errs = append(errs, os.RemoveAll(n.info.Data))
	}
	return errors.Join(errs...)
}
