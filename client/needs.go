package client

import (
	"cmp"
	"slices"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// readNeeds finds out what the request takes, before it is encrypted. What its app has encrypted nobody
// here can read; such a request is sent as if it took nothing.
func (rq *request) readNeeds(path string, body []byte) {
	if path != pathTranscriptions && !rq.options.Encrypted {
		rq.needs, rq.prompt = openai.Needs(body)
	}
	if rq.needs.Region = rq.client.cfg.Region; rq.options.Provider != nil {
		rq.needs.Region = cmp.Or(rq.options.Provider.Region, rq.needs.Region)
	}
}

func factsMessage(f openai.Facts) tl.CocoonFacts {
	return tl.CocoonFacts{Context: int32(f.Context), Capabilities: int32(f.Can), Region: f.Region}
}

// describe adds what the workers of a model say at all proxies.
func describe(m *openai.Model, links []*link) {
	var can openai.Abilities
	for _, l := range links {
		b := l.table.book(m.ID)
		if b == nil {
			continue
		}
		m.ContextLength = max(m.ContextLength, int(b.facts.Context))
		can |= openai.Abilities(b.facts.Capabilities)
		m.Regions = append(m.Regions, b.facts.Regions...)
	}
	slices.Sort(m.Regions)
	m.Capabilities, m.Regions = can.Names(), slices.Compact(m.Regions)
}
