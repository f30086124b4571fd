package openai

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Provider is what a request's "provider" object says about who shall serve
// it. The names are those that routers of models have made known:
//
//	{"order": ["WORKER", …], "only": […], "ignore": […], "sort": "price",
//	 "max_price": {"prompt": 0.5, "completion": 2},
//	 "preferred_max_latency": 1.5, "allow_fallbacks": true, "resume": true}
//
// Every member may be left out, and an unknown one is an error: a wish that is
// not understood must not be passed over.
type Provider struct {
	// Order names workers to be tried first, Only all that may serve, Ignore
	// those that may not. At most [MaxNamed] each, of at most [MaxName] bytes.
	Order, Only, Ignore []string
	// Sort is "price", "latency", "throughput" or "balanced"; empty is the last.
	Sort string
	// MaxPrompt and MaxCompletion are the highest prices accepted, in TON for a
	// million tokens; HasMaxPrice says that there is any, and infinity is no limit.
	MaxPrompt, MaxCompletion float64
	HasMaxPrice              bool
	// MaxLatency is how long the first answer should take at most; 0 is any time.
	MaxLatency time.Duration
	// NoFallbacks is the opposite of allow_fallbacks, which is true if absent.
	NoFallbacks bool
	// Resume lets another worker go on with a stream that breaks, if HasResume.
	// Unlike the others it is a wish to the client, and no proxy hears of it.
	Resume, HasResume bool
	// Region is where the caller is, such as eu-west; empty if he does not say.
	Region string
}

// Limits of what a "provider" object names.
const (
	MaxNamed = 32
	MaxName  = 128 // bytes
)

// Plain says that nothing is wished of a proxy but a price. It is true of nil.
func (p *Provider) Plain() bool {
	return p == nil || len(p.Order)+len(p.Only)+len(p.Ignore) == 0 && p.Sort == "" && p.MaxLatency == 0 && !p.NoFallbacks
}

var providerMembers = []struct {
	name string
	read func(*Provider, value) *Error
}{
	{"order", func(p *Provider, v value) (err *Error) { p.Order, err = v.names(); return err }},
	{"only", func(p *Provider, v value) (err *Error) { p.Only, err = v.names(); return err }},
	{"ignore", func(p *Provider, v value) (err *Error) { p.Ignore, err = v.names(); return err }},
	{"sort", (*Provider).readSort},
	{"max_price", (*Provider).readMaxPrice},
	{"preferred_max_latency", (*Provider).readMaxLatency},
	{"allow_fallbacks", func(p *Provider, v value) *Error {
		allow, err := v.bool()
		p.NoFallbacks = !allow
		return err
	}},
	{"resume", func(p *Provider, v value) (err *Error) {
		p.Resume, err = v.bool()
		p.HasResume = true
		return err
	}},
	{"region", (*Provider).readRegion},
}

func (o *Options) readProvider(v value) *Error {
	doc, bad := ParseObject(v.raw)
	if bad != nil {
		return v.wrong("a JSON object")
	}
	o.Provider = &Provider{MaxPrompt: math.Inf(1), MaxCompletion: math.Inf(1)}
	known := 0
	for _, m := range providerMembers {
		raw := doc.Get(m.name)
		if raw == nil {
			continue
		}
		known++
		if string(raw) == "null" {
			continue
		}
		if err := m.read(o.Provider, value{name: v.name + "." + m.name, raw: raw}); err != nil {
			return err
		}
	}
	if known < doc.Len() {
		return unknownMember(v, doc)
	}
	return nil
}

func unknownMember(v value, doc *Object) *Error {
	for i := range doc.members {
		name := string(doc.members[i].name)
		found := false
		for _, m := range providerMembers {
			found = found || m.name == name
		}
		if !found {
			name = name[:min(len(name), 64)]
			return BadRequest(v.name+"."+name, CodeInvalidValue, "unknown parameter: '%s.%s'; there are order, only, ignore, sort, max_price, preferred_max_latency, allow_fallbacks, resume and region", v.name, name)
		}
	}
	return v.wrong("a JSON object")
}

func (v value) names() ([]string, *Error) {
	var list []string
	if v.raw[0] != '[' || json.Unmarshal(v.raw, &list) != nil {
		return nil, v.wrong("a list of strings")
	}
	if len(list) > MaxNamed {
		return nil, v.outside("at most " + strconv.Itoa(MaxNamed) + " names")
	}
	for _, name := range list {
		if name == "" || len(name) > MaxName {
			return nil, v.outside("names of 1 to " + strconv.Itoa(MaxName) + " bytes")
		}
	}
	return list, nil
}

func (p *Provider) readRegion(v value) (err *Error) {
	if p.Region, err = v.string(MaxRegion); err == nil && !IsRegion(p.Region) {
		err = v.outside("small letters, digits and hyphens, such as eu-west")
	}
	return err
}

func (p *Provider) readSort(v value) (err *Error) {
	if p.Sort, err = v.string(16); err != nil {
		return err
	}
	switch p.Sort {
	case "price", "latency", "throughput":
		return nil
	case "balanced":
		p.Sort = ""
		return nil
	}
	return v.outside("price, latency, throughput or balanced")
}

// readMaxPrice takes one price for all tokens, or one for each side.
func (p *Provider) readMaxPrice(v value) *Error {
	p.HasMaxPrice = true
	if v.raw[0] != '{' {
		price, err := v.price()
		p.MaxPrompt, p.MaxCompletion = price, price
		return err
	}
	doc, bad := ParseObject(v.raw)
	if bad != nil {
		return v.wrong("a number or an object")
	}
	known := 0
	for _, m := range []struct {
		name string
		to   *float64
	}{{"prompt", &p.MaxPrompt}, {"completion", &p.MaxCompletion}} {
		if raw := doc.Get(m.name); raw != nil {
			var err *Error
			if *m.to, err = (value{name: v.name + "." + m.name, raw: raw}).price(); err != nil {
				return err
			}
			known++
		}
	}
	if known < doc.Len() || known == 0 {
		return v.outside("members prompt and completion")
	}
	return nil
}

func (v value) price() (float64, *Error) {
	price, err := strconv.ParseFloat(string(v.raw), 64)
	if err != nil {
		return 0, v.wrong("TON for a million tokens, as a number")
	}
	if !(price >= 0) {
		return 0, v.outside("TON for a million tokens, 0 or more")
	}
	return price, nil
}

func (p *Provider) readMaxLatency(v value) *Error {
	seconds, err := strconv.ParseFloat(string(v.raw), 64)
	if err != nil {
		return v.wrong("a number of seconds")
	}
	if !(seconds > 0 && seconds <= 3600) {
		return v.outside("seconds above 0, at most 3600")
	}
	p.MaxLatency = time.Duration(seconds * float64(time.Second))
	return nil
}
