package router_test

import (
	"net"
	"testing"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
)

// Whoever reaches a socks5 or forward port speaks with this machine's
// identity: wherever reverse ports are open, those are for this machine alone.
func TestOnlyReversePortsAreOpenToOthers(t *testing.T) {
	identity, err := ratls.NewIdentity(t.Context(), attest.NoPlatform{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	settings := func(bind string) router.Settings {
		return router.Settings{BindAddress: bind, Ports: []router.Port{
			{Type: "socks5", Policy: "any"},
			{Type: "forward", Policy: "any", DestinationHost: "127.0.0.1", DestinationPort: 1},
			{Type: "reverse", Policy: "any", DestinationHost: "127.0.0.1", DestinationPort: 1},
		}}
	}
	for _, bind := range []string{"", "0.0.0.0"} {
		r, err := router.New(router.Config{Settings: settings(bind), Identity: identity})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range r.Addresses() {
			if local := a.Addr.(*net.TCPAddr).IP.IsLoopback(); local != (a.Type != "reverse") {
				t.Errorf("bind %q: %s port at %s", bind, a.Type, a.Addr)
			}
		}
		// Other settings move the reverse port, and it alone.
		before := r.Addresses()
		if err := r.Reload(settings("127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		for i, a := range r.Addresses() {
			if moved := a.Addr.String() != before[i].Addr.String(); moved != (a.Type == "reverse") || !a.Addr.(*net.TCPAddr).IP.IsLoopback() {
				t.Errorf("bind %q: %s port at %s after a reload, was at %s", bind, a.Type, a.Addr, before[i].Addr)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
