package market

import (
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/model"
)

// Sort is what a caller cares for most.
type Sort int

const (
	// Balanced weighs price and time against each other.
	Balanced Sort = iota
	// Price takes the cheapest, and the faster of equals.
	Price
	// Latency takes whoever will probably begin first.
	Latency
	// Throughput takes whoever will probably write fastest.
	Throughput
	sorts = iota
)

func (s Sort) String() string {
	return [...]string{"balanced", "price", "latency", "throughput"}[s]
}

// Sorts by the names that people give them; "" is balanced.
var Sorts = map[string]Sort{"": Balanced, "balanced": Balanced, "price": Price, "latency": Latency, "throughput": Throughput}

// Wishes are what a caller may say about who serves him. Workers are named by
// [Terms.Key]. Of each list the first [MaxNamed] count.
type Wishes struct {
	// Order lists workers to be tried first, in this order, as far as they are free.
	Order []string
	// Only lists all that may serve; empty is everybody. Ignore lists those that may not.
	Only, Ignore []string
	Sort         Sort
	// MaxLatency is how long the first answer should take at most. Workers that
	// will probably take longer are asked only if no others are free. Zero is any time.
	MaxLatency time.Duration
	// NoFallbacks forbids workers outside Order, if there is one, and another
	// worker after one has failed.
	NoFallbacks bool
}

// MaxNamed bounds lists of workers in a request.
const MaxNamed = 32

// Capability is a set of things that a worker can do beside text.
type Capability uint32

const (
	// Known must be set by every worker that says what it can do: without it
	// nobody knows, and the worker is taken to be able to do everything.
	Known Capability = 1 << iota
	// Tools means that it understands definitions of tools.
	Tools
	// Vision means that questions may have pictures.
	Vision
	// Schema means that answers can be held to a JSON schema.
	Schema
	// Audio means that questions may have sound.
	Audio
	// Reasoning means that it can be told how hard to think.
	Reasoning
)

// plain says that every offer will do.
func (w *Want) plain() bool {
	return !w.Proven && w.MinVersion == 0 && w.Pin == "" && w.Context == 0 && w.Needs == 0 && len(w.Exclude) == 0 && len(w.Ignore) == 0 && len(w.Only) == 0 && !w.NoFallbacks
}

// accepts says whether the offer will do, its price and room apart.
func (w *Want) accepts(o *Offer) bool {
	if w.NoFallbacks && (len(w.Exclude) > 0 || len(w.Order) > 0 && !slices.Contains(named(w.Order), o.Key)) {
		return false
	}
	return o.Version >= w.MinVersion && w.fits(o) && (!w.Proven || o.proven() && !o.servedAt.Before(w.Alive)) &&
		(o.Context == 0 || o.Context >= w.Context) && (o.Has == 0 || o.Has&w.Needs == w.Needs) &&
		!slices.Contains(w.Exclude, o) && !slices.Contains(named(w.Ignore), o.Key) &&
		(len(w.Only) == 0 || slices.Contains(named(w.Only), o.Key))
}

// fits says whether the offer is of the revision asked for.
func (w *Want) fits(o *Offer) bool { return w.Pin == "" || model.Pins(w.Pin, o.FullModel) }

func named(keys []string) []string { return keys[:min(len(keys), MaxNamed)] }

// traits are what an offer has, as bits that can be summed up over many, so
// that a search passes by where nobody has what is needed. They may promise too
// much, never too little; accepts has the last word.
//
//	0–29  capabilities; 0 is Known
//	30    says how long its context is
//	31    has served a request
//	32–39 versions 1 to 8 and all below
//	40–55 contexts of 1 Ki, 2 Ki, 4 Ki … tokens and all below
//	56–63 one of eight for each revision
type traits uint64

const (
	saysHas     = traits(Known)
	saysContext = traits(1 << 30)
	hasServed   = traits(1 << 31)
	capable     = saysContext - 1
)

// proven says that the worker has served, by what is known here, and not failed since.
func (o *Offer) proven() bool { return o.traits&hasServed != 0 && o.failures == 0 }

func (t *Terms) traits() traits {
	has, context := t.Has, t.Context
	if has == 0 {
		has = ^Known
	}
	x := traits(has)&capable | below(int(min(t.Version, 8)))<<32 | 1<<(56+revisionBit(t.FullModel))
	if context == 0 {
		return x | below(16)<<40
	}
	return x | saysContext | below(min(bits.Len(uint(context)>>10), 16))<<40
}

func (w *Want) needs() traits {
	x := traits(w.Needs) & capable
	if w.Proven {
		x |= hasServed
	}
	if w.MinVersion > 0 {
		x |= 1 << (31 + min(w.MinVersion, 8))
	}
	if k := min(bits.Len(uint(w.Context)>>10), 16); k > 0 {
		x |= 1 << (39 + k)
	}
	if w.Pin != "" {
		x |= 1 << (56 + revisionBit(w.Pin))
	}
	return x
}

// below has the lowest n bits.
func below(n int) traits { return 1<<max(n, 0) - 1 }

// revisionBit is of the commit in an identity, name@commit:hash, or in what
// was asked for, which may leave out the hash. Neither may be well formed.
func revisionBit(identity string) int {
	_, revision, _ := strings.Cut(identity, "@")
	revision, _, _ = strings.Cut(revision, ":")
	h := uint32(2166136261)
	for i := range len(revision) {
		h = (h ^ uint32(revision[i])) * 16777619
	}
	return int(h>>16) % 8
}
