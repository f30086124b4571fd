package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/stats"
)

// DefaultListen is where operators expect the gateway.
const DefaultListen = "127.0.0.1:10000"

// Config is a client's configuration. Zero fields mean what they say.
type Config struct {
	// Listen is the gateway's address. Empty means no gateway: Transport only.
	Listen string
	// Listener serves the gateway in place of Listen. Run closes it.
	Listener net.Listener

	// Registry says which proxies exist, which are wanted, and at what price. Required.
	Registry contract.Registry
	// Proxies are host:port addresses to use in place of the registry's.
	Proxies []string
	// Connections is how many proxies to stay connected to, if there are as
	// many. Default 2.
	Connections int
	// RATLS says who we are and whom we believe. Required unless Dial is set.
	RATLS *ratls.Config
	// Via is the ip:port of a SOCKS5 router on this machine that makes the
	// attested connections for us. Empty means to make them ourselves.
	Via string
	// Dial replaces both. The peer it returns must have been judged.
	Dial func(ctx context.Context, address string) (net.Conn, *ratls.Peer, error)
	// CheckImages refuses proxies whose image the registry does not list. It
	// is always on outside test networks.
	CheckImages bool

	// Wallet is the address of this client's node wallet, its identity. Required.
	Wallet string
	// RootAddress is the registry's own address, part of every contract's. Required.
	RootAddress string
	// Secret is shared with proxies that know this client.
	Secret string
	// InsecureEmptySecret authorises with the empty secret where a proxy
	// demands that, as networks without a chain do. On a network with a chain
	// it would let anybody who knows the wallet spend its balance.
	InsecureEmptySecret bool
	// Registrar registers this client on chain at a proxy that does not know
	// it, and moves the money. Nil: such proxies are refused with [ErrNeedsChain].
	Registrar Registrar
	// Tally counts what is used and limits what is spent. Nil counts in memory
	// and limits nothing.
	Tally *ledger.Tally
	// Settlement is what pages show of the money on the chain. Nil shows nothing.
	Settlement func() any
	// Actions are more control actions, such as those that move money.
	Actions []stats.Action

	// APIKeys open the gateway. Empty leaves it open to whoever reaches it.
	APIKeys []string
	// AllowOrigins are the web origins, such as "https://chat.example", whose
	// pages may use the gateway; "*" is every one. Empty means pages from this
	// machine (localhost and loopback addresses).
	AllowOrigins []string
	// ForwardHeaders names request headers that travel to the engine beside
	// Content-Type and Accept. All others stay here: they tell who asks.
	ForwardHeaders []string
	// ControlToken opens the control actions. Empty closes them.
	ControlToken string
	// KeysKept is what pages say of how this node's secrets lie on disk; empty
	// is not on disk.
	KeysKept string

	// Encryption is [EncryptionOff], the default, [EncryptionAuto] or
	// [EncryptionV1].
	Encryption string

	// NoAffinity stops telling proxies, by a keyed digest, which requests begin
	// alike, so that the worker that knows the beginning cannot be found again.
	NoAffinity bool

	// Resume lets another worker go on with a stream that breaks, where the
	// request does not say itself (provider.resume). What was delivered by then
	// is paid once more, as a part of that worker's prompt.
	Resume bool
	// ResumeAfter is how long a stream that may be resumed may stand still
	// before it is taken for broken. Default 20 s.
	ResumeAfter time.Duration

	// Region is where callers are who do not say it, such as eu-west. Proxies are told.
	Region string

	// MaxBody bounds a request body in bytes. Default 15 MiB, maximum
	// 16 MiB − 64 KiB: a request is one frame.
	MaxBody int64
	// MaxBuffered bounds what one answer may hold for a caller who is slower
	// than the network, in bytes. Default 8 MiB.
	MaxBuffered int
	// MaxMemory bounds all requests and answers held, in bytes. Default 512 MiB.
	MaxMemory int64
	// MaxTokens is reserved when a request names no limit. It is not written
	// into the request: engines with less context would refuse it. Default 10000.
	MaxTokens int32
	// MaxCoefficient is the price ceiling of requests that name none, in
	// thousandths. Default 4000.
	MaxCoefficient int32
	// Timeout is for requests that name none. Default 120 s.
	Timeout time.Duration
	// ProxyWait is how long a request waits while no proxy is connected.
	// Default 10 s.
	ProxyWait time.Duration
	// Stall ends the answer to a caller who takes nothing, and the request of
	// a caller who sends nothing, for so long. Default 30 s.
	Stall time.Duration
	// Grace is how long running requests may take to finish when Run is told
	// to stop. Default 10 s.
	Grace time.Duration

	// Now dates answers and verdicts. Nil means time.Now.
	Now func() time.Time
	// Log gets losses, refusals and failures, never a prompt or an answer.
	// Nil discards.
	Log *slog.Logger
}

// frameReserve is what a request's frame needs beside its body.
const frameReserve = 64 << 10

func (cfg *Config) setDefaults() {
	setDefault(&cfg.Connections, 2)
	setDefault(&cfg.MaxBody, 15<<20)
	setDefault(&cfg.MaxBuffered, 8<<20)
	setDefault(&cfg.MaxMemory, 512<<20)
	setDefault(&cfg.MaxTokens, 10000)
	setDefault(&cfg.MaxCoefficient, 4000)
	setDefault(&cfg.Timeout, 120*time.Second)
	setDefault(&cfg.ProxyWait, 10*time.Second)
	setDefault(&cfg.Stall, 30*time.Second)
	setDefault(&cfg.ResumeAfter, 20*time.Second)
	setDefault(&cfg.Grace, 10*time.Second)
	if cfg.Encryption == "" {
		cfg.Encryption = EncryptionOff
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tally == nil {
		cfg.Tally = ledger.NewTally(ledger.TallyConfig{Now: cfg.Now}, ledger.TallyState{})
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = dialer(cfg.RATLS, cfg.Via)
	}
}

func setDefault[T int | int32 | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func dialer(cfg *ratls.Config, via string) func(context.Context, string) (net.Conn, *ratls.Peer, error) {
	return func(ctx context.Context, address string) (net.Conn, *ratls.Peer, error) {
		if via != "" {
			return ratls.DialVia(ctx, via, address, cfg)
		}
		nc, err := ratls.Dial(ctx, address, cfg)
		if err != nil {
			return nil, nil, err
		}
		return nc, nc.Peer, nil
	}
}

// check reports all problems together.
func (cfg *Config) check() (wallet, root *address.Address, err error) {
	var problems []error
	if cfg.Registry == nil {
		problems = append(problems, errors.New("registry is missing"))
	}
	if cfg.RATLS == nil && cfg.Dial == nil {
		problems = append(problems, errors.New("RATLS is missing: say whom to believe"))
	}
	wallet, err = contract.ParseAddress(cfg.Wallet)
	problems = append(problems, named("wallet", err))
	root, err = contract.ParseAddress(cfg.RootAddress)
	problems = append(problems, named("root address", err))
	if cfg.MaxBody > 1<<24-frameReserve {
		problems = append(problems, fmt.Errorf("max body is %d bytes, want at most %d: a request is one frame", cfg.MaxBody, 1<<24-frameReserve))
	}
	switch cfg.Encryption {
	case "", EncryptionOff, EncryptionAuto, EncryptionV1:
	default:
		problems = append(problems, fmt.Errorf("encryption is %q, want off, auto or v1", cfg.Encryption))
	}
	for _, n := range []int64{int64(cfg.Connections), cfg.MaxBody, int64(cfg.MaxBuffered), cfg.MaxMemory, int64(cfg.MaxTokens), int64(cfg.MaxCoefficient), int64(cfg.Timeout), int64(cfg.ProxyWait), int64(cfg.ResumeAfter), int64(cfg.Stall), int64(cfg.Grace)} {
		if n < 0 {
			problems = append(problems, fmt.Errorf("a limit is %d, want 0 for its default or more", n))
		}
	}
	for _, key := range cfg.APIKeys {
		if strings.TrimSpace(key) != key || key == "" {
			problems = append(problems, errors.New("an API key is empty or has blanks around it"))
		}
	}
	return wallet, root, errors.Join(problems...)
}

func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
