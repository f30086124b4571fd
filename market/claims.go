package market

import (
	"slices"
	"strings"
	"time"
)

// Claims are what a worker says of itself, see [Terms], and can take back at any time.
type Claims struct {
	Context int
	Has     Capability
	Region  string
}

// SetClaims notes what the worker says it can do. Who waits may now be served: see [Market.Match].
func (m *Market) SetClaims(o *Offer, f Claims) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.Context, o.Has, o.Region = f.Context, f.Has, f.Region
	o.traits = o.Terms.traits() | o.traits&hasServed
	m.rescore(o, m.cfg.Now())
}

// SetRTT notes the measured round trip to the worker. It counts until the worker's own answers, which have
// it in their times, say more.
func (m *Market) SetRTT(o *Offer, rtt time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.rtt = rtt
	if !o.gone {
		smooth(&o.pool.rtt, rtt)
	}
	m.rescore(o, m.cfg.Now())
}

const (
	// anyContext is what every model in use has room for, so that nobody need say it.
	anyContext = 4 << 10
	// unsaid is how much better a worker may be that does not say whether it can do what
	// is needed, and still comes behind one that does.
	unsaid = 1.5
)

// said are the traits of those who say that they can do what is needed, and do not leave it open.
func (w *Want) said() (t traits) {
	if w.Needs != 0 {
		t |= saysHas
	}
	if w.Context > anyContext {
		t |= saysContext
	}
	return t
}

// preferSaid leaves to the query those who say that they can, if one is free that is not much worse than the best of all.
func (q *query) preferSaid() {
	said := q.w.said()
	if said == 0 || q.needs&said == said {
		return
	}
	all, limit := q.needs, q.limit
	if at := q.best(); at >= 0 {
		q.limit, q.needs = q.t.offers[at].score[q.by]*unsaid, all|said
		if q.best() < 0 {
			q.needs = all
		}
	}
	q.limit = limit
}

// Round trips that are assumed of workers without a measured one, where both regions are known.
const (
	nearTrip = 30 * time.Millisecond
	farTrip  = 200 * time.Millisecond
)

// away is how much longer than the usual the worker's round trip is for this caller, in seconds, as far as
// its own answers do not say it yet: measured, or else by the regions. It may be negative.
func (o *Offer) away(region string) float64 {
	left := 1 - trusted(o.pace.start.w)
	switch {
	case o.rtt > 0:
		return 0 // is in foreseen
	case region == "" || o.Region == "":
		return 0
	case Near(region, o.Region):
		return left * (nearTrip - o.pool.rtt).Seconds()
	}
	return left * (farTrip - o.pool.rtt).Seconds()
}

// Near says that one region is the other or part of it, as eu-west is of eu.
func Near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return a != "" && strings.HasPrefix(b, a) && (len(a) == len(b) || b[len(a)] == '-')
}

// maxRegions bounds what is listed of a model.
const maxRegions = 32

// sum takes in what one more offer says.
func (i *ModelInfo) sum(o *Offer) {
	if !o.Enabled {
		return
	}
	i.Longest, i.Has = max(i.Longest, o.Context), i.Has|o.Has
	if at, known := slices.BinarySearch(i.Regions, o.Region); o.Region != "" && !known && len(i.Regions) < maxRegions {
		i.Regions = slices.Insert(i.Regions, at, o.Region)
	}
}
