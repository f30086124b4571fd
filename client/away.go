package client

import (
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
)

// While the chain is away the client goes on with the proxies that it knows,
// within what is paid in with them. It begins nothing that needs the chain's
// word, and stops when the registry's is too old: it says which proxies to trust.

// tooOld refuses a request on a registry that nobody should act on.
func (c *Client) tooOld() *failure {
	why := contract.Stale(c.cfg.Registry, c.cfg.Now())
	if why == nil {
		return nil
	}
	if away := contract.Away(c.cfg.Registry, fmt.Sprintf("this gateway trusts no proxy on a registry older than %s; try again when the chain is back", contract.MaxAge)); away != nil {
		why = away
	}
	return &failure{as: openai.Unavailable(openai.CodeChainAway, contract.AwayRetry(), "%v", why)}
}

// unaffordable says what a request lacks: money, or the chain to pay it in by.
func unaffordable(why error) *failure {
	if errors.As(why, new(*contract.AwayError)) {
		return &failure{as: openai.Unavailable(openai.CodeChainAway, contract.AwayRetry(), "%v", why), elsewhere: true}
	}
	return &failure{as: openai.PaymentRequired("%v", why), elsewhere: true}
}

// unconnected is for a caller without any proxy.
func (c *Client) unconnected() *failure {
	reasons := c.whyNotReady()
	if reasons != "" {
		reasons = printable(reasons) // peers wrote it
	}
	if why := contract.Away(c.cfg.Registry, "no proxy is connected, and to open an account with another takes the chain; try again when it is back"+reasons); why != nil {
		return &failure{as: openai.Unavailable(openai.CodeChainAway, contract.AwayRetry(), "%v", why)}
	}
	return &failure{as: openai.Unavailable(openai.CodeNoProxy, retryUnconnected, "no proxy is connected; the log says why%s", reasons)}
}
