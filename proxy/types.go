package proxy

import (
	"math"
	"slices"

	"github.com/opencocoon/cocoon/tl"
)

// Features of ours that both sides may agree on.
const (
	featureCancel uint32 = 1 << iota
	featureProgress
	featureQueue
	featureMarket
	featureFacts
)

var featureNames = []string{tl.FeatureCancel, tl.FeatureProgress, tl.FeatureQueue, tl.FeatureMarket, tl.FeatureFacts}

// featuresOf keeps those names of a peer that are known here.
func featuresOf(names []string) (set uint32) {
	for i, known := range featureNames {
		if slices.Contains(names, known) {
			set |= 1 << i
		}
	}
	return set
}

// newQuery makes an empty object of the query's kind; nil if it is not one that the proxy has an opinion about.
func newQuery(data []byte) tl.Object {
	id := tl.PeekID(data)
	for _, make := range queries {
		if o := make(); o.TLID() == id {
			return o
		}
	}
	return nil
}

var queries = []func() tl.Object{
	func() tl.Object { return new(tl.ClientUpdatePaymentStatus) },
	func() tl.Object { return new(tl.WorkerUpdatePaymentStatus) },
	func() tl.Object { return new(tl.ClientGetWorkerTypesV2) },
	func() tl.Object { return new(tl.ClientGetWorkerTypes) },
	func() tl.Object { return new(tl.ClientConnectToProxy) },
	func() tl.Object { return new(tl.ClientAuthorizeWithProxyShort) },
	func() tl.Object { return new(tl.ClientAuthorizeWithProxyLong) },
	func() tl.Object { return new(tl.WorkerConnectToProxy) },
	func() tl.Object { return new(tl.WorkerCompareBalanceWithProxy) },
	func() tl.Object { return new(tl.WorkerExtendedCompareBalanceWithProxy) },
	func() tl.Object { return new(tl.WorkerProxyHandshakeComplete) },
	func() tl.Object { return new(tl.CocoonGetFeatures) },
	func() tl.Object { return new(tl.CocoonGetBook) },
	func() tl.Object { return new(tl.CocoonGetBookWithFacts) },
	func() tl.Object { return new(tl.CocoonWhyIdle) },
}

// workerTypesV2 lists the models with the workers that take requests.
func (p *Proxy) workerTypesV2() *tl.ClientWorkerTypesV2 { return p.look().types }

// workerTypes is the older list, with its quirk: the largest number there is
// counts among the prices, so it is always the maximum.
func (p *Proxy) workerTypes() *tl.ClientWorkerTypes {
	list := &tl.ClientWorkerTypes{}
	for _, m := range p.look().models {
		prices := make([]int32, 0, len(m.Offers)+1)
		for _, o := range m.Offers {
			prices = append(prices, int32(o.Coefficient))
		}
		prices = append(prices, math.MaxInt32)
		list.Types = append(list.Types, tl.ClientWorkerType{Name: m.Name, ActiveWorkers: int32(len(m.Offers)),
			CoefficientMin: prices[0], CoefficientBucket50: prices[len(prices)/2], CoefficientMax: math.MaxInt32})
	}
	return list
}
