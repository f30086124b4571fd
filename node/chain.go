package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/opencocoon/cocoon/ton/localnet"
	"github.com/opencocoon/cocoon/wallet"
)

// FaucetFile is the file beside a local chain's journal with the key of the
// wallet that holds all coins, as `cocoon wallet` opens it. Without a journal
// it is beside the configuration.
const FaucetFile = "faucet.key"

// Chain is the settings of a TON chain on this machine.
type Chain struct {
	// Listen is the address of its liteserver: IPv4, as configurations can
	// name no other.
	Listen string `json:"listen"`
	// Dir keeps the chain; empty means in memory.
	Dir string `json:"dir,omitempty"`
	// GlobalConfig is the global.config.json to write, by which every TON
	// client finds the chain.
	GlobalConfig string `json:"global_config"`
	// Interval is the time between blocks; 0 seals a block as soon as there is something in it.
	Interval Duration `json:"interval,omitempty"`
}

// Check implements [Role].
func (s *Chain) Check() error {
	var p Problems
	if addr, err := netip.ParseAddrPort(s.Listen); err != nil || !addr.Addr().Is4() {
		p.Add("listen %q: want an IPv4 address and port, such as 127.0.0.1:0", s.Listen)
	}
	if s.GlobalConfig == "" {
		p.Add("global_config: missing: name the file to write the chain's configuration to")
	}
	if s.Interval < 0 {
		p.Add("interval: cannot be negative")
	}
	return p.Err()
}

// Run implements [Role].
func (s *Chain) Run(ctx context.Context, env Env) error {
	chain, err := localnet.New(localnet.Config{Dir: s.Dir, Interval: time.Duration(s.Interval), Log: env.log()})
	if err != nil {
		return err
	}
	server, err := localnet.Listen(chain, s.Listen)
	if err != nil {
		return errors.Join(err, chain.Close())
	}
	err = s.announce(chain, server)
	if err == nil {
		if env.Ready != nil {
			env.Ready("liteserver " + server.Addr().String())
		}
		err = server.Run(ctx)
	} else {
		err = errors.Join(err, server.Close())
	}
	return errors.Join(err, chain.Close())
}

// announce writes what others need to use the chain: the faucet's key first,
// since the configuration is what they wait for.
func (s *Chain) announce(chain *localnet.Chain, server *localnet.Server) error {
	key := filepath.Join(filepath.Dir(s.GlobalConfig), FaucetFile)
	if s.Dir != "" {
		key = filepath.Join(s.Dir, FaucetFile)
	}
	if err := writeFaucet(key, chain); err != nil {
		return fmt.Errorf("chain: the faucet's key: %w", err)
	}
	return server.WriteGlobalConfig(s.GlobalConfig)
}

// writeFaucet leaves a file with the faucet's key alone. Another is that of a
// chain in memory, which is gone.
func writeFaucet(path string, chain *localnet.Chain) error {
	file := &wallet.KeyFile{Network: wallet.Network(chain.GlobalID()), Key: wallet.KeyOf(chain.FaucetKey())}
	old, err := wallet.LoadKeyFile(path, nil)
	if err == nil && old.Key.Public().Equal(file.Key.Public()) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return file.Save(path, "")
}
