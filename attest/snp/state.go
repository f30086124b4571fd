package snp

import "encoding/binary"

// firstReset is where the first processor starts, on every machine.
const firstReset = 0xfffffff0

// startState is the page that holds a processor's first state, which is
// measured (AMD64 Architecture Programmer's Manual 2, table B-4): what QEMU and
// KVM set, the rest zero.
func startState(start uint64, c CPU, features uint64) (page [pageSize]byte) {
	segment := func(at int, selector, attributes uint16, limit uint32, base uint64) {
		binary.LittleEndian.PutUint16(page[at:], selector)
		binary.LittleEndian.PutUint16(page[at+2:], attributes)
		binary.LittleEndian.PutUint32(page[at+4:], limit)
		binary.LittleEndian.PutUint64(page[at+8:], base)
	}
	segment(0x00, 0, 0x93, 0xffff, 0)                     // ES
	segment(0x10, 0xf000, 0x9b, 0xffff, start&0xffff0000) // CS
	segment(0x20, 0, 0x93, 0xffff, 0)                     // SS
	segment(0x30, 0, 0x93, 0xffff, 0)                     // DS
	segment(0x40, 0, 0x93, 0xffff, 0)                     // FS
	segment(0x50, 0, 0x93, 0xffff, 0)                     // GS
	segment(0x60, 0, 0, 0xffff, 0)                        // GDTR
	segment(0x70, 0, 0x82, 0xffff, 0)                     // LDTR
	segment(0x80, 0, 0, 0xffff, 0)                        // IDTR
	segment(0x90, 0, 0x8b, 0xffff, 0)                     // TR
	for at, v := range map[int]uint64{
		0x0d0: 0x1000,          // EFER: SVM on
		0x148: 0x40,            // CR4: machine checks on
		0x158: 0x10,            // CR0
		0x160: 0x400,           // DR7
		0x168: 0xffff0ff0,      // DR6
		0x170: 0x2,             // RFLAGS
		0x178: start & 0xffff,  // RIP
		0x268: 0x7040600070406, // PAT
		0x310: c.signature(),   // RDX
		0x3b0: features,        // SEV_FEATURES
		0x3e8: 0x1,             // XCR0
	} {
		binary.LittleEndian.PutUint64(page[at:], v)
	}
	binary.LittleEndian.PutUint32(page[0x408:], 0x1f80) // MXCSR
	binary.LittleEndian.PutUint16(page[0x410:], 0x37f)  // x87 control word
	return page
}
