package contract

import (
	"bytes"
	"slices"
)

// Changes are the messages to the registry that turn its lists from have into
// want: hashes added and removed, proxies moved, registered and unregistered.
// Parameters, code and owner are left alone: those change money. Entries of
// want are matched by number; a new proxy gets the next number, so its Seqno in want
// must be above have.LastProxySeqno, in order and without gaps.
func Changes(have, want *Root) []Body {
	var list []Body
	for _, l := range []struct {
		list HashList
		a, b map[[32]byte]struct{}
	}{
		{ProxyImages, have.ProxyImages, want.ProxyImages}, {WorkerImages, have.WorkerImages, want.WorkerImages}, {Models, have.Models, want.Models},
	} {
		list = append(list, hashChanges(l.list, false, missing(l.b, l.a))...)
		list = append(list, hashChanges(l.list, true, missing(l.a, l.b))...)
	}
	return append(list, proxyChanges(have, want)...)
}

// missing lists what is in a and not in b, in order.
func missing(a, b map[[32]byte]struct{}) (list [][32]byte) {
	for h := range a {
		if _, ok := b[h]; !ok {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(x, y [32]byte) int { return bytes.Compare(x[:], y[:]) })
	return list
}

func hashChanges(list HashList, remove bool, hashes [][32]byte) (changes []Body) {
	for _, h := range hashes {
		changes = append(changes, &ChangeHash{List: list, Remove: remove, Hash: h})
	}
	return changes
}

func proxyChanges(have, want *Root) (changes []Body) {
	old := map[uint32]string{}
	for _, p := range have.Proxies {
		old[p.Seqno] = p.String()
	}
	kept := map[uint32]bool{}
	for _, p := range want.Proxies {
		kept[p.Seqno] = true
		switch text, ok := old[p.Seqno]; {
		case !ok:
			changes = append(changes, &RegisterProxy{Text: p.String()})
		case text != p.String():
			changes = append(changes, &UpdateProxy{Seqno: p.Seqno, Text: p.String()})
		}
	}
	for _, p := range have.Proxies {
		if !kept[p.Seqno] {
			changes = append(changes, &UnregisterProxy{Seqno: p.Seqno})
		}
	}
	return changes
}
