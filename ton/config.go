package ton

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/xssnick/tonutils-go/liteclient"
	tonapi "github.com/xssnick/tonutils-go/ton"
)

// Config says which network a [Client] reads, and how. Only Network or Path
// must be set.
type Config struct {
	// Path is a global.config.json, which names the liteservers and the block
	// from which trust begins. It is read if Network is nil.
	Path string
	// Network is that file, parsed: see [ParseNetwork].
	Network *Network
	// InsecureUnsigned believes each server's word about which blocks exist,
	// instead of checking the validators' signatures. A local chain has no
	// validators and needs it. On a real network it makes each server in the
	// configuration able to invent any balance and any payment.
	InsecureUnsigned bool
	// Timeout is how long one server may take to answer one query. Zero means
	// five seconds.
	Timeout time.Duration
	// Deadline bounds each call, all servers that it tries together. Zero means
	// three times Timeout.
	Deadline time.Duration
	// MaxAge is how old the newest block may be, by Now, before reading gives
	// [ErrStale]. Zero means one minute.
	MaxAge time.Duration
	// Rate is how many queries a second go out, over all servers. Zero means
	// ten, or no limit if all servers are on this machine. Burst is how many may
	// go at once; zero means twice the rate.
	Rate  float64
	Burst int
	// Pace is the least time between two looks for a new block, while somebody
	// waits for one. Zero means a second, or none if all servers are on this machine.
	Pace time.Duration
	// Now tells how old blocks are. Nil means time.Now.
	Now func() time.Time
	// Log receives servers lost, recovered and dropped. Nil discards.
	Log *slog.Logger
}

func (cfg *Config) fill() error {
	if cfg.Network == nil {
		network, err := ReadNetwork(cfg.Path)
		if err != nil {
			return err
		}
		cfg.Network = network
	}
	if !cfg.InsecureUnsigned && cfg.Network.Init.SeqNo == 0 {
		return errors.New("ton: the network's configuration names no init_block after the zero state, so there is nobody whose signatures could be checked: " +
			"a local chain is like that; to believe its servers without signatures, set InsecureUnsigned")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	cfg.Deadline = cmp.Or(cfg.Deadline, 3*cfg.Timeout)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, time.Minute)
	if !cfg.Network.local() {
		cfg.Rate, cfg.Pace = cmp.Or(cfg.Rate, 10), cmp.Or(cfg.Pace, time.Second)
	}
	cfg.Burst = cmp.Or(cfg.Burst, max(1, int(2*cfg.Rate)))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg.check()
}

func (cfg *Config) check() error {
	// In this order: a Deadline that is not set follows from Timeout.
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"Timeout", cfg.Timeout.Seconds()}, {"Deadline", cfg.Deadline.Seconds()}, {"MaxAge", cfg.MaxAge.Seconds()},
		{"Rate", cfg.Rate}, {"Burst", float64(cfg.Burst)}, {"Pace", cfg.Pace.Seconds()},
	} {
		if f.value < 0 {
			return fmt.Errorf("ton: %s is negative", f.name)
		}
	}
	return nil
}

// Network is what a client must know of a TON network before it reads a block.
type Network struct {
	Servers []Server
	// Zero is the state that the network began with; servers of any other
	// network are refused.
	Zero *tonapi.BlockIDExt
	// Init is the masterchain block from which signatures are checked.
	Init *tonapi.BlockIDExt
}

// Server is a liteserver.
type Server struct {
	Addr netip.AddrPort
	Key  [32]byte // Ed25519, public
}

func (s Server) String() string { return s.Addr.String() }

// local says whether all servers are on this machine.
func (n *Network) local() bool {
	return !slices.ContainsFunc(n.Servers, func(s Server) bool { return !s.Addr.Addr().IsLoopback() })
}

// maxConfig is far more than a global.config.json holds.
const maxConfig = 8 << 20

// ReadNetwork reads a global.config.json.
func ReadNetwork(path string) (*Network, error) {
	if path == "" {
		return nil, errors.New("ton: no network: want the path of a global.config.json")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ton: network configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("ton: network configuration: %w", err)
	}
	n, err := ParseNetwork(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// ParseNetwork reads the text of a global.config.json. It takes servers with
// an IPv4 address and an Ed25519 key, and ignores what only full nodes need.
func ParseNetwork(text []byte) (*Network, error) {
	if len(text) > maxConfig {
		return nil, fmt.Errorf("ton: network configuration of more than %d bytes", maxConfig)
	}
	var file struct {
		Liteservers []liteclient.LiteserverConfig `json:"liteservers"`
		Validator   liteclient.ValidatorConfig    `json:"validator"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("ton: network configuration is not a global.config.json: %w", err)
	}
	n := new(Network)
	var problems []error
	for i, entry := range file.Liteservers {
		s, err := parseServer(entry)
		if err != nil {
			problems = append(problems, fmt.Errorf("ton: network configuration: liteserver %d: %w", i, err))
		} else if !slices.Contains(n.Servers, s) {
			n.Servers = append(n.Servers, s)
		}
	}
	if len(file.Liteservers) == 0 {
		problems = append(problems, errors.New("ton: network configuration: no liteservers"))
	}
	var err error
	if n.Zero, err = origin("zero_state", file.Validator.ZeroState); err != nil {
		problems = append(problems, err)
	}
	if n.Init, err = origin("init_block", file.Validator.InitBlock); err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return n, nil
}

func parseServer(entry liteclient.LiteserverConfig) (s Server, err error) {
	key, err := base64.StdEncoding.DecodeString(entry.ID.Key)
	switch {
	case err != nil || len(key) != 32:
		return s, errors.New("its key is not 32 bytes in base64")
	case entry.ID.Type != "pub.ed25519":
		return s, fmt.Errorf("key of type %.40q, want pub.ed25519", entry.ID.Type)
	case entry.Port < 1 || entry.Port > 65535:
		return s, fmt.Errorf("port %d, want 1 to 65535", entry.Port)
	case entry.IP < -1<<31 || entry.IP >= 1<<32 || entry.IP == 0:
		return s, fmt.Errorf("ip %d, want an IPv4 address as a 32-bit number", entry.IP)
	}
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], uint32(entry.IP)) // negative by tradition
	return Server{Addr: netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(entry.Port)), Key: [32]byte(key)}, nil
}

func origin(name string, b liteclient.ConfigBlock) (*tonapi.BlockIDExt, error) {
	if b.Workchain != -1 || len(b.RootHash) != 32 || len(b.FileHash) != 32 {
		return nil, fmt.Errorf("ton: network configuration: validator.%s: workchain %d, hashes of %d and %d bytes; want a masterchain block, workchain -1, hashes of 32",
			name, b.Workchain, len(b.RootHash), len(b.FileHash))
	}
	id := tonapi.BlockIDExt(b)
	return &id, nil
}
