package contract

import (
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
)

// The limits of our root contract, params.tolk and root.tolk.
const (
	maxDelay      = 366 * 86400
	maxMultiplier = 100_000_000
	// maxAmount of prices and stakes leaves room for sums.
	maxAmount coin.Nano = 1 << 62
)

// CheckFounding is [Root.CheckContracts] for a registry to be: it refuses what
// our root contract refuses as a change, since nobody checks what a contract
// begins with.
func (r *Root) CheckFounding() error {
	m := r.Multipliers
	switch {
	case r.StructVersion < 3:
		return fmt.Errorf("root: struct version is %d, want 3 to %d: our contracts know no older", r.StructVersion, maxStructVersion)
	case r.Owner != nil && (r.Owner.Type() != address.StdAddress || r.Owner.Workchain() < -1 || r.Owner.Workchain() > 0):
		return fmt.Errorf("root: owner %s: no message can come from there", r.Owner)
	case r.ClientDelay >= r.ProxyDelay:
		return fmt.Errorf("root: client delay is %d s, want less than the proxy delay %d s: clients that leave must be done before a proxy may finish", r.ClientDelay, r.ProxyDelay)
	case r.ProxyDelay > maxDelay:
		return fmt.Errorf("root: proxy delay is %d s, want at most %d, a year", r.ProxyDelay, maxDelay)
	case max(r.PricePerToken, r.MinProxyStake, r.MinClientStake) > maxAmount:
		return fmt.Errorf("root: a price or stake is above %s", maxAmount.Text())
	case min(m.Prompt, m.Completion, m.Reasoning) == 0:
		return errors.New("root: a multiplier is zero, and only that of cached tokens may be: 10000 is one")
	case max(m.Prompt, m.Cached, m.Completion, m.Reasoning) > maxMultiplier:
		return fmt.Errorf("root: a multiplier is above %d: 10000 is one", maxMultiplier)
	}
	return r.CheckContracts()
}
