package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/stats"
	"github.com/opencocoon/cocoon/wire"
)

// While the chain is away the proxy serves on within what the chain has
// confirmed: each client within its own deposit, as if nothing had happened. What
// needs the chain's word is refused, with the time since when it is away:
//
//   - clients that the proxy does not know, since nothing is known of their deposit;
//   - clients whose deposit is used up: it cannot be charged or filled up;
//   - bit by bit, clients that might have left meanwhile: see [Proxy.lends];
//   - everybody, when the registry's word is too old, or when the proxy was
//     started meanwhile: only the chain can say that its ledger is the newest.

// away is nil while the chain is there, or where there is none.
func (p *Proxy) away(what string) error {
	if p.cfg.Registrar == nil {
		return nil
	}
	return contract.Away(p.cfg.Registry, what)
}

// awayed turns a [contract.AwayError] into what the caller reads.
func awayed(err error) *refusal {
	return &refusal{wire.CodeNotReady, openai.Unavailable(openai.CodeChainAway, contract.AwayRetry(), "%v", err)}
}

// takesNone is what peers are told of trouble that is the operator's; the log
// says more.
const takesNone = "proxy's ledger takes no work"

// none says why no work is taken, for an error of [Proxy.health].
func (p *Proxy) none(why error) *refusal {
	var stale *contract.StaleError
	what := ""
	switch {
	case errors.As(why, &stale):
		what = fmt.Sprintf("the proxy takes no work on a registry older than %s; use another proxy, or try again when the chain is back", contract.MaxAge)
	case errors.Is(why, ledger.ErrOpening), errors.Is(why, contract.ErrUnread):
		what = "the proxy was started meanwhile, and only the chain can tell that its ledger is the newest; use another proxy, or try again when the chain is back"
	default:
		return stopping(takesNone)
	}
	if err := p.away(what); err != nil {
		return awayed(err)
	}
	if stale != nil { // the chain is there, and what it says is not believed
		return stopping("proxy's registry is older than " + contract.MaxAge.String())
	}
	return stopping(takesNone)
}

// broke refuses a request that the client's balance does not cover.
func (p *Proxy) broke(available, need int64) *refusal {
	err := p.away(fmt.Sprintf("%d tokens are left of what it has confirmed of the client's deposit, and the request sets %d aside; lower max_tokens, use another proxy, or try again when the chain is back", available, need))
	if err != nil {
		return awayed(err)
	}
	return unpaid("client balance is too low: %d tokens available, the request sets %d aside: pay in or lower max_tokens", available, need)
}

// lends says whether a client may set more aside, for all that the proxy can
// know. A client that leaves by force is gone with its deposit after the
// network's delay, charged or not, and a proxy that does not see the chain cannot
// charge it: so when half that time has passed since the chain was last heard
// of, the part of the deposit that is lent begins to fall, and reaches nothing
// with all of it. Who owes least is served longest.
func (p *Proxy) lends(account string, need int64) error {
	if p.cfg.Registrar == nil {
		return nil
	}
	since := contract.AwaySince(p.cfg.Registry)
	if since.IsZero() {
		return nil
	}
	delay, away := time.Duration(p.terms.Load().ClientDelay)*time.Second, p.now().Sub(since)
	if away <= delay/2 {
		return nil
	}
	c, err := p.book.OpenClient(account)
	if err != nil {
		return nil // reserving says why not
	}
	risk, most := c.Used.Max-c.Charged+c.Reserved+need, lent(c.Limit()-c.Charged, away, delay)
	if risk <= most {
		return nil
	}
	return &contract.AwayError{Since: since, What: fmt.Sprintf("the client might have left meanwhile, so it may owe %d tokens now, and with this request it would owe %d; lower max_tokens, use another proxy, or try again when the chain is back", most, risk)}
}

// lent is the part of what a client may owe that it still may after some time
// without the chain.
func lent(all int64, away, delay time.Duration) int64 {
	half := delay / 2
	switch {
	case away <= half:
		return all
	case away >= delay:
		return 0
	}
	return int64(float64(all) * float64(delay-away) / float64(delay-half))
}

func (p *Proxy) chainMetrics(s Snapshot) []stats.Metric {
	if s.Chain == nil {
		return nil
	}
	within := 0.0
	if s.Chain.Within != nil {
		within = float64(*s.Chain.Within)
	}
	return append(stats.ChainMetrics("proxy", s.Chain.AwaySince, s.Chain.Seen, p.now()),
		stats.GaugeMetric("cocoon_proxy_serving_within_nanoton", "While the chain is away: what clients may still use of their confirmed deposits.", within))
}

// view is how the proxy sees the chain; nil without one.
func (p *Proxy) view() *contract.View {
	v := contract.ViewOf(p.cfg.Registry)
	if !v.Away() || p.cfg.Registrar == nil {
		return v
	}
	within, price := int64(0), int64(p.terms.Load().PricePerToken)
	for _, c := range p.book.Clients() {
		if tokens := max(0, c.Available()); c.State == ledger.Open && price > 0 {
			within += min(tokens, (1<<62-within)/price) * price
		}
	}
	v.Within = &within
	return v
}
