package contract

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// Differences says in words what is otherwise in after than in r, one line
// each, the most important first: "price 2 → 3 nanoTON per token". The version
// is not among them, since every change raises it.
func (r *Root) Differences(after *Root) []string {
	var d differences
	d.owners(r, after)
	d.value("struct version", r.StructVersion, after.StructVersion, "")
	d.value("price", int64(r.PricePerToken), int64(after.PricePerToken), " nanoTON per token")
	d.value("worker fee", int64(r.WorkerFeePerToken), int64(after.WorkerFeePerToken), " nanoTON per token")
	d.value("multiplier of prompt tokens", r.Multipliers.Prompt, after.Multipliers.Prompt, "")
	d.value("multiplier of cached tokens", r.Multipliers.Cached, after.Multipliers.Cached, "")
	d.value("multiplier of completion tokens", r.Multipliers.Completion, after.Multipliers.Completion, "")
	d.value("multiplier of reasoning tokens", r.Multipliers.Reasoning, after.Multipliers.Reasoning, "")
	d.value("proxy delay", r.ProxyDelay, after.ProxyDelay, " s")
	d.value("client delay", r.ClientDelay, after.ClientDelay, " s")
	d.amount("least proxy stake", r.MinProxyStake, after.MinProxyStake)
	d.amount("least client stake", r.MinClientStake, after.MinClientStake)
	d.value("id", r.UniqueID, after.UniqueID, "")
	d.value("test network", r.IsTest, after.IsTest, "")
	d.code("code of proxy contracts", r.ProxyCode, after.ProxyCode)
	d.code("code of worker contracts", r.WorkerCode, after.WorkerCode)
	d.code("code of client contracts", r.ClientCode, after.ClientCode)
	d.set("proxy image", r.ProxyImages, after.ProxyImages)
	d.set("worker image", r.WorkerImages, after.WorkerImages)
	d.set("model", r.Models, after.Models)
	d.proxies(r, after)
	d.keys(r, after)
	if r.ParamsVersion != after.ParamsVersion {
		d.add("params version %d → %d: every contract is created anew", r.ParamsVersion, after.ParamsVersion)
	}
	return d
}

type differences []string

func (d *differences) add(format string, args ...any) { *d = append(*d, fmt.Sprintf(format, args...)) }

func (d *differences) value(name string, before, after any, unit string) {
	if before != after {
		d.add("%s %v → %v%s", name, before, after, unit)
	}
}

func (d *differences) amount(name string, before, after coin.Nano) {
	if before != after {
		d.add("%s %s → %s", name, before, after.Text())
	}
}

func (d *differences) code(name string, before, after *cell.Cell) {
	if a, b := codeHash(before), codeHash(after); a != b {
		d.add("%s %s… → %s…", name, a[:12], b[:12])
	}
}

func (d *differences) set(name string, before, after map[[32]byte]struct{}) {
	for _, h := range missing(after, before) {
		d.add("%s allowed: %s", name, hex.EncodeToString(h[:]))
	}
	for _, h := range missing(before, after) {
		d.add("%s removed: %s", name, hex.EncodeToString(h[:]))
	}
}

func (d *differences) owners(before, after *Root) {
	if !sameAddress(before.Owner, after.Owner) {
		d.add("owner %s → %s", addressText(before.Owner), addressText(after.Owner))
	}
	if !sameAddress(before.Offered, after.Offered) {
		d.add("offered to %s → %s", addressText(before.Offered), addressText(after.Offered))
	}
}

func sameAddress(a, b *address.Address) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equals(b)
}

func addressText(a *address.Address) string {
	if a == nil {
		return "nobody"
	}
	return a.String()
}

func (d *differences) proxies(before, after *Root) {
	old, now := proxyTexts(before), proxyTexts(after)
	for _, p := range after.Proxies {
		if was, ok := old[p.Seqno]; !ok {
			d.add("proxy %d added: %s", p.Seqno, p)
		} else if was != p.String() {
			d.add("proxy %d moved: %s → %s", p.Seqno, was, p)
		}
	}
	for _, p := range before.Proxies {
		if _, ok := now[p.Seqno]; !ok {
			d.add("proxy %d removed: %s", p.Seqno, p)
		}
	}
	numbers := func(list []SkippedEntry) (n []uint32) {
		for _, s := range list {
			n = append(n, s.Seqno)
		}
		return n
	}
	if a, b := numbers(before.Skipped), numbers(after.Skipped); !slices.Equal(a, b) {
		d.add("unreadable entries among the proxies %v → %v", a, b)
	}
}

func proxyTexts(r *Root) map[uint32]string {
	m := map[uint32]string{}
	for _, p := range r.Proxies {
		m[p.Seqno] = p.String()
	}
	return m
}

func (d *differences) keys(before, after *Root) {
	or := func(text string) string {
		if text == "" {
			return "none"
		}
		return text
	}
	d.value("key manager at", or(before.KeyManager), or(after.KeyManager), "")
	d.value("key manager's key", or(hex.EncodeToString(before.KeyManagerKey)), or(hex.EncodeToString(after.KeyManagerKey)), "")
	if before.KeyManagerImage != after.KeyManagerImage {
		image := func(h [32]byte) string {
			if h == ([32]byte{}) {
				return "none"
			}
			return hex.EncodeToString(h[:])
		}
		d.add("key manager's image %s → %s", image(before.KeyManagerImage), image(after.KeyManagerImage))
	}
	all := func(r *Root) map[[32]byte]struct{} {
		m := map[[32]byte]struct{}{}
		for _, k := range r.PublicKeys {
			m[[32]byte(k.Key)] = struct{}{}
		}
		return m
	}
	d.set("encryption key", all(before), all(after))
	for _, a := range before.PublicKeys {
		for _, b := range after.PublicKeys {
			if a.Key.Equal(b.Key) && (a.Type != b.Type || a.ExpireAt != b.ExpireAt) {
				d.add("encryption key %x: type %d until %d → type %d until %d", []byte(a.Key), a.Type, a.ExpireAt, b.Type, b.ExpireAt)
			}
		}
	}
	d.set("verified proxy", before.VerifiedProxies, after.VerifiedProxies)
	d.set("verified worker", before.VerifiedWorkers, after.VerifiedWorkers)
	d.set("verified key manager", before.VerifiedKeyManagers, after.VerifiedKeyManagers)
}
