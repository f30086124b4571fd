package tdx

import "fmt"

// Bits of TDAttributes (Intel TDX Module ABI Specification, ATTRIBUTES).
const (
	attributesUnderDebug = 0xff    // the group TUD: any bit lets the host look into the guest, or is reserved
	attributeLASS        = 1 << 27 // linear address space separation
	attributeSeptVE      = 1 << 28 // the host cannot inject faults by taking private memory away
	attributeMigratable  = 1 << 29
	attributePKS         = 1 << 30 // protection keys for supervisor pages
	attributeKeyLocker   = 1 << 31
	attributePerfmon     = 1 << 63 // the guest may count events of its own

	attributesKnown = attributesUnderDebug | attributeLASS | attributeSeptVE | attributeMigratable | attributePKS | attributeKeyLocker | attributePerfmon
)

// Bits of XFAM: what of the processor's extended state the guest may use, as
// in XCR0 and IA32_XSS.
const (
	xfamAlways = 0x3     // x87 and SSE, in every guest
	xfamKnown  = 0x6dbe7 // AVX, AVX-512, PT, PKRU, CET, UINTR, LBR, AMX
)

// Debug tells whether the host may look into the guest: any of the eight
// bits of the group "TD under debug" is set.
func (b *Body) Debug() bool { return b.TDAttributes&attributesUnderDebug != 0 }

// Migratable tells whether the host may move the guest to another machine,
// with its memory and registers. Who guards the move is a service TD of the
// host's choice, which a quote of version 4 does not name.
func (b *Body) Migratable() bool { return b.TDAttributes&attributeMigratable != 0 }

// reservedAttributes are the bits that mean nothing we know; whatever they
// turn on, nobody has judged it.
func (b *Body) reservedAttributes() uint64 { return b.TDAttributes &^ attributesKnown }

// validXFAM tells whether XFAM has all bits that every guest has, and none
// that we do not know.
func (b *Body) validXFAM() bool { return b.XFAM&xfamAlways == xfamAlways && b.XFAM&^xfamKnown == 0 }

// AttributeNames names the bits of TDAttributes that are set, in Intel's words
// or as a number.
func AttributeNames(attributes uint64) []string {
	return bitNames(attributes, map[int]string{
		0: "DEBUG", 4: "HGS_PLUS_PROF", 5: "PERF_PROF", 6: "PMT_PROF", 27: "LASS", 28: "SEPT_VE_DISABLE", 29: "MIGRATABLE", 30: "PKS", 31: "KL", 63: "PERFMON",
	})
}

// XFAMNames names the parts of the processor's state that are set, so too.
func XFAMNames(xfam uint64) []string {
	return bitNames(xfam, map[int]string{
		0: "X87", 1: "SSE", 2: "AVX", 5: "AVX-512 masks", 6: "AVX-512 ZMM", 7: "AVX-512 ZMM high", 8: "PT", 9: "PKRU", 11: "CET user", 12: "CET supervisor", 14: "UINTR",
		15: "LBR", 17: "AMX tile configuration", 18: "AMX tile data",
	})
}

func bitNames(v uint64, names map[int]string) (out []string) {
	for bit := range 64 {
		if v>>bit&1 == 0 {
			continue
		}
		name := names[bit]
		if name == "" {
			name = fmt.Sprintf("bit %d", bit)
		}
		out = append(out, name)
	}
	return out
}
