package tdx

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf16"
)

// EventLog is what firmware, boot loader and kernel say they measured, in the
// order in which they did. It proves nothing by itself: replayed, it must give
// the registers of a quote that was verified. Even then only the digests are
// proven; what an event says about itself is proven if its digest is that of
// its data, see [Event.Proven].
type EventLog []Event

// Event is one extension of a register, or a remark.
type Event struct {
	Register int // RTMR 0 to 3, or MRTD as -1
	Type     uint32
	Digest   [48]byte // SHA-384; what the register is extended with
	Data     []byte
}

// CCELPath is where the kernel of a guest shows the log that its firmware
// began.
const CCELPath = "/sys/firmware/acpi/tables/data/CCEL"

const (
	eventNoAction = 3 // a remark, not measured
	algSHA384     = 0x0c
	maxEventLog   = 1 << 20
	maxAlgorithms = 16
)

// LoadEventLog reads a log from a file, such as CCELPath.
func LoadEventLog(name string) (EventLog, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxEventLog+1))
	if err != nil {
		return nil, err
	}
	return ParseEventLog(b)
}

// ParseEventLog reads a log in the crypto agile form of the TCG PC Client
// Platform Firmware Profile, section 10.2, with registers numbered as UEFI
// does for confidential guests: 0 is MRTD, 1 to 4 are the RTMRs. All of
// it is little-endian; the area behind the last event is filled with ones or zeros.
//
//	first event                      the others
//	 0 register, type  4 + 4          0 register, type   4 + 4
//	 8 SHA-1 of zeros  20             8 digests, n       4
//	28 size            4                n × algorithm 2, digest
//	32 algorithms, their sizes          size 4, data
func ParseEventLog(b []byte) (EventLog, error) {
	if len(b) > maxEventLog {
		return nil, fmt.Errorf("tdx: event log of %d bytes, want at most %d", len(b), maxEventLog)
	}
	r := &reader{b: b}
	sizes, err := readAlgorithms(r)
	if err != nil {
		return nil, err
	}
	var log EventLog
	filling := min(len(bytes.TrimRight(b, "\xff")), len(bytes.TrimRight(b, "\x00"))) // where it begins
	for len(b)-len(r.b) < filling {
		e, err := readEvent(r, sizes)
		if err != nil {
			return nil, fmt.Errorf("%w, in event %d at byte %d", err, len(log)+1, len(b)-len(r.b))
		}
		log = append(log, e)
	}
	return log, nil
}

// readAlgorithms reads the first event, which says how long digests are.
func readAlgorithms(r *reader) (map[int]int, error) {
	r.take("first event", 8+20)
	inner := &reader{b: r.take("first event's data", r.u32("first event's size"))}
	if r.err != nil {
		return nil, r.err
	}
	if signature := inner.take("signature", 16); string(signature) != "Spec ID Event03\x00" {
		return nil, errors.New("tdx: no event log in the crypto agile form")
	}
	inner.take("version", 8)
	n := inner.u32("number of algorithms")
	if n > maxAlgorithms {
		return nil, fmt.Errorf("tdx: event log with %d algorithms, want at most %d", n, maxAlgorithms)
	}
	sizes := map[int]int{}
	for range n {
		id := inner.u16("algorithm")
		sizes[id] = inner.u16("digest size")
	}
	if sizes[algSHA384] != 48 && inner.err == nil {
		inner.fail("event log without SHA-384")
	}
	return sizes, inner.err
}

func readEvent(r *reader, sizes map[int]int) (e Event, err error) {
	index := r.u32("register")
	e.Type = uint32(r.u32("type"))
	n, found := r.u32("number of digests"), false
	if n > maxAlgorithms {
		r.fail("%d digests, want at most %d", n, maxAlgorithms)
	}
	for i := 0; i < n && r.err == nil; i++ {
		id := r.u16("algorithm")
		size, known := sizes[id]
		if !known {
			r.fail("digest of algorithm %#x, which the log did not announce", id)
		}
		if d := r.take("digest", size); id == algSHA384 && d != nil {
			found = true
			copy(e.Digest[:], d)
		}
	}
	e.Data = r.take("event's data", r.u32("event's size"))
	switch {
	case r.err != nil:
		return e, r.err
	case index > 4:
		return e, fmt.Errorf("tdx: register %d, want 0 to 4", index)
	case !found:
		return e, errors.New("tdx: event without a SHA-384 digest")
	}
	e.Register = index - 1
	return e, nil
}

// Replay is what the RTMRs hold after all events.
func (l EventLog) Replay() (rtmr [4][48]byte) {
	for _, e := range l {
		if e.Type != eventNoAction && e.Register >= 0 {
			rtmr[e.Register] = sha512.Sum384(append(rtmr[e.Register][:], e.Digest[:]...))
		}
	}
	return rtmr
}

// Explains tells for each RTMR whether the log leads to its value: then the
// log's digests for that register are all that went into it.
func (l EventLog) Explains(rtmr [4][48]byte) (ok [4]bool) {
	for i, v := range l.Replay() {
		ok[i] = v == rtmr[i]
	}
	return ok
}

// Measured tells whether the event extended its register.
func (e *Event) Measured() bool { return e.Type != eventNoAction }

// Proven tells whether the digest is that of the data, so that who believes
// the one may believe the other.
func (e *Event) Proven() bool { return sha512.Sum384(e.Data) == e.Digest }

// TypeName is the type in the words of the specification.
func (e *Event) TypeName() string {
	if name, ok := eventTypes[e.Type]; ok {
		return name
	}
	return fmt.Sprintf("%#x", e.Type)
}

var eventTypes = map[uint32]string{
	3: "EV_NO_ACTION", 4: "EV_SEPARATOR", 5: "EV_ACTION", 6: "EV_EVENT_TAG", 7: "EV_S_CRTM_CONTENTS", 8: "EV_S_CRTM_VERSION", 9: "EV_CPU_MICROCODE",
	0xa: "EV_PLATFORM_CONFIG_FLAGS", 0xb: "EV_TABLE_OF_DEVICES", 0xc: "EV_COMPACT_HASH", 0xd: "EV_IPL", 0xe: "EV_IPL_PARTITION_DATA",
	0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG", 0x80000002: "EV_EFI_VARIABLE_BOOT", 0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
	0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER", 0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER", 0x80000006: "EV_EFI_GPT_EVENT", 0x80000007: "EV_EFI_ACTION",
	0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB", 0x80000009: "EV_EFI_HANDOFF_TABLES", 0x8000000a: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
	0x8000000b: "EV_EFI_HANDOFF_TABLES2", 0x8000000c: "EV_EFI_VARIABLE_BOOT2", 0x800000e0: "EV_EFI_VARIABLE_AUTHORITY",
}

// Text is what the event says about itself, as far as it is text: a variable's
// name, a command line, a file. At most 120 characters.
func (e *Event) Text() string {
	const most = 120
	text := string(printable(e.Data))
	switch e.Type {
	case 0x80000001, 0x80000002, 0x8000000c, 0x800000e0:
		text = variableName(e.Data)
	}
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// variableName reads UEFI_VARIABLE_DATA: GUID 16, length of the name 8, length
// of the content 8, name in UTF-16.
func variableName(b []byte) string {
	if len(b) < 32 {
		return ""
	}
	n := binary.LittleEndian.Uint64(b[16:])
	if n > uint64(len(b)-32)/2 {
		return ""
	}
	name := make([]uint16, n)
	for i := range name {
		name[i] = binary.LittleEndian.Uint16(b[32+2*i:])
	}
	return string(printable([]byte(string(utf16.Decode(name)))))
}

// printable is b if it is text in ASCII, with what ends it cut off, and else
// nothing.
func printable(b []byte) []byte {
	b = bytes.TrimRight(b, "\x00\n")
	if strings.ContainsFunc(string(b), func(c rune) bool { return c < ' ' || c > '~' }) {
		return nil
	}
	return b
}
