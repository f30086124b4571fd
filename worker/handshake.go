package worker

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// Protocol versions (current.md §1). A minimum of 1 keeps every proxy able to
// serve us; what comes at 0 is understood all the same.
const (
	minVersion = 1
	maxVersion = 4
	// versionTimes is the first in which final info carries times.
	versionTimes = 2
)

// Bits of the flags words.
const (
	flagBase     = 1 << 0 // params: is_test and what came with it
	flagVersions = 1 << 1 // params: version range
	flagFinal    = 1 << 0 // answers: final_info is there, nothing follows
	flagDebug    = 1 << 0 // final info: worker_debug
	flagTimes    = 1 << 1 // final info: start and end
)

// stepTimeout is how long the proxy may take for each step of the handshake.
const stepTimeout = 30 * time.Second

var ourFeatures = []string{tl.FeatureCancel, tl.FeatureProgress, tl.FeatureMarket, tl.FeatureFacts}

// handshake brings a new connection to the point where requests may come. Any
// error closes it.
func (s *session) handshake(ctx context.Context) error {
	err := s.steps(ctx)
	if err != nil {
		s.w.leave(s)
	}
	return err
}

// steps are those of wire.md §5.1.
func (s *session) steps(ctx context.Context) error {
	if err := s.w.checkImage(s.c, s.w.cfg.Registry.Root()); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.compare(ctx); err != nil {
		return err
	}
	s.judge()
	disabled, coefficient := s.join()
	done := &tl.WorkerProxyHandshakeComplete{IsDisabled: disabled}
	if _, err := ask[tl.WorkerProxyHandshakeCompleted](ctx, s.c, done); err != nil {
		return err
	}
	if err := s.features(ctx); err != nil {
		return err
	}
	s.ready(disabled, coefficient)
	s.w.background.Go(s.pollPayments)
	return nil
}

// ask is one step.
func ask[T any, PT interface {
	*T
	tl.Object
}](ctx context.Context, c *wire.Conn, fn tl.Object) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	answer, err := wire.Ask[T, PT](ctx, c, fn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fn.TLName(), err)
	}
	return answer, nil
}

// checkImage insists on an approved proxy, if asked to. Behind a router of the
// reference the record's verdict counts.
func (w *Worker) checkImage(c *wire.Conn, root *contract.Root) error {
	if !w.cfg.CheckImages {
		return nil
	}
	peer, _ := c.Peer().(*ratls.Peer)
	if peer == nil || peer.Verdict == nil || !root.AllowsProxyImage(peer.Verdict.ImageHash) {
		return errors.New("proxy's image is not in the registry")
	}
	return nil
}

// connect introduces the worker and checks who the proxy says it is.
func (s *session) connect(ctx context.Context) error {
	root := s.w.cfg.Registry.Root()
	s.w.mu.Lock()
	s.said.coefficient, s.floor = s.w.coefficient, s.w.coefficient
	s.w.mu.Unlock()
	params := tl.WorkerParams{
		Flags:              flagBase | flagVersions | tl.FlagExtensions,
		WorkerOwnerAddress: ownerText(s.w.cfg.OwnerAddress),
		Model:              s.w.cfg.Model, Coefficient: s.said.coefficient, IsTest: root.IsTest,
		ProxyCnt: int32(s.w.cfg.Connections), MaxActiveRequests: int32(s.w.cfg.MaxActive),
		MinProtoVersion: minVersion, MaxProtoVersion: maxVersion,
	}
	answer, err := ask[tl.WorkerConnectedToProxy](ctx, s.c, &tl.WorkerConnectToProxy{Params: params})
	if err != nil {
		return err
	}
	if err := s.checkParams(root, &answer.Params); err != nil {
		return err
	}
	return s.checkAddresses(root, answer)
}

func (s *session) checkParams(root *contract.Root, p *tl.ProxyParams) error {
	switch {
	case p.Flags&(flagBase|flagVersions) == 0:
		return errors.New("proxy is too old: its params have neither flag")
	case p.Flags&flagBase != 0 && p.IsTest != root.IsTest:
		return fmt.Errorf("proxy says test network %t, the registry says %t", p.IsTest, root.IsTest)
	case p.ProtoVersion < 0 || p.ProtoVersion > maxVersion:
		return fmt.Errorf("proxy chose protocol version %d, offered %d to %d", p.ProtoVersion, minVersion, maxVersion)
	}
	s.version = p.ProtoVersion // absent means 0
	s.extended = p.Flags&tl.FlagExtensions != 0
	return nil
}

// checkAddresses computes both contracts from what the registry says. A proxy
// that lives under another registry, code or price comes out elsewhere, and so does
// a worker contract that pays somebody else.
func (s *session) checkAddresses(root *contract.Root, a *tl.WorkerConnectedToProxy) error {
	key := ed25519.PublicKey(a.Params.ProxyPublicKey[:])
	owner, err := contract.ParseAddress(a.Params.ProxyOwnerAddress)
	if err != nil {
		return fmt.Errorf("proxy owner: %w", err)
	}
	proxy, err := root.ProxyAddress(owner, s.w.cfg.RootAddress, key)
	if err != nil {
		return err
	}
	own, err := root.WorkerAddress(s.w.cfg.OwnerAddress, proxy, key)
	if err != nil {
		return err
	}
	if err := sameAddress("proxy contract", a.Params.ProxyScAddress, proxy); err != nil {
		return err
	}
	if err := sameAddress("worker contract", a.WorkerScAddress, own); err != nil {
		return err
	}
	s.root = root
	s.account, err = s.w.earningsOf(root, own, proxy, slices.Clone(key))
	return err
}

// sameAddress compares with the text's flags, as the network does; whether it
// marks the test network is a convention that differs between releases.
func sameAddress(what, text string, want *address.Address) error {
	got, err := contract.ParseAddress(text)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if got.Workchain() != want.Workchain() || !slices.Equal(got.Data(), want.Data()) {
		return fmt.Errorf("%s is %s, want %s by the registry; is the proxy of another network or version?", what, got, want)
	}
	if got.IsBounceable() {
		return fmt.Errorf("%s is written bounceable, want the form that begins with UQ or 0Q", what)
	}
	return nil
}

// compare tells the proxy what we hold and takes its figures (wire.md §5.3).
// A proxy that has lost tokens it had only counted says so with code 1.
func (s *session) compare(ctx context.Context) error {
	have := s.account.balance()
	answer, err := ask[tl.WorkerCompareBalanceWithProxyResult](ctx, s.c, &tl.WorkerCompareBalanceWithProxy{
		TokensCommittedToBlockchain: have.signed, TokensCommittedToDb: have.db, MaxTokens: have.most})
	if err != nil {
		return err
	}
	if answer.ErrorCode != 0 {
		have.most = s.settleFor(answer.MaxTokens)
	}
	s.known, err = s.account.take(have, answer.SignedPayment, answer.TokensCommittedToDb, answer.MaxTokens)
	if err != nil || answer.ErrorCode == 0 {
		return err
	}
	return s.compareExtended(ctx)
}

// settleFor accepts the proxy's lower figure. The reference proxy cannot go on
// after the extended comparison, but we then know less and the next attempt
// does not need it.
func (s *session) settleFor(most int64) int64 {
	if lost := s.account.forget(most); lost > 0 {
		s.w.cfg.Log.Warn("worker: proxy has forgotten tokens it had not stored", "proxy", s.address, "tokens", lost)
	}
	return s.account.balance().most
}

func (s *session) compareExtended(ctx context.Context) error {
	answer, err := ask[tl.WorkerExtendedCompareBalanceWithProxyResult](ctx, s.c,
		&tl.WorkerExtendedCompareBalanceWithProxy{TokensCommittedToDb: s.known.db})
	if err != nil {
		return err
	}
	if answer.ErrorCode != 0 {
		return fmt.Errorf("proxy refuses our balance with code %d", answer.ErrorCode)
	}
	return nil
}

// features finds out what the proxy can do beyond the network's protocol. A
// peer that sets the bit and does not know the question is like any other.
func (s *session) features(ctx context.Context) error {
	if !s.extended {
		return nil
	}
	answer, err := ask[tl.CocoonFeatures](ctx, s.c, &tl.CocoonGetFeatures{Names: ourFeatures})
	var refused *wire.QueryError
	if errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return err
	}
	s.progress.Store(slices.Contains(answer.Names, tl.FeatureProgress))
	s.explains = slices.Contains(answer.Names, tl.FeatureMarket)
	s.listens = slices.Contains(answer.Names, tl.FeatureFacts)
	return nil
}

// ownerText is the owner's address in the form the network expects.
func ownerText(a *address.Address) string { return a.Bounce(false).String() }
