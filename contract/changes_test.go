package contract

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestChanges(t *testing.T) {
	at := func(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }
	proxy := func(seqno uint32, text string) ProxyEntry { return ProxyEntry{seqno, at(text), at(text)} }
	set := func(hashes ...byte) map[[32]byte]struct{} {
		m := map[[32]byte]struct{}{}
		for _, h := range hashes {
			m[[32]byte{h}] = struct{}{}
		}
		return m
	}
	have := &Root{
		WorkerImages: set(1, 2), Models: set(3), LastProxySeqno: 7,
		Proxies: []ProxyEntry{proxy(5, "10.0.0.5:1"), proxy(6, "10.0.0.6:1"), proxy(7, "10.0.0.7:1")},
	}
	want := &Root{
		WorkerImages: set(2, 4, 5), Models: set(3), ProxyImages: set(9),
		Proxies: []ProxyEntry{proxy(6, "10.0.0.6:1"), proxy(7, "10.0.0.77:1"), proxy(8, "10.0.0.8:1")},
	}
	got := Changes(have, want)
	expected := []Body{
		&ChangeHash{List: ProxyImages, Hash: [32]byte{9}},
		&ChangeHash{List: WorkerImages, Hash: [32]byte{4}},
		&ChangeHash{List: WorkerImages, Hash: [32]byte{5}},
		&ChangeHash{List: WorkerImages, Remove: true, Hash: [32]byte{1}},
		&UpdateProxy{Seqno: 7, Text: "10.0.0.77:1"},
		&RegisterProxy{Text: "10.0.0.8:1"},
		&UnregisterProxy{Seqno: 5},
	}
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("Changes =\n%v\nwant\n%v", got, expected)
	}
	if again := Changes(want, want); len(again) != 0 {
		t.Errorf("Changes(want, want) = %v, want none", again)
	}
}
