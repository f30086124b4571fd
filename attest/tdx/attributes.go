package tdx

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
