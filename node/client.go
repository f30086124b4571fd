package node

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
)

// Client is a client's settings.
type Client struct {
	Common
	// ProxyConnections is how many proxies to stay connected to; 0 means 2.
	ProxyConnections int `json:"proxy_connections,omitempty"`
	// Via is the SOCKS5 address of a router that makes attested connections.
	Via string `json:"connect_to_proxy_via,omitempty"`
	// AnyProxyImage believes proxies whatever image they run.
	AnyProxyImage bool `json:"insecure_any_proxy_image,omitempty"`
	// WalletAddress is the identity of a client that does not settle; empty
	// means the owner's. One that does is known by its node wallet.
	WalletAddress string `json:"node_wallet_address,omitempty"`
	// Secret is shared with proxies. It is in a file or the environment.
	Secret string `json:"secret_string,omitempty"`
	// APIKeysFile holds one API key a line; without it the API is open to
	// whoever reaches the address.
	APIKeysFile string `json:"api_keys_file,omitempty"`
	// AllowOrigins are the web origins whose pages may use the API.
	AllowOrigins []string `json:"allow_origins,omitempty"`
	// ForwardHeaders are request headers that travel to the engine.
	ForwardHeaders []string `json:"forward_headers,omitempty"`
	// Encryption says whether requests are encrypted field by field on top of
	// TLS: off, auto or v1. Empty means off.
	Encryption string `json:"encryption,omitempty"`
	// NoAffinity stops telling proxies, by a keyed digest, which requests begin
	// alike.
	NoAffinity bool `json:"no_affinity,omitempty"`
	// Resume lets another worker go on with a stream that breaks, where the
	// request does not say itself; the rest is paid anew.
	Resume bool `json:"resume,omitempty"`
	// Region is where callers are who do not say it, such as eu-west; empty
	// tells nobody.
	Region string `json:"region,omitempty"`
	// MaxBody is the largest request in bytes; 0 means 15 MiB.
	MaxBody int64 `json:"max_body,omitempty"`
	// MaxTokens is reserved for requests that name no limit; 0 means 10000.
	MaxTokens int32 `json:"max_tokens,omitempty"`
	// MaxCoefficient is the highest price, in thousandths, of requests that
	// name none; 0 means 4000.
	MaxCoefficient int32 `json:"max_coefficient,omitempty"`
	// Timeout is for requests that name none; 0 means 120 s.
	Timeout Duration `json:"timeout,omitempty"`
	Purse
}

// Duration is a time.Duration that is written as text in JSON: "90s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ParseDuration reads a duration such as "90s", or a bare number of seconds.
func ParseDuration(text string) (Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return Duration(seconds * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(text)
	return Duration(d), err
}

// Check implements [Role].
func (s *Client) Check() error {
	var p Problems
	s.Common.check(&p)
	if s.Via != "" {
		checkAddress(&p, "connect_to_proxy_via", s.Via)
	}
	if s.WalletAddress != "" {
		if _, err := contract.ParseAddress(s.WalletAddress); err != nil {
			p.Add("node_wallet_address: %v", err)
		}
	}
	switch s.Encryption {
	case "", client.EncryptionOff, client.EncryptionAuto, client.EncryptionV1:
	default:
		p.Add("encryption %q: want off, auto or v1", s.Encryption)
	}
	if !openai.IsRegion(s.Region) {
		p.Add("region %q: want small letters, digits and hyphens, such as eu-west", s.Region)
	}
	s.Purse.check(&p, s)
	s.Sealing.check(&p, &s.Common, s.Data != "")
	if s.ProxyConnections < 0 || s.MaxBody < 0 || s.MaxTokens < 0 || s.MaxCoefficient < 0 || s.Timeout < 0 {
		p.Add("proxy_connections, max_body, max_tokens, max_coefficient and timeout cannot be negative")
	}
	return p.Err()
}

func checkAddress(p *Problems, key, address string) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		p.Add("%s %q: want host:port", key, address)
	}
}

// Run implements [Role].
func (s *Client) Run(ctx context.Context, env Env) error {
	images := (*contract.Root).AllowsProxyImage
	if s.AnyProxyImage {
		images = nil
	}
	ring, release, err := s.ring(ctx, env)
	if err != nil {
		return err
	}
	defer release()
	b, err := s.base(ctx, env, false, images, ring)
	if err != nil {
		return err
	}
	defer b.close()
	keys, err := readLines(s.APIKeysFile)
	if err != nil {
		return err
	}
	cfg := client.Config{
		Listen: s.Listen, Registry: b.registry, Connections: s.ProxyConnections, RATLS: b.tls, Via: s.Via, CheckImages: !s.AnyProxyImage,
		RootAddress: s.RootAddress,
		APIKeys:     keys, AllowOrigins: s.AllowOrigins, ForwardHeaders: s.ForwardHeaders, ControlToken: b.token, Encryption: s.Encryption, NoAffinity: s.NoAffinity, Resume: s.Resume, Region: s.Region,
		MaxBody: s.MaxBody, MaxTokens: s.MaxTokens, MaxCoefficient: s.MaxCoefficient, Timeout: time.Duration(s.Timeout), Now: env.Now, Log: env.Log,
	}
	if s.Data == "" {
		cfg.Wallet, cfg.Secret = s.identity(), s.Secret
		// On a network without a chain the empty secret is the custom.
		cfg.InsecureEmptySecret = s.Secret == ""
		limits, err := s.limits()
		if err != nil {
			return err
		}
		cfg.Tally = ledger.NewTally(ledger.TallyConfig{Limits: limits, Now: env.Now}, ledger.TallyState{})
		c, err := client.New(cfg)
		if err != nil {
			return err
		}
		return b.run(ctx, c.Run)
	}
	purse, err := s.openPurse(ctx, env, b, ring)
	if err != nil || purse == nil {
		return err
	}
	cfg.KeysKept = ring.kept
	payFrom(purse, &cfg)
	c, err := client.New(cfg)
	if err != nil {
		return errors.Join(err, purse.Close())
	}
	return b.run(ctx, c.Run, purse.Run)
}

// ring opens the secrets of a client that keeps any; nil without data.
func (s *Client) ring(ctx context.Context, env Env) (ring *keyring, release func(), err error) {
	if s.Data == "" {
		return nil, func() {}, nil
	}
	return s.holding().begin(ctx, env)
}

func (s *Client) identity() string {
	if s.WalletAddress == "" {
		return s.OwnerAddress
	}
	return s.WalletAddress
}

// readLines reads a file's lines without blanks and comments; no file, no
// lines. A file without a line is an error: it was meant to close something.
func readLines(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if lines == nil {
		return nil, errors.New(file + " holds no key")
	}
	return lines, nil
}
