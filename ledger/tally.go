package ledger

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/coin"
)

// Tally is the other side's book: what a client counts itself of what it owes
// to each proxy, and what it may spend. A charge that claims more is refused.
//
// What a request costs is known when its answer has ended. Until then, and for
// good if the end was never heard (a connection lost in mid-answer, a crash),
// the proxy may claim anything up to the request's own bound, but no more. That
// doubt ends when nobody can be at work on such a request any more and the proxy,
// asked then, states a total within it: the total then is believed. While
// others run, what it states beyond the count bounds the doubt.
//
// Safe for concurrent use.
type Tally struct {
	cfg TallyConfig

	mu       sync.Mutex // guards all below; held while Save runs
	accounts map[string]*tallied
	spent    map[int64]map[string]coin.Nano // by minute and key
	reserved map[string]coin.Nano           // of running requests, by key
}

// TallyConfig says what a [Tally] may spend and how it survives.
type TallyConfig struct {
	Limits Limits
	// Save makes a state durable, at least before more may be claimed after a
	// crash than it says. Nil keeps nothing.
	Save func(TallyState) error
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Limits bound spending, in nanoTON. Zero is no limit.
type Limits struct {
	// Request is for one request, Hour for all of any 60 minutes, KeyHour for those of one API key.
	Request, Hour, KeyHour coin.Nano
}

// TallyState is what a tally must remember.
type TallyState struct {
	Accounts map[string]TallyAccount `json:"accounts"`
	Spent    []Spent                 `json:"spent,omitempty"`
}

// TallyAccount is one account, in adjusted tokens.
type TallyAccount struct {
	Used int64 `json:"used"`
	// Allowed is the highest total that the proxy may claim.
	Allowed int64 `json:"allowed"`
}

// Spent is what one key spent in one minute of Unix time; nanoTON.
type Spent struct {
	Minute int64     `json:"minute"`
	Key    string    `json:"key"`
	Amount coin.Nano `json:"amount"`
}

type tallied struct {
	used, doubt, running int64
	said                 int64      // last stated by the proxy
	heard                time.Time  // when
	until                time.Time  // doubt cannot end before
	fresh                []doubtful // of doubt: requests that somebody may be at work on
	ripened              time.Time  // what is not in fresh any more was until then
	requests             int        // running
	changes              uint64     // beginnings and ends of requests
	allowed              int64      // as saved
}

// doubtful is a part of a doubt.
type doubtful struct {
	tokens int64
	until  time.Time // somebody may be at work on it
}

// maxFresh bounds how many parts of a doubt are told apart.
const maxFresh = 1000

// wonder adds a doubt.
func (a *tallied) wonder(tokens int64, until, now time.Time) {
	a.doubt = add(a.doubt, tokens)
	if until.After(a.until) {
		a.until = until
	}
	a.fresh = slices.DeleteFunc(a.fresh, func(d doubtful) bool {
		if d.until.After(now) {
			return false
		}
		if d.until.After(a.ripened) {
			a.ripened = d.until
		}
		return true
	})
	if n := len(a.fresh); n >= maxFresh {
		last := &a.fresh[n-1]
		last.tokens = add(last.tokens, tokens)
		if until.After(last.until) {
			last.until = until
		}
		return
	}
	a.fresh = append(a.fresh, doubtful{tokens, until})
}

// ripe is the part of the doubt that nobody was at work on at that time, none
// if that was too long ago to tell.
func (a *tallied) ripe(at time.Time) int64 {
	if at.Before(a.ripened) {
		return 0
	}
	n := a.doubt
	for _, d := range a.fresh {
		if d.until.After(at) {
			n -= min(n, d.tokens)
		}
	}
	return n
}

func (a *tallied) ceiling() int64 { return add(add(a.used, a.doubt), a.running) }

// crashDoubt is how long requests that ran when a program died may go on.
const crashDoubt = time.Hour

// NewTally goes on from a state; the zero state begins.
func NewTally(cfg TallyConfig, s TallyState) *Tally {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Tally{cfg: cfg, accounts: map[string]*tallied{}, spent: map[int64]map[string]coin.Nano{}, reserved: map[string]coin.Nano{}}
	for name, a := range s.Accounts {
		kept := &tallied{used: a.Used, allowed: a.Allowed}
		kept.wonder(max(0, a.Allowed-a.Used), cfg.Now().Add(crashDoubt), cfg.Now())
		t.accounts[name] = kept
	}
	for _, x := range s.Spent {
		t.spend(x.Minute, x.Key, x.Amount)
	}
	return t
}

// Adopt makes an account known, once: used was claimed or charged before it
// was counted here, and doubt more may be said to have been.
func (t *Tally) Adopt(account string, used, doubt int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.accounts[account] == nil {
		t.accounts[account] = &tallied{used: used, doubt: doubt, allowed: add(used, doubt)}
	}
}

// Knows says whether the account has been counted before.
func (t *Tally) Knows(account string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.accounts[account] != nil
}

// Spending is a request that is about to be sent.
type Spending struct {
	Account string
	// Key names who asks; empty is nobody in particular.
	Key   string
	Price coin.Nano // per adjusted token
	// Estimate is what the request can cost by its own limits, in adjusted
	// tokens; Most is what a proxy could claim for it beyond all doubt.
	Estimate, Most int64
	// Before is what the same request has cost already, in parts that broke off.
	// It counts against the limit of one request.
	Before coin.Nano
	// Until is when nobody works on it any more, even if we are not heard.
	Until time.Time
}

// LimitError refuses a request that would spend more than the operator allows.
type LimitError struct {
	// What is limited: "request", "hour" or "key".
	What string
	// Limit is the operator's, Spent what is gone or set aside of it, Wants
	// what the request could cost; nanoTON.
	Limit, Spent, Wants coin.Nano
}

func (e *LimitError) Error() string {
	switch e.What {
	case "request":
		return fmt.Sprintf("the request could cost %s, this gateway allows %s for one: lower max_tokens or max_coefficient", e.Wants.Text(), e.Limit.Text())
	case "key":
		return fmt.Sprintf("the request could cost %s, and %s of the %s that this API key may spend in an hour are spent or set aside: wait, or ask for less", e.Wants.Text(), e.Spent.Text(), e.Limit.Text())
	}
	return fmt.Sprintf("the request could cost %s, and %s of the %s that this gateway may spend in an hour are spent or set aside: wait, or ask for less", e.Wants.Text(), e.Spent.Text(), e.Limit.Text())
}

// Reserve sets a request's cost aside. Errors are [LimitError], [ErrAccount]
// and those of saving.
func (t *Tally) Reserve(s Spending) (*Spend, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[s.Account]
	if a == nil {
		return nil, fmt.Errorf("%w: client contract %s", ErrAccount, s.Account)
	}
	worth := s.Price.Times(max(0, s.Estimate))
	if err := t.within(s.Key, worth, max(0, s.Before)); err != nil {
		return nil, err
	}
	a.running, a.requests = add(a.running, s.Most), a.requests+1
	a.changes++
	if a.ceiling() > a.allowed {
		// Room for some more, so that most requests need no disk.
		before := a.allowed
		a.allowed = add(a.ceiling(), min(s.Most, 1<<40)*16)
		if err := t.save(); err != nil {
			a.allowed, a.running, a.requests = before, a.running-s.Most, a.requests-1
			return nil, err
		}
	}
	t.reserved[s.Key] = t.reserved[s.Key].Add(worth)
	return &Spend{t: t, s: s, worth: worth}, nil
}

func (t *Tally) within(key string, worth, before coin.Nano) error {
	l := t.cfg.Limits
	if l.Request > 0 && before.Add(worth) > l.Request {
		return &LimitError{"request", l.Request, before, before.Add(worth)}
	}
	if l.Hour == 0 && l.KeyHour == 0 {
		return nil
	}
	all, keys := t.hour(key)
	switch {
	case l.Hour > 0 && all.Add(worth) > l.Hour:
		return &LimitError{"hour", l.Hour, all, worth}
	case l.KeyHour > 0 && keys.Add(worth) > l.KeyHour:
		return &LimitError{"key", l.KeyHour, keys, worth}
	}
	return nil
}

// hour is what was spent in 60 minutes, running requests included.
func (t *Tally) hour(key string) (all, keys coin.Nano) {
	t.forget()
	for _, by := range t.spent {
		for k, amount := range by {
			if all = all.Add(amount); k == key {
				keys = keys.Add(amount)
			}
		}
	}
	for _, amount := range t.reserved {
		all = all.Add(amount)
	}
	return all, keys.Add(t.reserved[key])
}

func (t *Tally) forget() {
	oldest := t.minute() - 60
	maps.DeleteFunc(t.spent, func(minute int64, _ map[string]coin.Nano) bool { return minute <= oldest })
}

func (t *Tally) minute() int64 { return t.cfg.Now().Unix() / 60 }

func (t *Tally) spend(minute int64, key string, amount coin.Nano) {
	if t.spent[minute] == nil {
		t.spent[minute] = map[string]coin.Nano{}
	}
	t.spent[minute][key] = t.spent[minute][key].Add(amount)
}

// Spend is a request's cost set aside. The first end counts.
type Spend struct {
	t     *Tally
	s     Spending
	worth coin.Nano
	ended atomic.Bool
}

// Most is the highest total that is believed of the request.
func (s *Spend) Most() int64 { return s.s.Most }

// Until is when nobody works on the request any more.
func (s *Spend) Until() time.Time { return s.s.Until }

// End books what the request cost, as the client has verified it.
func (s *Spend) End(used int64) { s.end(max(0, min(used, s.s.Most)), false) }

// Lost ends a request of which nobody knows here what it cost. It counts as
// spent what it could have cost, and stays open to claims.
func (s *Spend) Lost() { s.end(0, true) }

func (s *Spend) end(used int64, lost bool) {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[s.s.Account]
	if a == nil || s.ended.Swap(true) {
		return
	}
	a.running, a.requests = a.running-s.s.Most, a.requests-1
	a.changes++
	if t.reserved[s.s.Key] -= s.worth; t.reserved[s.s.Key] <= 0 {
		delete(t.reserved, s.s.Key)
	}
	amount := s.s.Price.Times(used)
	if lost {
		a.wonder(s.s.Most, s.s.Until, t.cfg.Now())
		amount = s.worth
	}
	a.used = add(a.used, used)
	if amount > 0 {
		t.forget()
		t.spend(t.minute(), s.s.Key, amount)
	}
}

// State is what must be remembered for a clean start.
func (t *Tally) State() TallyState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state(func(a *tallied) int64 { return a.ceiling() })
}

func (t *Tally) save() error {
	if t.cfg.Save == nil {
		return nil
	}
	return t.cfg.Save(t.state(func(a *tallied) int64 { return a.allowed }))
}

// Sync saves what has changed since it was last saved.
func (t *Tally) Sync() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.save()
}

func (t *Tally) state(allowed func(*tallied) int64) TallyState {
	t.forget()
	s := TallyState{Accounts: make(map[string]TallyAccount, len(t.accounts))}
	for name, a := range t.accounts {
		s.Accounts[name] = TallyAccount{a.used, max(a.ceiling(), allowed(a))}
	}
	for minute, by := range t.spent {
		for key, amount := range by {
			s.Spent = append(s.Spent, Spent{minute, key, amount})
		}
	}
	return s
}
