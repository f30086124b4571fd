package snp

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Launch is what QEMU under KVM puts into a guest before it runs, and
// therefore what the guest measures as.
type Launch struct {
	// Firmware is the whole image of an OVMF build.
	Firmware []byte
	// VCPUs is the number of virtual processors, at least 1.
	VCPUs int
	// CPU is what QEMU's processor model claims to be: see QEMUProcessors.
	CPU CPU
	// Features are the SEV features that KVM sets for each processor. Zero
	// means SNP alone, 0x1; kernels of some distributions set 0x21.
	Features uint64
	// Kernel are the hashes that QEMU passes with kernel-hashes=on. Nil: it
	// passes none, and whatever is booted is not measured.
	Kernel *KernelHashes
}

// KernelHashes are SHA-256 of what QEMU boots directly.
type KernelHashes struct{ Kernel, Initrd, CommandLine [32]byte }

// HashKernel computes them. No initrd hashes like an empty one.
func HashKernel(kernel, initrd []byte, commandLine string) *KernelHashes {
	return &KernelHashes{sha256.Sum256(kernel), sha256.Sum256(initrd), sha256.Sum256(append([]byte(commandLine), 0))}
}

// QEMUProcessors are QEMU's models by name, without the suffix of a version.
var QEMUProcessors = map[string]CPU{
	"EPYC": {23, 1, 2}, "EPYC-Rome": {23, 49, 0}, "EPYC-Milan": {25, 1, 1}, "EPYC-Genoa": {25, 17, 0}, "EPYC-Turin": {26, 0, 0},
}

// signature is the processor's CPUID signature, which it starts with in RDX.
func (c CPU) signature() uint64 {
	low, high := uint64(c.Family), uint64(0)
	if low > 15 {
		low, high = 15, low-15
	}
	return high<<20 | uint64(c.Model>>4)<<16 | low<<8 | uint64(c.Model&15)<<4 | uint64(c.Stepping&15)
}

// Measure computes the launch measurement: every page that is put into the
// guest, in QEMU's order, and then each processor's first state. It equals
// what a report states, bit for bit, or the host did something else.
func (l *Launch) Measure() (m [48]byte, err error) {
	f, err := parseFirmware(l.Firmware)
	if err != nil {
		return m, err
	}
	d := digest{}
	d.pages(firmwareEnd-uint64(len(l.Firmware)), l.Firmware)
	return l.continued(d, f)
}

// Image is the image hash of the measurement, as the network computes it.
func (l *Launch) Image() (h evidence.Hash, err error) {
	m, err := l.Measure()
	if err != nil {
		return h, err
	}
	return evidence.HashOf(m[:]), nil
}

// continued is what follows the firmware's own pages.
func (l *Launch) continued(d digest, f *firmware) ([48]byte, error) {
	if l.VCPUs < 1 || l.VCPUs > 1 && f.reset == 0 {
		return d, fmt.Errorf("snp: %d processors, with firmware that starts the others at %#x", l.VCPUs, f.reset)
	}
	if l.Kernel != nil && !slices.ContainsFunc(f.sections, func(s section) bool { return s.kind == sectionHashes }) {
		return d, errors.New("snp: firmware without a place for kernel hashes: what it boots cannot be measured")
	}
	for _, s := range f.sections {
		if err := l.section(&d, s, f); err != nil {
			return d, err
		}
	}
	features := l.Features
	if features == 0 {
		features = 1
	}
	first, others := startState(firstReset, l.CPU, features), startState(f.reset, l.CPU, features)
	for i := range l.VCPUs {
		page := &others
		if i == 0 {
			page = &first
		}
		d.update(pageState, statePage, sha512.Sum384(page[:]))
	}
	return d, nil
}

// section measures one of the areas that the firmware asks for.
func (l *Launch) section(d *digest, s section, f *firmware) error {
	switch s.kind {
	case sectionMemory, sectionSVSM:
		d.zeros(pageZero, s)
	case sectionSecrets:
		d.update(pageSecrets, s.at, [48]byte{})
	case sectionCPUID:
		d.update(pageCPUID, s.at, [48]byte{})
	case sectionHashes:
		if l.Kernel == nil {
			d.zeros(pageZero, s)
			return nil
		}
		table := l.Kernel.table()
		offset := f.hashes & (pageSize - 1)
		if s.size != pageSize || f.hashes&^(pageSize-1) != s.at || offset+uint64(len(table)) > pageSize {
			return fmt.Errorf("snp: firmware keeps kernel hashes at %#x, in an area of %#x bytes at %#x", f.hashes, s.size, s.at)
		}
		page := make([]byte, pageSize)
		copy(page[offset:], table)
		d.pages(s.at, page)
	default:
		return fmt.Errorf("snp: firmware asks for an area of unknown kind %d", s.kind)
	}
	return nil
}

// table is the hash table that QEMU hands to the firmware: entries for command
// line, initrd and kernel, padded to 16 bytes.
func (k *KernelHashes) table() []byte {
	entry := func(name string, content ...byte) []byte {
		b := append(guid(name), 0, 0)
		b = append(b, content...)
		binary.LittleEndian.PutUint16(b[16:], uint16(len(b)))
		return b
	}
	all := slices.Concat(
		entry("97d02dd8-bd20-4c94-aa78-e7714d36ab2a", k.CommandLine[:]...),
		entry("44baf731-3a2f-4bd7-9af1-41e29169781d", k.Initrd[:]...),
		entry("4de79437-abd2-427f-b835-d5b172d2045b", k.Kernel[:]...))
	table := entry("9438d606-4f22-4cc9-b479-a793d411fd21", all...)
	return append(table, make([]byte, -len(table)&15)...)
}

// Types of pages (56860, SNP_LAUNCH_UPDATE).
const (
	pageNormal  = 1
	pageState   = 2
	pageZero    = 3
	pageSecrets = 5
	pageCPUID   = 6
)

const (
	pageSize    = 4096
	firmwareEnd = 1 << 32        // firmware ends where 4 GiB end
	statePage   = 0xfffffffff000 // the address that stands for a processor's state
)

// digest is the launch digest so far.
type digest [48]byte

// update measures one page: SHA-384 over the digest so far and a description
// of the page (56860, PAGE_INFO).
//
//	0 digest so far 48   96 size, 112  2    99 initial image  1   104 address 8
//	48 contents     48   98 type       1   100 permissions    4
func (d *digest) update(kind byte, at uint64, contents [48]byte) {
	var info [112]byte
	copy(info[:], d[:])
	copy(info[48:], contents[:])
	binary.LittleEndian.PutUint16(info[96:], uint16(len(info)))
	info[98] = kind
	binary.LittleEndian.PutUint64(info[104:], at)
	*d = sha512.Sum384(info[:])
}

// pages measures memory with content, a multiple of a page.
func (d *digest) pages(at uint64, content []byte) {
	for i := 0; i < len(content); i += pageSize {
		d.update(pageNormal, at+uint64(i), sha512.Sum384(content[i:i+pageSize]))
	}
}

func (d *digest) zeros(kind byte, s section) {
	for i := uint64(0); i < s.size; i += pageSize {
		d.update(kind, s.at+i, [48]byte{})
	}
}
