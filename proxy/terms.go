package proxy

import (
	"context"
	"crypto/ed25519"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
)

// Versions of the protocol spoken with both sides; see current.md section 1.
const (
	minVersion = 0
	maxVersion = 4
)

// terms are the registry's snapshot and what follows from it. They are
// replaced as a whole.
type terms struct {
	*contract.Root
	proxy *address.Address // of the contract
	check bool             // images and models of workers
}

func (p *Proxy) public() ed25519.PublicKey { return p.cfg.Key.Public().(ed25519.PublicKey) }

// adopt takes a snapshot for the first time or after a change. New parameters
// mean a new contract and empty accounts.
func (p *Proxy) adopt(root *contract.Root) error {
	if err := root.Check(); err != nil {
		return err
	}
	t := &terms{Root: root, check: p.cfg.CheckImages || !root.IsTest}
	var err error
	if t.proxy, err = root.ProxyAddress(p.owner, p.root, p.public()); err != nil {
		return err
	}
	if old := p.terms.Load(); old == nil || old.ParamsVersion != root.ParamsVersion {
		lt, err := p.ledgerTerms(root)
		if err == nil {
			err = p.book.Begin(lt)
		}
		if err != nil {
			return err
		}
	}
	p.terms.Store(t)
	return nil
}

func (p *Proxy) ledgerTerms(root *contract.Root) (ledger.Terms, error) {
	lt, err := p.issuer.Terms(root)
	if p.cfg.Registrar == nil {
		lt.Credit = ledger.Chainless(lt.Price)
	}
	return lt, err
}

// text writes an address as peers compare it.
func (p *Proxy) text(a *address.Address) string {
	return a.Bounce(false).Testnet(p.cfg.Testnet).String()
}

// chooseVersion picks the highest version both sides know.
func chooseVersion(flags uint32, lowest, highest int32) (int32, bool) {
	if flags&2 == 0 {
		lowest, highest = 0, 0
	}
	return min(highest, maxVersion), highest >= minVersion && lowest <= maxVersion && lowest <= highest
}

// params is how the proxy introduces itself to a peer of the given flags.
func (p *Proxy) params(t *terms, peerFlags uint32, version int32) tl.ProxyParams {
	flags := 1 | peerFlags&tl.FlagExtensions
	if version > 0 {
		flags |= 2
	}
	return tl.ProxyParams{
		Flags: flags, ProxyPublicKey: tl.Int256(p.public()), ProxyOwnerAddress: p.cfg.OwnerAddress,
		ProxyScAddress: p.text(t.proxy), IsTest: t.IsTest, ProtoVersion: version,
	}
}

// signed wraps a payment; nil data is no payment.
func signed(data []byte) tl.ProxySignedPaymentClass {
	if data == nil {
		return nil
	}
	return &tl.ProxySignedPayment{Data: data}
}

// watchRegistry follows the registry until ctx ends.
func (p *Proxy) watchRegistry(ctx context.Context) {
	for {
		changed := p.cfg.Registry.Changed()
		if root := p.cfg.Registry.Root(); root != p.terms.Load().Root {
			p.follow(root)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// follow takes over a changed snapshot. New parameters make every account and
// address new: work is drained, peers are sent away, and those who return
// find the new contract. Otherwise only workers that lost their approval go.
func (p *Proxy) follow(root *contract.Root) {
	old := p.terms.Load()
	switch {
	case root.IsTest != old.IsTest || root.ParamsVersion < old.ParamsVersion:
		p.log.Error("registry: snapshot refused", "is_test", root.IsTest, "params_version", root.ParamsVersion, "have", old.ParamsVersion)
		return
	case root.ParamsVersion == old.ParamsVersion:
		if err := p.adopt(root); err != nil {
			p.log.Error("registry: snapshot refused", "error", err)
			return
		}
		p.letGoDelisted()
		return
	}
	p.log.Info("registry: new parameters, changing the contract", "params_version", root.ParamsVersion)
	open := p.drain("proxy changes its contract")
	defer open()
	p.disconnect(errTerms)
	if err := p.adopt(root); err != nil {
		p.log.Error("registry: snapshot refused", "error", err)
	}
}

func (p *Proxy) letGoDelisted() {
	_, workers := p.connections()
	for _, w := range workers {
		if !w.ready.Load() {
			continue
		}
		if err := w.approved(p.terms.Load()); err != nil {
			w.retire(err)
		}
	}
}
