package proxy

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// Headers of an answer that say who gave it and why he was asked, to clients
// that know the market's extension.
const (
	headerWorker = "X-Cocoon-Worker"
	headerWhy    = "X-Cocoon-Why"
	headerError  = "X-Cocoon-Error" // that it is a refusal, to all
)

// Bits of cocoon.runQuery.
const (
	wantsDebug = 1 << iota
	wantsWhy
)

// ordinary is the request in the network's own words.
func ordinary(q *tl.CocoonRunQuery) *tl.ClientRunQueryEx {
	return &tl.ClientRunQueryEx{ModelName: q.ModelName, Query: q.Query, MaxCoefficient: q.MaxCoefficient, MaxTokens: q.MaxTokens, Timeout: q.Timeout,
		RequestID: q.RequestID, MinConfigVersion: q.MinConfigVersion, Flags: 3, EnableDebug: q.Flags&wantsDebug != 0, PublicKey: q.PublicKey}
}

// takeWishes reads what the caller wishes; nil is nothing.
func (r *request) takeWishes(q *tl.CocoonRunQuery) *refusal {
	if q == nil {
		return nil
	}
	r.explain = q.Flags&wantsWhy != 0
	if len(q.Affinity) == len(r.affinity) {
		r.affinity = [16]byte(q.Affinity)
	}
	w := &q.Wishes
	if w.Sort < 0 || w.Sort > int32(market.Throughput) || !(w.MaxLatency >= 0 && w.MaxLatency <= maxTimeout.Seconds()) {
		return badWish("sort is %d and max_latency %v, want 0 to %d and 0 to %v seconds", w.Sort, w.MaxLatency, market.Throughput, maxTimeout.Seconds())
	}
	r.wishes = market.Wishes{Sort: market.Sort(w.Sort), MaxLatency: time.Duration(w.MaxLatency * float64(time.Second)), NoFallbacks: w.NoFallbacks}
	for _, list := range []struct {
		from []string
		to   *[]string
	}{{w.Order, &r.wishes.Order}, {w.Only, &r.wishes.Only}, {w.Ignore, &r.wishes.Ignore}} {
		var why *refusal
		if *list.to, why = r.p.names.keys(list.from); why != nil {
			return why
		}
	}
	return nil
}

func badWish(format string, args ...any) *refusal {
	return &refusal{wire.CodeProtocol, openai.BadRequest("provider", openai.CodeInvalidValue, format, args...)}
}

// whyThis are the headers that explain an answer. An engine that is down is a
// refusal of this proxy, if it has no other: clients go on to the next.
func (r *request) whyThis() (list [][2]string) {
	if how, _ := r.doubt(r.status); how != market.Neutral && !r.wishes.NoFallbacks {
		list = append(list, [2]string{headerError, strconv.Itoa(wire.CodeNotReady)})
	}
	if r.client.features.Load()&featureMarket == 0 {
		return list
	}
	list = append(list, [2]string{headerWorker, r.worker.text})
	if r.explain || r.debug {
		list = append(list, [2]string{headerWhy, r.decision.String()})
	}
	return list
}

// leastDigits is how many digits of an account name a worker.
const leastDigits = 8

// names finds accounts of connected workers by the digits they begin with.
type names struct {
	mu    sync.Mutex                // guards the rest
	known map[string]map[string]int // connections by account, by its first digits
}

// digits are those of an account in the basic workchain: what follows "0:".
func digits(account string) (string, bool) {
	hex, ok := strings.CutPrefix(account, "0:")
	return hex, ok && len(hex) == 64
}

func (n *names) add(account string) {
	hex, ok := digits(account)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[string]map[string]int{}
	}
	some := n.known[hex[:leastDigits]]
	if some == nil {
		some = map[string]int{}
		n.known[hex[:leastDigits]] = some
	}
	some[account]++
}

func (n *names) remove(account string) {
	hex, ok := digits(account)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	some := n.known[hex[:leastDigits]]
	if some[account]--; some[account] <= 0 {
		delete(some, account)
	}
	if len(some) == 0 {
		delete(n.known, hex[:leastDigits])
	}
}

// keys are the market's for what callers write: the whole address, in any of its forms,
// or the beginning of its digits, which may mean several.
func (n *names) keys(list []string) (keys []string, why *refusal) {
	for _, name := range list {
		if n := max(len(list), len(keys)); n > market.MaxNamed { // before short names have become a list of millions
			return nil, badWish("%d workers are named, want at most %d", n, market.MaxNamed)
		}
		if len(name) > 128 {
			return nil, badWish("the name of a worker has %d bytes, want at most 128", len(name))
		}
		if a, err := contract.ParseAddress(name); err == nil {
			keys = append(keys, a.StringRaw())
		} else if more := n.beginning(name); more != nil {
			keys = append(keys, more...)
		} else {
			keys = append(keys, name) // nobody
		}
	}
	if len(keys) > market.MaxNamed {
		return nil, badWish("%d workers are named, want at most %d", len(keys), market.MaxNamed)
	}
	return distinct(keys), nil
}

// distinct leaves out what is there already, and keeps the order.
func distinct(keys []string) []string {
	kept := keys[:0]
	for _, key := range keys {
		if !slices.Contains(kept, key) {
			kept = append(kept, key)
		}
	}
	return kept
}

// beginning lists the accounts that begin with the digits.
func (n *names) beginning(name string) (list []string) {
	name = strings.ToLower(name)
	if len(name) < leastDigits {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for account := range n.known[name[:leastDigits]] {
		if strings.HasPrefix(account[2:], name) {
			list = append(list, account)
		}
	}
	slices.Sort(list)
	return list
}
