package node

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/stats"
	"github.com/opencocoon/cocoon/worker"
)

// Worker is a worker's settings.
type Worker struct {
	Common
	// Engine is the base URL of the engine.
	Engine string `json:"engine"`
	// EngineKey is sent to the engine as a bearer token. It is in a file or
	// the environment.
	EngineKey string `json:"engine_key,omitempty"`
	// Model is the full name, name@commit:hash.
	Model string `json:"model"`
	// ModelFile is the model's archive, a file or a block device, and ModelDir
	// the folder that was packed. Either is read before the worker serves, and
	// must have the hash in Model; without both the hash is only claimed.
	ModelFile string `json:"model_file,omitempty"`
	ModelDir  string `json:"model_dir,omitempty"`
	// Coefficient is the price in thousandths of the network's.
	Coefficient int32 `json:"coefficient"`
	// ContextLength is how many tokens a question and its answer may have
	// together; 0 is what the engine says, if it does.
	ContextLength int `json:"context_length,omitempty"`
	// Capabilities are what the model can do: text, or some of tools, vision, structured,
	// audio and reasoning. Empty is what the engine says, if it does.
	Capabilities []string `json:"capabilities,omitempty"`
	// Region is where the machine is, such as eu-west; empty tells nobody.
	Region string `json:"region,omitempty"`
	// MaxActiveRequests is how many run at a time; 0 means 60.
	MaxActiveRequests int `json:"max_active_requests,omitempty"`
	// ProxyConnections is how many proxies to work for; 0 means 1.
	ProxyConnections int `json:"proxy_connections,omitempty"`
	// Via is the SOCKS5 address of a router that makes attested connections.
	Via string `json:"connect_to_proxy_via,omitempty"`
	// AnyProxyImage believes proxies whatever image they run.
	AnyProxyImage bool `json:"insecure_any_proxy_image,omitempty"`
	Price
	Earnings
}

// Earnings is how a worker keeps and cashes what it earns. Amounts are texts
// in TON, such as 0.5; empty means the default.
type Earnings struct {
	// Data is the directory of what must survive: what was earned and
	// promised, price and pause, and, with a chain, the node wallet's key and
	// queue. Without it all of that is forgotten, and only proxies pay out.
	Data string `json:"data,omitempty"`
	// MaxUnpaid is what a proxy may leave unsigned of what was earned with it
	// before it gets no more work; empty means 20.
	MaxUnpaid string `json:"max_unpaid,omitempty"`
	// PayoutFrom, PayoutIdle and PayoutClosing are the amounts from which on a
	// promise is cashed: while there is work, after ten minutes without, and
	// of an old generation; empty means 10, 0.2 and 0.01.
	PayoutFrom    string `json:"payout_from,omitempty"`
	PayoutIdle    string `json:"payout_idle,omitempty"`
	PayoutClosing string `json:"payout_closing,omitempty"`
}

func (s *Earnings) check(p *Problems) {
	if s.Data == "" && (s.MaxUnpaid != "" || s.PayoutFrom != "" || s.PayoutIdle != "" || s.PayoutClosing != "") {
		p.Add("max_unpaid, payout_from, payout_idle and payout_closing: nothing is kept without data")
	}
	if err := s.into(&settlement.WorkerConfig{}); err != nil {
		p.Add("%v", err)
	}
}

func (s *Earnings) into(cfg *settlement.WorkerConfig) error {
	return parseAmounts(amount{"max_unpaid", s.MaxUnpaid, &cfg.MaxUnpaid}, amount{"payout_from", s.PayoutFrom, &cfg.PayoutFrom},
		amount{"payout_idle", s.PayoutIdle, &cfg.PayoutIdle}, amount{"payout_closing", s.PayoutClosing, &cfg.PayoutClosing})
}

// Check implements [Role].
func (s *Worker) Check() error {
	var p Problems
	s.Common.check(&p)
	if s.Engine == "" {
		p.Add("engine: missing: give the engine's base URL, such as http://127.0.0.1:8000")
	} else if _, err := engine.Base(s.Engine); err != nil {
		p.Add("%v", err)
	}
	if name, _, full := strings.Cut(s.Model, "@"); name == "" || !full {
		p.Add("model %q: want name@commit:hash, as the registry lists it", s.Model)
	}
	s.checkWeights(&p)
	if s.Coefficient < 0 {
		p.Add("coefficient %d: want 0 or more (1000 is the network's price)", s.Coefficient)
	}
	if s.MaxActiveRequests < 0 || s.ProxyConnections < 0 {
		p.Add("max_active_requests and proxy_connections cannot be negative")
	}
	if _, err := s.facts(); err != nil {
		p.Add("%v", err)
	}
	if s.Via != "" {
		checkAddress(&p, "connect_to_proxy_via", s.Via)
	}
	s.Price.check(&p)
	s.Earnings.check(&p)
	s.Sealing.check(&p, &s.Common, s.Data != "" && s.TONConfig != "")
	return p.Err()
}

// facts are what the operator says of model and machine.
func (s *Worker) facts() (openai.Facts, error) {
	can, err := openai.ParseAbilities(s.Capabilities)
	if err != nil {
		return openai.Facts{}, err
	}
	f := openai.Facts{Context: s.ContextLength, Can: can, Region: s.Region}
	return f, f.Check()
}

// Run implements [Role].
func (s *Worker) Run(ctx context.Context, env Env) error {
	if err := s.verifyWeights(ctx, env); err != nil {
		return err
	}
	images := (*contract.Root).AllowsProxyImage
	if s.AnyProxyImage {
		images = nil
	}
	var ring *keyring
	if s.Data != "" && s.TONConfig != "" {
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
	owner, err := contract.ParseAddress(s.OwnerAddress)
	if err != nil {
		return err
	}
	root, err := contract.ParseAddress(s.RootAddress)
	if err != nil {
		return err
	}
	cfg := worker.Config{
		Engine: s.Engine, EngineKey: s.EngineKey, Model: s.Model, Coefficient: s.Coefficient, MaxActive: s.MaxActiveRequests,
		Connections: s.ProxyConnections, OwnerAddress: owner, RootAddress: root, Registry: b.registry, RATLS: b.tls, Via: s.Via,
		CheckImages: !s.AnyProxyImage, HTTP: s.Listen, ControlToken: b.token, Now: env.Now, Log: env.Log,
	}
	if cfg.Pricer = s.Price.pricer(b.registry.Root()); cfg.Pricer != nil && env.Log != nil {
		env.Log.Info("the price follows demand", "floor", s.Price.floorText(b.registry.Root()))
	}
	if cfg.Facts, err = s.facts(); err != nil {
		return err
	}
	if s.Data == "" {
		return s.serve(ctx, b, cfg)
	}
	return s.serveWithBook(ctx, env, b, cfg, ring)
}

func (s *Worker) serve(ctx context.Context, b *base, cfg worker.Config, more ...func(context.Context) error) error {
	w, err := worker.New(cfg)
	if err != nil {
		return err
	}
	return b.run(ctx, w.Run, more...)
}

// serveWithBook keeps what is earned and, with a chain, cashes it.
func (s *Worker) serveWithBook(ctx context.Context, env Env, b *base, cfg worker.Config, ring *keyring) (err error) {
	sc := settlement.WorkerConfig{Owner: cfg.OwnerAddress, Dir: s.Data, Now: env.Now, Log: env.Log}
	if err := s.Earnings.into(&sc); err != nil {
		return err
	}
	var more []func(context.Context) error
	if b.chain != nil {
		wallet, err := ring.openNodeWallet(env, b)
		if err != nil {
			return fmt.Errorf("data %s: %w", s.Data, err)
		}
		defer wallet.Close()
		cfg.KeysKept = ring.kept
		sc.Chain, sc.Registry, sc.Wallet = b.chain, b.registry, wallet
		more = append(more, wallet.Run)
	}
	book, err := settlement.NewWorker(sc)
	if err != nil {
		return fmt.Errorf("data %s: %w", s.Data, err)
	}
	if b.chain != nil { // it serves meanwhile: what it earns is not lost
		more = append(more, func(ctx context.Context) error { return awaitFunding(ctx, env, b, book.Funding()) })
		cfg.Actions = []stats.Action{{Path: "/request/payout", Title: "cash the newest promise", Params: []string{"proxy"}, Do: func(_ context.Context, args url.Values) (string, error) {
			return refusable(book.Payout(args.Get("proxy")))
		}}}
	}
	cfg.Book, cfg.Settlement = book, func() any { return book.Status() }
	return s.serve(ctx, b, cfg, append(more, book.Run)...)
}
