package attest_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// What a person asks of a genuine machine, one thing at a time, and the check
// that must notice. An empty check: it passes.
func TestRules(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	now, key := time.Now(), newKey(t)
	machine, other := a.Machine("worker"), a.Machine("worker")
	other.Processor = "another"
	good, elsewhere := quote(t, machine, key), quote(t, other, key)
	p := &attest.Policy{Images: only(insecure.ImageHash("worker")), Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a})}
	v, err := p.Judge(t.Context(), attest.Quoted(good), key, now)
	if err != nil || v.Level != attest.LevelImage || len(v.Platform) != 32 {
		t.Fatalf("%v, level %s, platform %q", err, v.Level.Name(), v.Platform)
	}
	rtmr2 := "rtmr2=" + hex.EncodeToString(v.Register(tdx.RegisterRTMR2))
	outOfDate := insecure.Collateral{TCBStatus: "OutOfDate", Advisories: []string{"INTEL-SA-1", "INTEL-SA-2"}}
	for _, c := range []struct {
		name  string
		say   insecure.Collateral
		raw   []byte
		rules attest.Rules
		check string
	}{
		{"nothing asked", insecure.Collateral{}, good, attest.Rules{}, ""},
		{"a level that is reached", insecure.Collateral{}, good, attest.Rules{Require: attest.LevelImage}, ""},
		{"a level above", insecure.Collateral{}, good, attest.Rules{Require: attest.LevelGPU}, attest.CheckLevel},
		{"register pinned", insecure.Collateral{}, good, attest.Rules{Registers: []string{rtmr2}}, ""},
		{"register pinned, upper case", insecure.Collateral{}, good, attest.Rules{Registers: []string{"rtmr2=" + strings.ToUpper(rtmr2[6:])}}, ""},
		{"register pinned, one of two", insecure.Collateral{}, good, attest.Rules{Registers: []string{"rtmr2=00", rtmr2}}, ""},
		{"register pinned to another value", insecure.Collateral{}, good, attest.Rules{Registers: []string{"rtmr2=00"}}, attest.CheckRegister + "rtmr2"},
		{"register pinned that is not there", insecure.Collateral{}, good, attest.Rules{Registers: []string{"rtmr9=00"}}, attest.CheckRegister + "rtmr9"},
		{"register pinned to nothing", insecure.Collateral{}, good, attest.Rules{Registers: []string{"rtmr9="}}, attest.CheckRegister + "rtmr9"},
		{"register without a value", insecure.Collateral{}, good, attest.Rules{Registers: []string{"rtmr2"}}, attest.CheckRegister + "rtmr2"},
		{"one register fits, another does not", insecure.Collateral{}, good, attest.Rules{Registers: []string{rtmr2, "xfam=0000000000000000"}}, attest.CheckRegister + "xfam"},
		{"platform listed", insecure.Collateral{}, good, attest.Rules{Platforms: []string{v.Platform}}, ""},
		{"platform listed, upper case", insecure.Collateral{}, good, attest.Rules{Platforms: []string{strings.ToUpper(v.Platform)}}, ""},
		{"another platform than that listed", insecure.Collateral{}, elsewhere, attest.Rules{Platforms: []string{v.Platform}}, evidence.CheckPlatform},
		{"platform struck off", insecure.Collateral{}, good, attest.Rules{DenyPlatforms: []string{v.Platform}}, evidence.CheckPlatform},
		{"another platform struck off", insecure.Collateral{}, elsewhere, attest.Rules{DenyPlatforms: []string{v.Platform}}, ""},
		{"platform listed and struck off", insecure.Collateral{}, good, attest.Rules{Platforms: []string{v.Platform}, DenyPlatforms: []string{v.Platform}}, evidence.CheckPlatform},
		{"out of date", outOfDate, good, attest.Rules{}, evidence.CheckTCB},
		{"out of date, tolerated without its advisories", outOfDate, good, attest.Rules{Statuses: []string{"OutOfDate"}}, attest.CheckAdvisories},
		{"out of date, tolerated with one of two", outOfDate, good, attest.Rules{Statuses: []string{"OutOfDate"}, Advisories: []string{"INTEL-SA-1"}}, attest.CheckAdvisories},
		{"out of date, tolerated with both", outOfDate, good, attest.Rules{Statuses: []string{"OutOfDate"}, Advisories: []string{"INTEL-SA-1", "INTEL-SA-2"}}, ""},
		{"out of date, tolerated with any", outOfDate, good, attest.Rules{Statuses: []string{"OutOfDate"}, Advisories: []string{"*"}}, ""},
		{"another status than that tolerated", outOfDate, good, attest.Rules{Statuses: []string{"SWHardeningNeeded"}, Advisories: []string{"*"}}, evidence.CheckTCB},
		{"revoked is never tolerated", insecure.Collateral{TCBStatus: "Revoked"}, good, attest.Rules{Statuses: []string{"Revoked"}, Advisories: []string{"*"}}, tdx.CheckPlatformTCB},
		{"up to date, with advisories", insecure.Collateral{Advisories: []string{"INTEL-SA-1"}}, good, attest.Rules{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := a.Publish(c.say); err != nil {
				t.Fatal(err)
			}
			q := *p
			q.Rules = c.rules
			v, err := q.Judge(t.Context(), attest.Quoted(c.raw), key, now)
			if c.check != "" {
				mustRefuse(t, v, err, c.check)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A list of platforms is asked each time, whatever the cache remembers.
func TestPlatformAllowedMayChange(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Now()
	struck := false
	p := &attest.Policy{AnyImage: true, Verifiers: by(a.Verifier()), Cache: attest.NewCache(4), PlatformAllowed: func(id string) bool { return len(id) == 32 && !struck }}
	q := attest.Quoted(quote(t, a.Machine("x"), key))
	if _, err := p.Judge(t.Context(), q, key, now); err != nil {
		t.Fatal(err)
	}
	struck = true
	v, err := p.Judge(t.Context(), q, key, now)
	mustRefuse(t, v, err, evidence.CheckPlatform)
}

// A record of a router does not name the platform: lists of them refuse it.
func TestRulesOfRelayedPeers(t *testing.T) {
	key := newKey(t)
	m := &attest.Measurements{RootKey: tdx.IntelRootKey, ReportData: attest.ReportData(key)}
	m.MRTD[0] = 1
	mrtd := "mrtd=01" + strings.Repeat("00", 47)
	for _, c := range []struct {
		name  string
		rules attest.Rules
		check string
	}{
		{"register pinned", attest.Rules{Registers: []string{mrtd}}, ""},
		{"register pinned to another value", attest.Rules{Registers: []string{"mrtd=00"}}, attest.CheckRegister + "mrtd"},
		{"register that records do not hold", attest.Rules{Registers: []string{"xfam=00"}}, attest.CheckRegister + "xfam"},
		{"platforms listed", attest.Rules{Platforms: []string{"00"}}, evidence.CheckPlatform},
		{"platforms struck off", attest.Rules{DenyPlatforms: []string{"00"}}, evidence.CheckPlatform},
		{"level", attest.Rules{Require: attest.LevelRelayed}, ""},
		{"level above", attest.Rules{Require: attest.LevelUnknownTCB}, attest.CheckLevel},
	} {
		p := &attest.Policy{AnyImage: true, Rules: c.rules}
		v, err := p.JudgeRelayed(&attest.Relayed{Kind: attest.KindTDX, Measurements: m, Key: key}, time.Now())
		if c.check != "" {
			mustRefuse(t, v, err, c.check)
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRulesProblems(t *testing.T) {
	bad := attest.Rules{Registers: []string{"mrtd", "=00", "mrtd=", "mrtd=xyz", "mrtd=00"}, Platforms: []string{"", "00"}, DenyPlatforms: []string{"host"}}
	if got := bad.Problems(); len(got) != 6 {
		t.Errorf("%d problems %q, want 6", len(got), got)
	}
}

func TestRulesInFiles(t *testing.T) {
	want := attest.Rules{Require: attest.LevelImage, Statuses: []string{"SWHardeningNeeded"}, Registers: []string{"rtmr0=00"}}
	b, err := json.Marshal(want)
	if err != nil || !bytes.Contains(b, []byte(`"require":"image"`)) {
		t.Fatalf("%s, %v", b, err)
	}
	var got attest.Rules
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if b, _ := json.Marshal(attest.Rules{}); string(b) != "{}" {
		t.Errorf("rules that ask nothing are %s", b)
	}
}

func TestLevels(t *testing.T) {
	var last attest.Level
	for l := attest.LevelRefused; l <= attest.LevelWeights; l++ {
		got, err := attest.ParseLevel(l.Name())
		if said, err := attest.ParseLevel(l.String()); err != nil || said != l {
			t.Errorf("%q reads as %d, %v", l, said, err)
		}
		if err != nil || got != l || l < last || l.String() == "" {
			t.Errorf("level %d is named %q, which reads as %d, %v", l, l.Name(), got, err)
		}
		if insecure := strings.HasPrefix(l.String(), "INSECURE"); insecure != (l > attest.LevelRefused && l <= attest.LevelSimulated) {
			t.Errorf("%s: says insecure: %v", l.Name(), insecure)
		}
		last = l
	}
	if _, err := attest.ParseLevel("high"); err == nil {
		t.Error("a level that is none was read")
	}
	if attest.Level(99).Name() != "refused" || attest.Level(-1).Name() != "refused" {
		t.Error("a number that is no level is not refused")
	}
}
