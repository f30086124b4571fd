package tdx_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// What the machine's registers held that made testdata/ccel.bin.
var ccelRegisters = [4][48]byte{
	[48]byte([]byte("\xa4\xde-\xf2>\x96\x11)\x91#\xbaCY\xc4*^W\x8b\x0f\x84\x88\xbf\x1b\xba\x8e\xf5`m\x9e\xa5\xd8\x1c\x97\xc0d\xb4\x82\xa5\xea\xc57\xd1f\xbd\x0f\x0fu-")),
	[48]byte([]byte("\x0e\xe96l\x92\x8aw\t/U\xe9\xe1\x14\xc79A\x81\xfd&F\x99\x15_\r\xf7}#Wv\x18\xd5\xf6PV\x8a\x17\xd3y5Z\a\xbd\x84nU/N ")),
	[48]byte([]byte("IihM\xc8s\x81\xfc;14\x17l\x8d\x88\x06\xea\xf0\xa9\x01\x85\x9f_pϮ\x8d\x17qKF\xc1\n\x8d\xe2\x19\x04\x8c\x9f\xc0\x9f\x11\xf3\x81\xa6\xfb\xe7\xc1")),
}

func TestEventLogOfARealMachine(t *testing.T) {
	log, err := tdx.LoadEventLog("testdata/ccel.bin")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := log.Replay(), ccelRegisters; got != want {
		t.Errorf("replayed registers\n%x\nwant\n%x", got, want)
	}
	if ok := log.Explains(ccelRegisters); ok != [4]bool{true, true, true, true} {
		t.Errorf("explains %v, want all", ok)
	}
	var seen []string
	proven := 0
	for _, e := range log {
		seen = append(seen, e.TypeName()+" "+e.Text())
		if e.Proven() {
			proven++
		}
	}
	all := strings.Join(seen, "\n")
	for _, want := range []string{"EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot", "EV_SEPARATOR", "EV_EFI_BOOT_SERVICES_APPLICATION", "EV_IPL "} {
		if !strings.Contains(all, want) {
			t.Errorf("no event %q in\n%s", want, all)
		}
	}
	if proven == 0 || proven == len(log) {
		t.Errorf("%d of %d events are proven by their digest, want some", proven, len(log))
	}
	// One event less, and one register is explained no more.
	for i, e := range log {
		less := append(append(tdx.EventLog{}, log[:i]...), log[i+1:]...)
		ok := less.Explains(ccelRegisters)
		for r := range ok {
			if want := !e.Measured() || r != e.Register; ok[r] != want {
				t.Errorf("without event %d (%s): RTMR%d explained %v, want %v", i, e.TypeName(), r, ok[r], want)
			}
		}
	}
}

func TestEventLogEndsInFilling(t *testing.T) {
	raw := load(t, "ccel.bin")
	for name, fill := range map[string]byte{"ones": 0xff, "zeros": 0} {
		log, err := tdx.ParseEventLog(append(bytes.Clone(raw), bytes.Repeat([]byte{fill}, 1000)...))
		if err != nil || log.Replay() != ccelRegisters {
			t.Errorf("filled with %s: %v", name, err)
		}
	}
}

func TestEventLogRefuses(t *testing.T) {
	good := load(t, "ccel.bin")
	put := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	first := 32 + int(binary.LittleEndian.Uint32(good[28:])) // where the first measured event begins
	for _, c := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "first event needs 28"},
		{"text", []byte(strings.Repeat("an event log ", 9)), "first event's data needs"},
		{"another form", put(32, 0), "crypto agile"},
		{"too many algorithms", put(32+24, 1<<20), "1048576 algorithms"},
		{"no algorithms", put(32+24, 0), "without SHA-384"},
		{"register 5", put(first, 5), "register 5"},
		{"too many digests", put(first+8, 1<<30), "1073741824 digests"},
		{"no digest", put(first+8, 0), "in event 1"},
		{"algorithm that was not announced", put(first+12, 0x4242), "did not announce"},
		{"cut off", good[:len(good)-1], "event's data needs"},
		{"text behind", append(bytes.Clone(good), "text"...), "in event 44"},
		{"too long", make([]byte, 1<<20+1), "at most"},
	} {
		if _, err := tdx.ParseEventLog(c.raw); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if _, err := tdx.LoadEventLog("testdata/none"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzEventLog(f *testing.F) {
	f.Add(load(f, "ccel.bin"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		log, err := tdx.ParseEventLog(raw)
		if err != nil {
			return
		}
		log.Replay()
		for _, e := range log {
			if text := e.Text(); len(text) > 130 || strings.ContainsAny(text, "\n\x1b") {
				t.Fatalf("text %q", text)
			}
			e.Proven()
		}
	})
}
