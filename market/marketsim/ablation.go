package marketsim

import "github.com/opencocoon/cocoon/market"

// Ablation is our rule without one of the facts that it looks at.
type Ablation struct {
	Name    string
	Without market.Facts
}

// Ablations in the order in which tables have them.
var Ablations = []Ablation{
	{"speed", market.Speed}, {"size", market.Size}, {"success", market.Success}, {"probes", market.Probes}, {"affinity", market.Affinity},
}
