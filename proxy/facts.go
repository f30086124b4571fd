package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// says takes what the worker can do. One that says what cannot be is taken to have said nothing.
func (w *worker) says(m *tl.CocoonFacts) {
	f, err := openai.ReadFacts(m.Context, m.Capabilities, m.Region)
	if err != nil {
		w.malformed(err)
	}
	w.p.market.SetClaims(w.offer, market.Claims{Context: f.Context, Has: market.Capability(f.Can), Region: f.Region})
	w.p.shown.changed.Add(1)
	w.p.serve(w.p.market.Match(w.offer.Model))
}

// measured takes the round trip to the worker.
func (w *worker) measured(rtt time.Duration) {
	if w.ready.Load() {
		w.p.market.SetRTT(w.offer, rtt)
	}
}

// pingsEvery is how many notes of the market pass from one measurement to the next.
const pingsEvery = 4

// pingWorkers measures the round trips anew.
func (p *Proxy) pingWorkers() {
	p.mu.Lock()
	workers := slices.Collect(maps.Keys(p.workers))
	p.mu.Unlock()
	for _, w := range workers {
		if w.ready.Load() {
			w.conn.Ping()
		}
	}
}

// runNeeding takes a question with what it takes, and with wishes if the client may have any.
func (c *client) runNeeding(m *tl.CocoonRunNeeding) {
	more := &m.Query
	if c.features.Load()&featureMarket == 0 {
		more = nil
	}
	c.run(ordinary(&m.Query), more, &m.Needs)
}

// takeNeeds reads what the request takes; nil is nothing.
func (r *request) takeNeeds(m *tl.CocoonFacts) *refusal {
	if m == nil {
		return nil
	}
	can := m.Capabilities
	if can != 0 {
		can |= int32(openai.Told)
	}
	f, err := openai.ReadFacts(m.Context, can, m.Region)
	if err != nil {
		return &refusal{wire.CodeProtocol, openai.BadRequest("", openai.CodeInvalidValue, "the request says that it takes %v", err)}
	}
	f.Can &^= openai.Told
	r.needs = f
	return nil
}

// lacking says what the request takes that no worker of its model has, and what they have; "" if it is not that.
func (r *request) lacking(d market.Decision) string {
	if d.Verdict != market.NoWorker || d.Offers == 0 || r.needs.Context == 0 && r.needs.Can == 0 {
		return ""
	}
	for i, models := 0, r.p.look().models; i < len(models); i++ {
		if m := &models[i]; m.Name == r.model {
			return r.lackingOf(m)
		}
	}
	return ""
}

func (r *request) lackingOf(m *market.ModelInfo) string {
	able, fits, both, enabled := 0, 0, 0, 0
	for i := range m.Offers {
		o := &m.Offers[i]
		if !o.Enabled {
			continue
		}
		enabled++
		long := o.Context == 0 || o.Context >= r.needs.Context
		can := o.Has == 0 || openai.Abilities(o.Has)&r.needs.Can == r.needs.Can
		if long {
			fits++
		}
		if can {
			able++
		}
		if long && can {
			both++
		}
	}
	does := func() string {
		return fmt.Sprintf("does what the request takes (%s); they do %s", r.needs.Can, openai.Abilities(m.Has))
	}
	switch {
	case enabled == 0:
		return ""
	case fits == 0:
		return fmt.Sprintf("no worker of this model takes %s tokens; the longest is %s", thousands(r.needs.Context), thousands(m.Longest))
	case able == 0:
		return "no worker of this model " + does()
	case both == 0:
		return fmt.Sprintf("no worker of this model that takes %s tokens %s", thousands(r.needs.Context), does())
	}
	return ""
}

// thousands writes a number as people read it: 32,768.
func thousands(n int) string {
	text := strconv.Itoa(n)
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
