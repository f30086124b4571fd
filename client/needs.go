package client

import (
	"cmp"

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
