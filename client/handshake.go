package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// Protocol versions (current.md §1): 1 brought final info, 2 its times, 3 the
// key of field encryption. A proxy may also pick 0, the legacy messages.
const (
	minVersion = 1
	maxVersion = 4
)

// Limits of one question each (wire.md §4.1).
const (
	connectLimit   = 30 * time.Second
	shortAuthLimit = 30 * time.Second
	longAuthLimit  = 300 * time.Second // the proxy waits for the chain
	featuresLimit  = 10 * time.Second
)

var (
	// ErrNeedsChain means that a proxy demands a registration on chain, which
	// this client has no means to make. Configure the secret that the proxy
	// knows, or run with a chain.
	ErrNeedsChain = errors.New("the proxy demands a registration on chain and this client has no chain: set its secret or use a network without one")
	// ErrNeedsSecret means that a proxy demands the empty secret, which is no
	// secret. See [Config.InsecureEmptySecret].
	ErrNeedsSecret = errors.New("the proxy demands the empty secret, which protects nothing: set a secret, or allow the empty one on a network without a chain")
)

// Registrar is a client's business on the chain. Client contracts are named by
// their addresses. All methods must be safe for concurrent use, and none but
// Open and Register may wait for the chain.
type Registrar interface {
	// Open is told of a proxy before anything can be owed to it: its contract
	// and ours follow from the registry's snapshot and its key. An error says
	// why nothing should be asked of this proxy.
	Open(ctx context.Context, root *contract.Root, proxy *address.Address, key ed25519.PublicKey) error
	// Register must see to it that the client contract's registration with
	// this nonce is on its way to the chain when it returns.
	Register(ctx context.Context, client, proxy *address.Address, nonce int64) error
	// Afford must return nil unless it is certain that the proxy refuses a
	// request that sets so many tokens aside. The error tells the caller what
	// is missing and what to do.
	Afford(client *address.Address, tokens int64) error
	// Charged takes a charge that was verified and follows our own count.
	Charged(client *address.Address, tokens int64, payment []byte)
	// Inflated takes one that claims too much, as evidence.
	Inflated(client *address.Address, payment []byte, why error)
}

func handshakeLimit(r Registrar) time.Duration {
	limit := connectLimit + shortAuthLimit + featuresLimit
	if r != nil {
		limit += longAuthLimit
	}
	return limit
}

// handshake makes a connection ready: who are you, who am I, what can we do.
func (l *link) handshake(ctx context.Context) error {
	l.root = l.c.cfg.Registry.Root()
	hello, err := l.connectToProxy(ctx)
	if err != nil {
		return err
	}
	if err := l.checkProxy(&hello.Params); err != nil {
		return err
	}
	if err := l.checkAddresses(hello); err != nil {
		return err
	}
	l.account = l.c.accountOf(l.contract, l.key)
	if err := l.openAccount(ctx); err != nil {
		return err
	}
	if err := l.account.verified(hello.SignedPayment); err != nil {
		return err
	}
	if err := l.authorise(ctx, hello.Auth); err != nil {
		return err
	}
	l.upSince = l.c.cfg.Now()
	if hello.Params.Flags&tl.FlagExtensions != 0 {
		if err := l.negotiate(ctx); err != nil {
			return err
		}
	}
	l.authorised.Store(true)
	return nil
}

func ask[T any, PT interface {
	*T
	tl.Object
}](ctx context.Context, l *link, limit time.Duration, fn tl.Object) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return wire.Ask[T, PT](ctx, l.conn, fn)
}

// openAccount begins to count, before anything can be owed. Without a chain
// what was used before is the proxy's word.
func (l *link) openAccount(ctx context.Context) error {
	if r := l.c.cfg.Registrar; r != nil {
		if err := r.Open(ctx, l.root, l.proxy, l.key); err != nil {
			return fmt.Errorf("account with the proxy: %w", err)
		}
	}
	l.c.cfg.Tally.Adopt(l.account.name, 0, math.MaxInt64)
	return nil
}

func (l *link) connectToProxy(ctx context.Context) (*tl.ClientConnectedToProxy, error) {
	return ask[tl.ClientConnectedToProxy](ctx, l, connectLimit, &tl.ClientConnectToProxy{
		Params: tl.ClientParams{
			Flags:              3 | tl.FlagExtensions,
			ClientOwnerAddress: l.c.wallet.String(),
			IsTest:             l.root.IsTest,
			MinProtoVersion:    minVersion,
			MaxProtoVersion:    maxVersion,
		},
		MinConfigVersion: int32(l.root.Version),
	})
}

func (l *link) checkProxy(p *tl.ProxyParams) error {
	switch {
	case p.Flags&3 == 0:
		return errors.New("proxy does not say which network and version it speaks")
	case p.Flags&1 != 0 && p.IsTest != l.root.IsTest:
		return fmt.Errorf("proxy is for test networks: %v, want %v as in the registry", p.IsTest, l.root.IsTest)
	case p.ProtoVersion < 0 || p.ProtoVersion > maxVersion:
		return fmt.Errorf("proxy chose protocol version %d, want at most %d", p.ProtoVersion, maxVersion)
	}
	l.version = p.ProtoVersion
	l.key = ed25519.PublicKey(slices.Clone(p.ProxyPublicKey[:]))
	return nil
}

// checkAddresses recomputes both contracts from key, owner and registry: a
// proxy that names others would have us pay somebody else. Spellings of the
// same account (bounceable, testnet) are not compared.
func (l *link) checkAddresses(hello *tl.ClientConnectedToProxy) error {
	owner, err := contract.ParseAddress(hello.Params.ProxyOwnerAddress)
	if err != nil {
		return fmt.Errorf("proxy's owner: %w", err)
	}
	if l.proxy, err = l.root.ProxyAddress(owner, l.c.root, l.key); err != nil {
		return err
	}
	if l.contract, err = l.root.ClientAddress(l.c.wallet, l.proxy, l.key); err != nil {
		return err
	}
	if err := sameContract("proxy", hello.Params.ProxyScAddress, l.proxy); err != nil {
		return err
	}
	return sameContract("client", hello.ClientScAddress, l.contract)
}

func sameContract(whose, text string, want *address.Address) error {
	got, err := contract.ParseAddress(text)
	if err != nil {
		return fmt.Errorf("%s contract: %w", whose, err)
	}
	if got.Workchain() != want.Workchain() || !bytes.Equal(got.Data(), want.Data()) {
		return fmt.Errorf("%s contract is %s, the registry gives %s: other parameters or another registry", whose, got, want)
	}
	return nil
}

// authorise answers the proxy's demand. The secret is sent only to a proxy
// that has shown its hash, and an empty one only if the operator allowed it.
func (l *link) authorise(ctx context.Context, demand tl.ClientProxyConnectionAuthClass) error {
	switch d := demand.(type) {
	case *tl.ClientProxyConnectionAuthShort:
		secret, known := l.secretFor(d.SecretHash)
		if known {
			return l.present(ctx, shortAuthLimit, &tl.ClientAuthorizeWithProxyShort{Data: []byte(secret)})
		}
		if d.SecretHash == sha256.Sum256(nil) && l.c.cfg.Registrar == nil {
			return ErrNeedsSecret
		}
		return l.register(ctx, d.Nonce)
	case *tl.ClientProxyConnectionAuthLong:
		return l.register(ctx, d.Nonce)
	}
	return fmt.Errorf("proxy demands an unknown authorisation")
}

func (l *link) secretFor(hash tl.Int256) (secret string, known bool) {
	secret = l.c.cfg.Secret
	if secret != "" && hash == sha256.Sum256([]byte(secret)) {
		return secret, true
	}
	return "", l.c.cfg.InsecureEmptySecret && hash == sha256.Sum256(nil)
}

func (l *link) register(ctx context.Context, nonce int64) error {
	if l.c.cfg.Registrar == nil {
		return ErrNeedsChain
	}
	if err := l.c.cfg.Registrar.Register(ctx, l.contract, l.proxy, nonce); err != nil {
		return fmt.Errorf("register at proxy: %w", err)
	}
	return l.present(ctx, longAuthLimit, &tl.ClientAuthorizeWithProxyLong{})
}

func (l *link) present(ctx context.Context, limit time.Duration, fn tl.Object) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	asked := l.account.tally.Ask(l.account.name)
	data, err := l.conn.Ask(ctx, fn)
	if err != nil {
		return err
	}
	result, err := tl.Decode(data)
	if err != nil {
		return err
	}
	switch r := result.(type) {
	case *tl.ClientAuthorizationWithProxySuccess:
		l.account.answered(r.TokensCommittedToDb, r.MaxTokens, asked)
		return l.account.verified(r.SignedPayment)
	case *tl.ClientAuthorizationWithProxyFailed:
		return fmt.Errorf("proxy refuses to authorise: code %d", r.ErrorCode)
	}
	return fmt.Errorf("proxy answers the authorisation with %s", result.TLName())
}

// negotiate learns which of our extensions the proxy knows. One that set the
// bit and knows no such question is treated as a proxy of the reference.
func (l *link) negotiate(ctx context.Context) error {
	theirs, err := ask[tl.CocoonFeatures](ctx, l, featuresLimit, &tl.CocoonGetFeatures{Names: []string{tl.FeatureCancel, tl.FeatureQueue, tl.FeatureMarket, tl.FeatureFacts}})
	var refused *wire.QueryError
	if errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return err
	}
	l.canCancel = slices.Contains(theirs.Names, tl.FeatureCancel)
	l.market = l.version > 0 && slices.Contains(theirs.Names, tl.FeatureMarket)
	l.facts = l.market && slices.Contains(theirs.Names, tl.FeatureFacts)
	l.conn.Ping()
	return nil
}
