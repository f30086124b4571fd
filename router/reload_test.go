package router_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
)

// caller is a peer with a connection that lives.
type caller struct {
	t    *testing.T
	conn *ratls.Conn
}

func call(t *testing.T, address string, p attest.Platform) *caller {
	t.Helper()
	conn, err := ratls.Dial(t.Context(), address, &ratls.Config{Identity: identity(t, p), Policy: anybody()})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	c := &caller{t, conn}
	c.lives("at first")
	return c
}

func (c *caller) lives(when string) {
	c.t.Helper()
	if err := talk(c.conn); err != nil {
		c.t.Errorf("%s: %v, want it to live", when, err)
	}
}

func (c *caller) isCut(when string) {
	c.t.Helper()
	if _, err := c.conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Errorf("%s: %v, want a reset", when, err)
	}
}

// Other settings: those who are still let in do not notice, the others are cut.
func TestReload(t *testing.T) {
	a := authority(t)
	address := service(t, echo)
	is := func(options ...string) router.Settings { return settings(t, options...) }
	port := freePort(t)
	both := "-P mine:tdx:" + image("one") + "," + image("two")
	r := start(t, is(both, "-R "+port+":"+address+"@mine"), attest.NoPlatform{})
	one, two := call(t, r.addr(0), a.Machine("one")), call(t, r.addr(0), a.Machine("two"))

	must := func(s router.Settings) {
		t.Helper()
		if err := r.Reload(s); err != nil {
			t.Fatal(err)
		}
	}
	must(is(both, "-R "+port+":"+address+"@mine"))
	one.lives("the same settings")
	two.lives("the same settings")

	bad := is("-R " + port + ":" + address + "@nobody")
	if err := r.Reload(bad); err == nil || !strings.Contains(err.Error(), "no policy") {
		t.Errorf("wrong settings: %v", err)
	}
	one.lives("wrong settings")
	if err := knock(t, r.addr(0), a.Machine("two")); err != nil {
		t.Errorf("wrong settings: %v, want those before", err)
	}

	must(is("-P mine:tdx:"+image("one"), "-R "+port+":"+address+"@mine"))
	one.lives("two is struck off")
	two.isCut("two is struck off")
	if err := knock(t, r.addr(0), a.Machine("two")); err == nil {
		t.Error("struck off, and got in")
	}

	must(is("-P mine:tdx:"+image("one"), "-P other:tdx:"+image("two"), "-R "+port+":"+address+"@other"))
	one.isCut("its port has another policy")
	two = call(t, r.addr(0), a.Machine("two"))

	must(is("-P other:tdx:"+image("two"), "-R 0:"+address+"@other"))
	two.lives("its port is gone and its policy is not")
	if nc, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
		nc.Close()
		t.Error("a port that is gone is open")
	}
	if err := knock(t, r.addr(0), a.Machine("two")); err != nil {
		t.Errorf("the new port: %v", err)
	}

	must(is("-R 0:" + address + "@any"))
	two.isCut("its policy is gone")
}

// The same with a rule instead of a list, and at ports for programs.
func TestReloadCutsPrograms(t *testing.T) {
	a := authority(t)
	in := start(t, settings(t, "-R 0:"+service(t, echo)+"@any"), a.Machine("one"))
	s := settings(t, "-S 0@tdx:"+image("one"))
	out := start(t, s, attest.NoPlatform{})
	nc, err := via(t, out.addr(0), in.addr(0))
	if err == nil {
		err = talk(nc)
	}
	if err != nil {
		t.Fatal(err)
	}
	other := measured(t, "two").MRTD
	s.Rules.Registers = []string{fmt.Sprintf("%s=%x", tdx.RegisterMRTD, other)}
	if err := out.Reload(s); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	if _, err := via(t, out.addr(0), in.addr(0)); text(err) != "reply code 2" {
		t.Errorf("a register that must be another: %v", err)
	}
}

// Ports for programs stay open, and what streams goes on, while settings
// change many times.
func TestReloadUnderLoad(t *testing.T) {
	a := authority(t)
	address := service(t, echo)
	s := settings(t, "-R "+freePort(t)+":"+address+"@tdx:"+image("one"))
	r := start(t, s, attest.NoPlatform{})
	to := r.addr(0)
	var callers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := knock(t, to, a.Machine("one")); err != nil {
					t.Errorf("during reloads: %v", err)
					return
				}
			}
		})
	}
	stays := call(t, to, a.Machine("one"))
	for range 50 {
		if err := r.Reload(s); err != nil {
			t.Error(err)
		}
		stays.lives("during reloads")
	}
	close(stop)
	callers.Wait()
}

// A peer that is in the middle of its negotiation while settings change is
// judged by those that hold now.
func TestReloadDuringNegotiation(t *testing.T) {
	a := authority(t)
	s := settings(t, "-R "+freePort(t)+":"+service(t, echo)+"@tdx:"+image("one"))
	r := start(t, s, attest.NoPlatform{})
	arrive := func(meanwhile func()) error {
		nc := dial(t, r.addr(0))
		challenge, err := readN(nc, 24)
		if err != nil {
			t.Fatal(err)
		}
		meanwhile()
		if _, err := nc.Write(solution(challenge)); err != nil {
			return err
		}
		return talk(tls.Client(nc, &tls.Config{Certificates: []tls.Certificate{*identity(t, a.Machine("one")).Certificate()}, InsecureSkipVerify: true}))
	}
	if err := arrive(func() {}); err != nil {
		t.Fatal(err)
	}
	stricter := s
	stricter.Rules.Registers = []string{fmt.Sprintf("%s=%x", tdx.RegisterMRTD, measured(t, "two").MRTD)}
	err := arrive(func() {
		if err := r.Reload(stricter); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		t.Error("judged by rules that hold no more")
	}
}

// A port may become one of another type.
func TestReloadChangesType(t *testing.T) {
	port := freePort(t)
	address := service(t, echo)
	r := start(t, settings(t, "-R "+port+":"+address+"@any"), insecure.Fake{})
	if err := r.Reload(settings(t, "-F "+port+":"+address+"@any")); err != nil {
		t.Fatal(err)
	}
	if got := r.Addresses()[0].Type; got != "forward" {
		t.Errorf("type %s", got)
	}
	dial(t, "127.0.0.1:"+port).Close()
}

// A port that cannot be opened leaves all as it was.
func TestReloadFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, busy, _ := net.SplitHostPort(taken.Addr().String())
	address := service(t, echo)
	port := freePort(t)
	r := start(t, settings(t, "-R "+port+":"+address+"@any"), insecure.Fake{})
	lives := call(t, r.addr(0), insecure.Fake{})
	if err := r.Reload(settings(t, "-R "+port+":"+address+"@fake_tdx", "-S "+busy+"@any")); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v, want address in use", err)
	}
	lives.lives("a port that is taken")
	if err := knock(t, r.addr(0), attest.NoPlatform{}); err != nil {
		t.Errorf("the policy before: %v", err)
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Each limit refuses what is too much, and gives way when somebody leaves.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits router.Limits
		want   string
	}{
		{"connections", router.Limits{Connections: 2}, `cocoon_router_full_total{limit=all} 1`},
		{"from one source", router.Limits{PerSource: 2}, `cocoon_router_full_total{limit=source} 1`},
	} {
		s := settings(t, "-R 0:"+service(t, echo)+"@any")
		s.Limits = c.limits
		r := start(t, s, insecure.Fake{})
		first, second := call(t, r.addr(0), insecure.Fake{}), call(t, r.addr(0), insecure.Fake{})
		nc, err := net.Dial("tcp", r.addr(0))
		if err == nil {
			nc.SetDeadline(time.Now().Add(patience))
			_, err = nc.Read(make([]byte, 1))
			nc.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", c.name, err)
		}
		if got := figure(r, "cocoon_router_full_total", "limit", c.want); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		first.conn.Close()
		until(t, "a place is free", func() bool { return knock(t, r.addr(0), insecure.Fake{}) == nil })
		second.lives(c.name)
	}
}

// A verdict that has ended is given anew, or the connection ends.
func TestVerdictsEnd(t *testing.T) {
	a, err := insecure.NewAuthority() // of its own: it publishes
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	trusted := trustIn(a)
	r := start(t, settings(t, "-R 0:"+service(t, echo)+"@tdx:"+image("one")), attest.NoPlatform{}, func(c *router.Config) { c.Trust, c.Now = trusted, clock })
	lives := call(t, r.addr(0), a.Machine("one"))
	later := func() { mu.Lock(); now = now.Add(2 * time.Hour); mu.Unlock() }
	later()
	r.RenewVerdicts()
	lives.lives("judged anew")
	if err := a.Publish(insecure.Collateral{RevokePCK: true}); err != nil {
		t.Fatal(err)
	}
	r.RenewVerdicts()
	lives.lives("revoked, and its verdict has not ended")
	later()
	r.RenewVerdicts()
	lives.isCut("revoked")
}
