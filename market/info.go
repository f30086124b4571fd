package market

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// OfferInfo is a snapshot of an offer.
type OfferInfo struct {
	Key            string
	Coefficient    uint32
	Running, Limit int
	Enabled        bool
	// Failures in a row; from three on the offer is set aside most of the time. Lost is the
	// smoothed share of its requests that failed.
	Failures int
	Lost     float64
	// First is the time to the first answer and Token the time for each token that the usual request would
	// take now, 0 when unknown.
	First, Token time.Duration
	// Picked is how many requests it has got, LastAt when the last.
	Picked int
	LastAt time.Time
	// FullModel, Context, Has and Region are as in its terms, RTT is measured and 0 when unknown.
	FullModel string
	Context   int
	Has       Capability
	Region    string
	RTT       time.Duration
	Ref       any
}

func (o *Offer) info() OfferInfo {
	i := OfferInfo{Key: o.Key, Coefficient: o.Coefficient, Running: o.running, Limit: o.Limit, Enabled: o.Enabled, Failures: o.failures, Lost: o.lost,
		First: seconds(o.pace.first), Picked: o.picked, LastAt: o.lastAt, FullModel: o.FullModel, Context: o.Context, Has: o.Has, Region: o.Region, RTT: o.rtt, Ref: o.Ref}
	if o.pace.token.w > 0 {
		i.Token = seconds(o.pace.token.at(float64(o.running)))
	}
	return i
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Info is a snapshot of one offer.
func (m *Market) Info(o *Offer) OfferInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return o.info()
}

// ModelInfo is a snapshot of a model and its offers, cheapest first.
type ModelInfo struct {
	Name    string
	Offers  []OfferInfo
	Waiting int
	// Running requests, and Slots for them on workers that take requests.
	Running, Slots int
	// GoingRate is the coefficient that requests were served for lately, on average; 0 when none was.
	GoingRate uint32
	// First is the smoothed time to the first answer, Token the time for each token and Service that of a
	// whole request; 0 when unknown.
	First, Token, Service time.Duration
	// Longest is the longest context of its offers, 0 where none says, Has what at least one can do,
	// and Regions where they are, each once, in order.
	Longest int
	Has     Capability
	Regions []string
	// Wait is how long a request that finds no free place would wait for one.
	Wait time.Duration
}

// Empty says that no worker has made an offer yet.
func (m *Market) Empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.models) == 0
}

// Models lists the models ever offered, by name. One whose workers have all left stays listed.
func (m *Market) Models() []ModelInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]ModelInfo, 0, len(m.models))
	for _, p := range m.models {
		list = append(list, p.info())
	}
	slices.SortFunc(list, func(a, b ModelInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (p *pool) info() ModelInfo {
	info := ModelInfo{Name: p.name, Waiting: p.queue.len(), Running: p.running, Slots: p.slots, GoingRate: uint32(p.paid + 0.5),
		First: seconds(p.pace.first), Service: p.service}
	if p.slots > 0 {
		info.Wait = p.wait(math.MaxUint32, p.queue.len()+1)
	}
	if p.pace.token.w > 0 {
		info.Token = seconds(p.pace.token.at(max(p.pace.requests-1, 0)))
	}
	for _, o := range p.offers.offers {
		if o != nil {
			info.Offers = append(info.Offers, o.info())
			info.sum(o)
		}
	}
	return info
}
