package contract

import (
	"slices"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
)

// What may be founded is what the contract itself would take as a change: the
// two are asked about the same parameters.
func TestFoundingFollowsTheContract(t *testing.T) {
	for name, change := range map[string]func(*Root){
		"as they are": func(*Root) {},
		"all at the limit": func(r *Root) {
			r.PricePerToken, r.WorkerFeePerToken, r.ProxyDelay, r.ClientDelay = 1<<62, 1<<62, maxDelay, maxDelay-1
		},
		"price too high":       func(r *Root) { r.PricePerToken = 1<<62 + 1 },
		"fee above price":      func(r *Root) { r.WorkerFeePerToken = r.PricePerToken + 1 },
		"delays alike":         func(r *Root) { r.ClientDelay = r.ProxyDelay },
		"delay of an age":      func(r *Root) { r.ProxyDelay = maxDelay + 1 },
		"proxy stake too high": func(r *Root) { r.MinProxyStake = 1<<62 + 1 },
		"client stake high":    func(r *Root) { r.MinClientStake = 1<<62 + 1 },
		"stakes at the limit":  func(r *Root) { r.MinProxyStake, r.MinClientStake = 1<<62, 1<<62 },
		"no stakes":            func(r *Root) { r.MinProxyStake, r.MinClientStake = 0, 0 },
		"cached free":          func(r *Root) { r.Multipliers.Cached = 0 },
		"prompt free":          func(r *Root) { r.Multipliers.Prompt = 0 },
		"completion free":      func(r *Root) { r.Multipliers.Completion = 0 },
		"reasoning free":       func(r *Root) { r.Multipliers.Reasoning = 0 },
		"multipliers high": func(r *Root) {
			m := uint32(maxMultiplier)
			r.Multipliers = ledger.Multipliers{Prompt: m, Cached: m, Completion: m, Reasoning: m}
		},
		"cached too high": func(r *Root) { r.Multipliers.Cached = maxMultiplier + 1 },
		"prompt too high": func(r *Root) { r.Multipliers.Prompt = maxMultiplier + 1 },
	} {
		s := newStage(t)
		r := founded(t, 4)
		d, err := r.Deploy(OurCodes().Root)
		if err != nil {
			t.Fatal(err)
		}
		s.deploy(d, Ton)
		change(r)
		m := &ChangeAllParams{1, r.PricePerToken, r.WorkerFeePerToken, r.Multipliers, Limits{r.ProxyDelay, r.ClientDelay, r.MinProxyStake, r.MinClientStake}}
		codes := s.send(r.Owner, d.Address, coin.TON, cellOf(t, m), nil)
		taken := !slices.ContainsFunc(codes, func(c int) bool { return c != 0 })
		if !taken && codes[0] != 1016 {
			t.Errorf("%s: the contract ends with %v, want 1016", name, codes)
		}
		if err := r.CheckFounding(); (err == nil) != taken {
			t.Errorf("%s: CheckFounding says %v, the contract ends with %v", name, err, codes)
		}
	}
}

func TestFoundingRefusals(t *testing.T) {
	for name, change := range map[string]func(*Root){
		"no owner":          func(r *Root) { r.Owner = nil },
		"owner nowhere":     func(r *Root) { r.Owner = address.NewAddressNone() },
		"owner in no chain": func(r *Root) { r.Owner = address.NewAddress(0, 5, make([]byte, 32)) },
		"old shape":         func(r *Root) { r.StructVersion = 2 },
		"new shape":         func(r *Root) { r.StructVersion = 6 },
		"no code":           func(r *Root) { r.WorkerCode = nil },
		"negative":          func(r *Root) { r.PricePerToken, r.WorkerFeePerToken = -1, -2 },
	} {
		r := founded(t, 4)
		change(r)
		if r.CheckFounding() == nil {
			t.Errorf("%s: may be founded", name)
		}
	}
}

func TestRootExit(t *testing.T) {
	if RootExit(1016) == "" || RootExit(0) != "" {
		t.Errorf("RootExit(1016) = %q, RootExit(0) = %q", RootExit(1016), RootExit(0))
	}
}

func TestDifferences(t *testing.T) {
	before := full(t, 4)
	if d := before.Differences(full(t, 4)); len(d) > 0 {
		t.Errorf("two equal registries differ: %v", d)
	}
	for _, c := range []struct {
		change func(*Root)
		want   string
	}{
		{func(r *Root) { r.Owner = filled(7) }, "owner EQAKCgo"},
		{func(r *Root) { r.Offered = nil }, "→ nobody"},
		{func(r *Root) { r.PricePerToken = 21 }, "price 20 → 21 nanoTON per token"},
		{func(r *Root) { r.WorkerFeePerToken = 1 }, "worker fee 10 → 1 nanoTON per token"},
		{func(r *Root) { r.Multipliers.Reasoning = 5 }, "multiplier of reasoning tokens 80000 → 5"},
		{func(r *Root) { r.ProxyDelay = 601 }, "proxy delay 600 → 601 s"},
		{func(r *Root) { r.MinClientStake = Ton / 2 }, "least client stake 15 → 0.5 TON"},
		{func(r *Root) { r.ParamsVersion++ }, "every contract is created anew"},
		{func(r *Root) { r.ClientCode = r.ProxyCode }, "code of client contracts "},
		{func(r *Root) { r.WorkerImages = hashes(1, 2, 3) }, "worker image removed: ffff"},
		{func(r *Root) { r.Models = hashes(1, 2, 3, 4, 5, 6, 0xee) }, "model allowed: eeee"},
		{func(r *Root) { r.Proxies = nil }, "proxy 1 removed: "},
		{func(r *Root) { r.Skipped = []SkippedEntry{{Seqno: 3}} }, "unreadable entries among the proxies [] → [3]"},
		{func(r *Root) { r.KeyManager = "" }, "key manager at "},
		{func(r *Root) { r.KeyManagerKey = public(seed(9)) }, "key manager's key "},
		{func(r *Root) { r.KeyManagerImage = all(9) }, "key manager's image "},
		{func(r *Root) { r.PublicKeys = nil }, "encryption key removed: "},
		{func(r *Root) { r.PublicKeys = retyped(r.PublicKeys) }, "encryption key "},
		{func(r *Root) { r.StructVersion = 5 }, "struct version 4 → 5"},
		{func(r *Root) { r.VerifiedWorkers = hashes(1) }, "verified worker allowed: 0101"},
	} {
		after := full(t, 4)
		c.change(after)
		got := strings.Join(before.Differences(after), "\n")
		if !strings.Contains(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// retyped is a copy in which the first key is of another type.
func retyped(keys []PublicKey) []PublicKey {
	keys = slices.Clone(keys)
	keys[0].Type++
	return keys
}
