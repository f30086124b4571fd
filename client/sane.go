package client

import (
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// A proxy's word about its market reaches pages, terminals and the choice
// among proxies, so what is nonsense in it is taken for unknown.

// longestWait is the longest time that is believed, in seconds.
const longestWait = 1e6

// knownSeconds is a number of seconds, 0 for what is none.
func knownSeconds(s float64) float64 {
	if !(s > 0 && s <= longestWait) { // false for what is no number
		return 0
	}
	return s
}

func share(x float64) float64 {
	if !(x > 0) {
		return 0
	}
	return min(x, 1)
}

// longestName is as much of a worker's name as is shown, in bytes.
const longestName = 128

// plain is a text without what would move a cursor or end a line.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, s)
}

// isName says whether a text can be the name of a model.
func isName(s string) bool { return len(s) <= openai.MaxModelName && plain(s) == s }

func saneBook(m *tl.CocoonBookModel) {
	saneMoment(&m.Now)
	for _, s := range []*float64{&m.WaitSeconds, &m.TokenSeconds, &m.ServiceSeconds} {
		*s = knownSeconds(*s)
	}
	for i := range m.History {
		saneMoment(&m.History[i])
	}
	for i := range m.Offers {
		o := &m.Offers[i]
		o.Worker, o.Lost, o.FirstSeconds, o.TokenSeconds = plain(o.Worker[:min(len(o.Worker), longestName)]), share(o.Lost), knownSeconds(o.FirstSeconds), knownSeconds(o.TokenSeconds)
		for _, n := range []*int32{&o.Coefficient, &o.Running, &o.Limit, &o.Failures} {
			*n = max(*n, 0)
		}
	}
}

// saneEntry is saneBook, and leaves a fact for each offer.
func saneEntry(x *entry) {
	saneBook(&x.CocoonBookModel)
	f := &x.facts
	all := tl.CocoonFacts{Context: f.Context, Capabilities: f.Capabilities}
	saneFacts(&all)
	f.Context, f.Capabilities = all.Context, all.Capabilities
	f.Regions = slices.DeleteFunc(f.Regions[:min(len(f.Regions), maxRegions)], func(r string) bool { return r == "" || !openai.IsRegion(r) })
	f.Offers = f.Offers[:min(len(f.Offers), len(x.Offers))]
	for i := range f.Offers {
		saneFacts(&f.Offers[i])
	}
	f.Offers = append(f.Offers, make([]tl.CocoonFacts, len(x.Offers)-len(f.Offers))...)
}

// maxRegions bounds what is shown of a model.
const maxRegions = 32

func saneFacts(f *tl.CocoonFacts) {
	known, _ := openai.ReadFacts(f.Context, f.Capabilities, f.Region) // nonsense is nothing known
	*f = factsMessage(known)
}

func saneMoment(x *tl.CocoonBookMoment) {
	for _, n := range []*int32{&x.At, &x.Coefficient, &x.Running, &x.Slots, &x.Waiting, &x.Workers} {
		*n = max(*n, 0)
	}
	x.FirstSeconds = knownSeconds(x.FirstSeconds)
}

// sum adds counts of which each may be anything.
func sum(a, b int32) int32 { return int32(min(int64(a)+int64(max(b, 0)), math.MaxInt32)) }
