package contract

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
)

// StaleError says that the registry's word is older than [MaxAge]. Take nothing
// new on until the chain has been read again.
type StaleError struct {
	// Seen is the time of the block that the registry was last seen in.
	Seen time.Time
	Age  time.Duration
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("registry: last seen on the chain at %s, longer ago than the %s that its word is good for: look at the connection to the chain and at this machine's clock", date(e.Seen), MaxAge)
}

func date(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// AwayError says what cannot be done while the chain is away. Try again when
// it is back, not before [AwayRetry].
type AwayError struct {
	Since time.Time
	// What waits for the chain, and what to do meanwhile.
	What string
}

func (e *AwayError) Error() string {
	return "the chain is away since " + date(e.Since) + ": " + e.What
}

// AwayRetry is when to come again while the chain is away. It differs from one
// to the next, so that not all who wait come at once.
func AwayRetry() time.Duration { return 15*time.Second + rand.N(30*time.Second) }

// Away is nil or says since when the registry's chain is away.
func Away(r Registry, what string) error {
	o, ok := r.(interface{ Outage() ton.Outage })
	if !ok {
		return nil
	}
	out := o.Outage()
	if !out.Away() {
		return nil
	}
	return &AwayError{out.Since, what}
}

// AwaySince is when the registry's chain was last heard of, zero while it is there.
func AwaySince(r Registry) time.Time {
	if o, ok := r.(interface{ Outage() ton.Outage }); ok {
		return o.Outage().Since
	}
	return time.Time{}
}

// Stale is nil or a [StaleError]. Registries without a date, such as files,
// never are stale. A clock that is set back makes nothing younger: the time
// since the registry was read counts too, as far as this process has lived through it.
func Stale(r Registry, now time.Time) error {
	dated, ok := r.(interface{ AsOf() ton.Block })
	if !ok {
		return nil
	}
	seen := dated.AsOf().Time
	age := now.Sub(seen)
	if o, ok := r.(*OnChain); ok {
		age = max(age, o.sinceRead())
	}
	if age <= MaxAge {
		return nil
	}
	return &StaleError{Seen: seen, Age: age}
}

// sinceRead is how long this process has lived since it read the registry.
func (o *OnChain) sinceRead() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.readAt.IsZero() {
		return 0 // an earlier one did
	}
	return time.Since(o.readAt)
}

// Outage is that of the registry's chain.
func (o *OnChain) Outage() ton.Outage { return ton.OutageOf(o.chain) }

// View is how a node sees the chain, for pages and programs; times in Unix seconds.
type View struct {
	// AwaySince is when the chain was last heard of, 0 while it is there.
	AwaySince int64 `json:"away_since"`
	// Why is the newest failure.
	Why string `json:"why,omitempty"`
	// Seen is the time of the block that the registry was last seen in, GoodUntil
	// when it is too old to act on.
	Seen      int64 `json:"registry_seen"`
	GoodUntil int64 `json:"registry_good_until"`
	// Within is what clients may still use without the chain, in nanoTON, where
	// the node knows that.
	Within *int64 `json:"serving_within,omitempty"`
}

// ViewOf tells how the chain is seen through its registry; nil without a chain.
func ViewOf(r Registry) *View {
	o, ok := r.(interface {
		AsOf() ton.Block
		Outage() ton.Outage
	})
	if !ok {
		return nil
	}
	seen := o.AsOf().Time
	v := &View{Seen: seen.Unix(), GoodUntil: seen.Add(MaxAge).Unix()}
	if out := o.Outage(); out.Away() {
		v.AwaySince, v.Why = out.Since.Unix(), out.Why.Error()
	}
	return v
}

// Away says whether the chain is away; nil is not.
func (v *View) Away() bool { return v != nil && v.AwaySince != 0 }

// Since says since when, for people; empty while the chain is there.
func (v *View) Since() string {
	if !v.Away() {
		return ""
	}
	return "the chain is away since " + date(time.Unix(v.AwaySince, 0))
}

// Text is Since and what is served meanwhile.
func (v *View) Text() string {
	switch {
	case !v.Away():
		return ""
	case v.Within == nil:
		return v.Since()
	}
	return v.Since() + ", serving within " + coin.Nano(*v.Within).Text() + " committed"
}

// Record is what a registry that was read says, for another process of the
// same node. Whoever keeps it must see to it that nobody else can write it: it
// says whom to trust.
type Record struct {
	Registry string `json:"registry"` // its raw address
	Block    uint32 `json:"block"`
	Time     int64  `json:"time"` // of the block, Unix seconds
	Data     []byte `json:"data"` // the contract's, a bag of cells
}

// Record is the registry in force.
func (o *OnChain) Record() Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Record{Registry: o.addr.StringRaw(), Block: o.asOf.Seqno, Time: o.asOf.Time.Unix(), Data: o.data.ToBOC()}
}

// Recall is the registry as an earlier process saw it, for a start while the
// chain is away; it is followed from there on. A record that is older than
// [MaxAge] is a [StaleError], and one from after now none of ours.
func Recall(chain ton.Chain, root *address.Address, r Record, now time.Time, log *slog.Logger) (*OnChain, error) {
	if r.Registry != root.StringRaw() {
		return nil, fmt.Errorf("registry %s: what is remembered is of another, %.100s", root, r.Registry)
	}
	data, err := cell.FromBOC(r.Data)
	if err != nil {
		return nil, fmt.Errorf("registry %s: what is remembered cannot be read: %w", root, err)
	}
	o := newOnChain(chain, root, log)
	asOf := ton.Block{Seqno: r.Block, Time: time.Unix(r.Time, 0)}
	if asOf.Time.After(now.Add(clockSlack)) {
		return nil, errors.New("registry: what is remembered was seen in the future: this machine's clock is slow")
	}
	if err := o.take(&ton.Account{Address: root, Status: ton.Active, Data: data}); err != nil {
		return nil, fmt.Errorf("registry %s, as remembered: %w", root, err)
	}
	o.asOf, o.data = asOf, data
	return o, Stale(o, now)
}

// clockSlack is how far a chain's clock may be ahead of ours.
const clockSlack = time.Minute

// ErrUnread means that a contract has not been read from the chain since the
// program started.
var ErrUnread = errors.New("not read from the chain yet")
