package contract

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"

	"github.com/xssnick/tonutils-go/address"
)

// ParseAddress reads a TON address: 48 characters of base64, or workchain:hex.
// Source: wire.md section 8.1.
func ParseAddress(text string) (*address.Address, error) {
	if strings.Contains(text, ":") {
		a, err := address.ParseRawAddr(text)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", clip(text), err)
		}
		return a, nil
	}
	plain := strings.NewReplacer("+", "-", "/", "_").Replace(text)
	raw, err := base64.RawURLEncoding.DecodeString(plain)
	if err != nil || len(raw) != 36 || raw[0]&0x3f != 0x11 {
		return nil, fmt.Errorf("address %q: want 48 characters of base64 or workchain:hex", clip(text))
	}
	a, err := address.ParseAddr(plain)
	if err != nil {
		return nil, fmt.Errorf("address %q: checksum is wrong: copy it again", clip(text))
	}
	return a, nil
}

// Peers choose these texts; an error must not carry a megabyte of them.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// ParseProxyAddress reads a registered proxy's text: one ip:port for
// everybody, or two with a blank between them, for workers and for clients.
// Brackets around either are tolerated. IPv4 only, as the network demands.
func ParseProxyAddress(text string) (workers, clients netip.AddrPort, err error) {
	first, second, two := strings.Cut(text, " ")
	if workers, err = parseEndpoint(first); err != nil || !two {
		return workers, workers, err
	}
	clients, err = parseEndpoint(second)
	return workers, clients, err
}

func parseEndpoint(text string) (netip.AddrPort, error) {
	inner := text
	if strings.HasPrefix(inner, "[") && strings.HasSuffix(inner, "]") {
		inner = inner[1 : len(inner)-1]
	}
	ap, err := netip.ParseAddrPort(inner)
	if err != nil || !ap.Addr().Is4() {
		return netip.AddrPort{}, fmt.Errorf("proxy address %q: want ip:port with an IPv4 address", clip(text))
	}
	return ap, nil
}

// String is the registry's text for the entry.
func (p ProxyEntry) String() string {
	if p.Workers == p.Clients {
		return p.Workers.String()
	}
	return p.Workers.String() + " " + p.Clients.String()
}
