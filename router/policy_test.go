package router_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
)

// measured are the registers of a machine of the test authority.
func measured(t testing.TB, name string) *attest.Measurements {
	t.Helper()
	v, err := judged(t, authority(t).Machine(name))
	if err != nil {
		t.Fatal(err)
	}
	return v.Measurements()
}

func judged(t testing.TB, p attest.Platform) (*attest.Verdict, error) {
	t.Helper()
	shown, err := ratls.ParseCertificate(identity(t, p).Certificate().Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	policy := trust(t)
	policy.AnyImage = true
	return policy.Judge(t.Context(), shown.Evidence, shown.Key, time.Now())
}

// genuine believes the test authority as if it were Intel.
func genuine(t testing.TB) attest.Policy {
	a := authority(t)
	return attest.Policy{Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{Roots: a.Roots(), Collateral: a}}}
}

// knock connects to a reverse port as platform and tells whether the service
// behind it answers.
func knock(t testing.TB, address string, platform attest.Platform) error {
	t.Helper()
	conn, err := ratls.Dial(t.Context(), address, &ratls.Config{Identity: identity(t, platform), Policy: anybody()})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	return talk(conn)
}

// Who gets in: a policy, a peer, and the check that refuses it; empty if the
// peer gets in. Each peer knocks at a reverse port with a service behind it.
func TestWhoGetsIn(t *testing.T) {
	a := authority(t)
	wanted, other := a.Machine("wanted"), a.Machine("other")
	debug, movable := a.Machine("wanted"), a.Machine("wanted")
	debug.Debug, movable.Migratable = true, true
	stranger, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	amd, trusted := snpMachines(t)
	list, snpList := []attest.Hash{insecure.ImageHash("wanted")}, []attest.Hash{insecure.SNPImageHash("wanted")}
	m, n := measured(t, "wanted"), measured(t, "other")
	type y = router.Policy
	for _, c := range []struct {
		name   string
		policy y
		peer   attest.Platform
		want   string
	}{
		{"any, none", y{Type: "any"}, attest.NoPlatform{}, ""},
		{"any, fake", y{Type: "any"}, insecure.Fake{}, ""},
		{"any, machine", y{Type: "any"}, wanted, ""},
		{"any, debug machine: it is nobody", y{Type: "any"}, debug, ""},

		{"fake, none", y{Type: "fake_tdx"}, attest.NoPlatform{}, "evidence"},
		{"fake, fake", y{Type: "fake_tdx"}, insecure.Fake{}, ""},
		{"fake, machine", y{Type: "fake_tdx"}, wanted, "evidence"},
		{"fake with the list of fakes", y{Type: "fake_tdx", Images: []attest.Hash{attest.Unmeasured}}, insecure.Fake{}, ""},
		{"fake with another list", y{Type: "fake_tdx", Images: list}, insecure.Fake{}, "image hash"},
		{"fake, current", y{Type: "fake_tee"}, insecure.Fake{}, ""},
		{"fake, current, none", y{Type: "fake_tee"}, attest.NoPlatform{}, "evidence"}, // the deployed release lets it in

		{"tdx, none", y{Type: "tdx", Images: list}, attest.NoPlatform{}, "evidence"},
		{"tdx, fake", y{Type: "tdx", Images: list}, insecure.Fake{}, "evidence"},
		{"tdx, wanted", y{Type: "tdx", Images: list}, wanted, ""},
		{"tdx, other", y{Type: "tdx", Images: list}, other, "image hash"},
		{"tdx, debug", y{Type: "tdx", Images: list}, debug, "debug"},
		{"tdx, can be moved", y{Type: "tdx", Images: list}, movable, "migration"},
		{"tdx, another vendor", y{Type: "tdx", Images: list}, stranger.Machine("wanted"), "chain"},
		{"tdx, zero image listed, fake", y{Type: "tdx", Images: []attest.Hash{attest.Unmeasured}}, insecure.Fake{}, "evidence"},
		{"tdx, empty list said so", y{Type: "tdx", EmptyList: true}, other, ""},
		{"tdx, empty list said so, none", y{Type: "tdx", EmptyList: true}, attest.NoPlatform{}, "evidence"},
		{"tdx, empty list said so, debug", y{Type: "tdx", EmptyList: true}, debug, "debug"},

		{"mrtd and rtmr", y{Type: "tdx", MRTD: [][48]byte{m.MRTD}, RTMR: [][4][48]byte{m.RTMR}}, wanted, ""},
		{"mrtd and rtmr, other", y{Type: "tdx", MRTD: [][48]byte{m.MRTD}, RTMR: [][4][48]byte{m.RTMR}}, other, "mrtd"},
		{"another rtmr", y{Type: "tdx", MRTD: [][48]byte{m.MRTD}, RTMR: [][4][48]byte{n.RTMR}}, wanted, "rtmr"},
		{"two sets of rtmr do not mix", y{Type: "tdx", MRTD: [][48]byte{m.MRTD}, RTMR: [][4][48]byte{
			{m.RTMR[0], m.RTMR[1], n.RTMR[2], m.RTMR[3]}, {n.RTMR[0], n.RTMR[1], m.RTMR[2], n.RTMR[3]}}}, wanted, "rtmr"},
		{"image right, mrtd wrong", y{Type: "tdx", Images: list, MRTD: [][48]byte{n.MRTD}}, wanted, "mrtd"},
		{"mrtd right, image wrong", y{Type: "tdx", Images: []attest.Hash{insecure.ImageHash("other")}, MRTD: [][48]byte{m.MRTD}}, wanted, "image hash"},

		{"tee, none", y{Type: "tee", Images: list}, attest.NoPlatform{}, "evidence"},
		{"tee, empty list said so, none", y{Type: "tee", EmptyList: true}, attest.NoPlatform{}, "evidence"}, // the deployed release lets it in
		{"tee, wanted", y{Type: "tee", Images: list}, wanted, ""},
		{"tee, other", y{Type: "tee", Images: list}, other, "image hash"},
		{"tee, the image of the other family", y{Type: "tee", SNPImages: list}, wanted, "family"},
		{"tee, only the other family is listed", y{Type: "tee", SNPMeasurements: [][48]byte{{1}}}, wanted, "family"}, // the deployed release lets it in
		{"tee, the same, said so", y{Type: "tee", SNPMeasurements: [][48]byte{{1}}, EmptyList: true}, wanted, ""},

		{"any, SNP", y{Type: "any"}, amd("wanted"), ""},
		{"tdx, SNP", y{Type: "tdx", Images: snpList}, amd("wanted"), "evidence"},
		{"tee, SNP wanted", y{Type: "tee", SNPImages: snpList}, amd("wanted"), ""},
		{"tee, SNP other", y{Type: "tee", SNPImages: snpList}, amd("other"), "image hash"},
		{"tee, SNP and TDX wanted", y{Type: "tee", SNPImages: snpList, Images: list}, amd("wanted"), ""},
		{"tee, SNP image listed for TDX", y{Type: "tee", Images: snpList}, amd("wanted"), "family"},
		{"tee, only TDX is listed", y{Type: "tee", Images: list}, amd("wanted"), "image hash"},
		{"tee, TDX by registers only", y{Type: "tee", MRTD: [][48]byte{m.MRTD}, RTMR: [][4][48]byte{m.RTMR}}, amd("wanted"), "family"},
		{"tee, SNP measurement", y{Type: "tee", SNPMeasurements: [][48]byte{launched(t, amd("wanted"))}}, amd("wanted"), ""},
		{"tee, SNP other measurement", y{Type: "tee", SNPMeasurements: [][48]byte{{1}}}, amd("wanted"), "measurement"},
		{"tee, SNP image right, measurement wrong", y{Type: "tee", SNPImages: snpList, SNPMeasurements: [][48]byte{{1}}}, amd("wanted"), "measurement"},
		{"tee, empty list said so, SNP", y{Type: "tee", EmptyList: true}, amd("other"), ""},
	} {
		c.policy.Name = "mine"
		s := settings(t, "-R 0:"+service(t, echo)+"@mine")
		s.Policies, s.Rules.Statuses = append(s.Policies, c.policy), []string{snp.StatusMeets}
		refusals := make(chan string, 1)
		r := start(t, s, attest.NoPlatform{}, func(cfg *router.Config) { cfg.Trust, cfg.Log = trusted, refusalLog(refusals) })
		err := knock(t, r.addr(0), c.peer)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v, want it to get in", c.name, err)
		case c.want != "" && err == nil:
			t.Errorf("%s: got in", c.name)
		case c.want != "":
			if got := wait(t, refusals); !strings.Contains(got, " refused: "+c.want+" is ") {
				t.Errorf("%s: %s, want %s to refuse", c.name, got, c.want)
			}
		}
		r.end(t)
	}
}

// snpMachines makes simulated SEV-SNP guests, and a trust that believes them
// beside those of the test authority.
func snpMachines(t testing.TB) (func(image string) attest.Platform, attest.Policy) {
	t.Helper()
	a, err := insecure.NewSNPAuthority(insecure.SNPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	trusted := trust(t)
	trusted.Verifiers[attest.KindSEVSNP] = &snp.Verifier{TestRoots: a.Roots(), TestCollateral: a, Policy: snp.Policy{Minimum: a.Minimum(), InsecureAnyKernel: true}}
	return func(image string) attest.Platform { return a.Machine(image) }, trusted
}

// launched is the measurement of a SEV-SNP guest.
func launched(t testing.TB, p attest.Platform) [48]byte {
	t.Helper()
	raw, err := p.Quote(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	return [48]byte(raw[144:192])
}

// A peer that has no place in the record's form is not let in, because the
// program would take it for another.
func TestRecordHasNoPlace(t *testing.T) {
	amd, trusted := snpMachines(t)
	for form, want := range map[string]string{"base": "has no place in form", "current": ""} {
		heard := make(chan *ratls.PeerInfo, 1)
		s := settings(t, "-s", "-R 0:"+service(t, func(nc *net.TCPConn) {
			if info, err := ratls.ReadPeerInfo(nc); err == nil {
				heard <- info
			}
			echo(nc)
		})+"@mine")
		s.Policies, s.Record = []router.Policy{{Name: "mine", Type: "tee", SNPImages: []attest.Hash{insecure.SNPImageHash("wanted")}}}, form
		s.Rules.Statuses = []string{snp.StatusMeets}
		refusals := make(chan string, 1)
		r := start(t, s, attest.NoPlatform{}, func(cfg *router.Config) { cfg.Trust, cfg.Log = trusted, refusalLog(refusals) })
		err := knock(t, r.addr(0), amd("wanted"))
		if (err == nil) != (want == "") {
			t.Errorf("%s: %v", form, err)
			continue
		}
		if want == "" {
			if info := wait(t, heard); info.Kind != attest.KindSEVSNP || info.ImageHash != insecure.SNPImageHash("wanted") {
				t.Errorf("%s: record %+v", form, info)
			}
		} else if got := wait(t, refusals); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", form, got, want)
		}
	}
}

// The same the other way: whom a program gets to, and what it is told.
func TestWhomAProgramReaches(t *testing.T) {
	a := authority(t)
	for _, c := range []struct {
		name, policy string
		peer         attest.Platform
		want         string
	}{
		{"wanted", "tdx:" + image("wanted"), a.Machine("wanted"), ""},
		{"other", "tdx:" + image("wanted"), a.Machine("other"), "reply code 2"},
		{"none", "tdx:" + image("wanted"), attest.NoPlatform{}, "reply code 2"},
		{"fake", "fake_tdx", insecure.Fake{}, ""},
		{"anybody", "any", attest.NoPlatform{}, ""},
	} {
		in := start(t, settings(t, "-R 0:"+service(t, echo)+"@any"), c.peer)
		out := start(t, settings(t, "-S 0@"+c.policy), attest.NoPlatform{})
		nc, err := via(t, out.addr(0), in.addr(0))
		if err == nil {
			err = talk(nc)
		}
		if got := text(err); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Roots are asked of machines that are not simulated.
func TestRootKeys(t *testing.T) {
	list := "@tdx:" + image("wanted")
	root := measured(t, "wanted").RootKey
	for _, c := range []struct {
		name   string
		change func(*router.Settings)
		want   string
	}{
		{"Intel's by default", func(*router.Settings) {}, "root key"},
		{"of the settings", func(s *router.Settings) { s.RootKeys = [][48]byte{{1}, root} }, ""},
		{"of the policy", func(s *router.Settings) { s.Policies[0].RootKeys = [][48]byte{root} }, ""},
		{"another of the settings", func(s *router.Settings) { s.RootKeys = [][48]byte{{1}} }, "root key"},
		{"another of the policy", func(s *router.Settings) { s.Policies[0].RootKeys = [][48]byte{{1}} }, "root key"},
	} {
		s := settings(t, "-R 0:"+service(t, echo)+list)
		c.change(&s)
		refusals := make(chan string, 1)
		r := start(t, s, attest.NoPlatform{}, func(cfg *router.Config) { cfg.Trust, cfg.Log = genuine(t), refusalLog(refusals) })
		err := knock(t, r.addr(0), authority(t).Machine("wanted"))
		if (err == nil) != (c.want == "") {
			t.Errorf("%s: %v", c.name, err)
		} else if err != nil {
			if got := wait(t, refusals); !strings.Contains(got, " refused: "+c.want) {
				t.Errorf("%s: %s", c.name, got)
			}
		}
	}
}

// A user name chooses among the policies that the settings name, and never
// one that asks for less and was not named.
func TestPolicyFromUserName(t *testing.T) {
	a := authority(t)
	in := start(t, settings(t, "-R 0:"+service(t, echo)+"@any"), a.Machine("one"))
	s := settings(t, "-S 0@first", "-P first:tdx:"+image("one"), "-P second:tdx:"+image("two"))
	s.Ports[0].PolicyFromUser = true
	out := start(t, s, attest.NoPlatform{})
	for _, c := range []struct{ user, want string }{
		{"first", ""}, {"second", "reply code 2"}, {"third", "user refused"}, {"any", "user refused"}, {"", "user refused"},
	} {
		err := asUser(t, out.addr(0), in.addr(0), c.user)
		if got := text(err); got != c.want {
			t.Errorf("user %q: %q, want %q", c.user, got, c.want)
		}
	}
	if nc, err := via(t, out.addr(0), in.addr(0)); err != nil || talk(nc) != nil {
		t.Errorf("without a user name: %v", err)
	}
}

func asUser(t *testing.T, socks, address, user string) error {
	nc := dial(t, socks)
	defer nc.Close()
	nc.Write([]byte{5, 2, 0, 2})
	r := bufio.NewReader(nc)
	if chosen, _ := readN(r, 2); string(chosen) != "\x05\x02" {
		t.Errorf("method %x, want 0502", chosen)
	}
	nc.Write(append(append([]byte{1, byte(len(user))}, user...), 6, 's', 'e', 'c', 'r', 'e', 't'))
	if answer, err := readN(r, 2); err != nil || answer[1] != 0 {
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after a refused user: %v, want the end", err)
		}
		return errors.New("user refused")
	}
	to := net.TCPAddrFromAddrPort(mustAddr(address))
	nc.Write(append([]byte{5, 1, 0, 1}, append(to.IP.To4(), byte(to.Port>>8), byte(to.Port))...))
	answer, err := readN(r, 10)
	if err != nil {
		return err
	}
	if answer[1] != 0 {
		return fmt.Errorf("reply code %d", answer[1])
	}
	return talk(nc)
}
