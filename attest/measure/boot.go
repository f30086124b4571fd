package measure

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf16"
)

// Texts that the firmware measures on its way to the kernel.
const (
	callingApplication = "Calling EFI Application from Boot Option"
	exitInvoked        = "Exit Boot Services Invocation"
	exitSucceeded      = "Exit Boot Services Returned with Success"
)

// kernelLog is RTMR1: the kernel as it was loaded, the attempt to boot it, the
// line drawn under the firmware's work (a separator of four zeros), and the
// kernel's taking over. Option ROMs would be measured here too; OVMF runs none
// in a TDX guest.
func kernelLog(kernel Register) Register {
	return replay(kernel, digestOf([]byte(callingApplication)), digestOf(make([]byte, 4)), digestOf([]byte(exitInvoked)), digestOf([]byte(exitSucceeded)))
}

// InitrdWord is where the firmware puts the word that tells a kernel of the
// initial RAM disk.
type InitrdWord int

const (
	// InitrdLast puts it behind the command line, as OVMF does to edk2-stable202505.
	InitrdLast InitrdWord = iota
	// InitrdFirst puts it before, as OVMF does since edk2-stable202508.
	InitrdFirst
)

// commandLog is RTMR2: what the kernel's own EFI stub measures, its options
// and the initial RAM disk. The options are UTF-16 with a zero at the end.
func commandLog(cmdline string, initrd *Register, word InitrdWord) Register {
	if initrd == nil {
		return replay(optionsDigest(cmdline))
	}
	options := cmdline + " initrd=initrd"
	if word == InitrdFirst {
		options = "initrd=initrd " + cmdline
	}
	return replay(optionsDigest(options), *initrd)
}

func optionsDigest(options string) Register {
	h := sha512.New384()
	for _, unit := range append(utf16.Encode([]rune(options)), 0) {
		h.Write(binary.LittleEndian.AppendUint16(nil, unit))
	}
	return Register(h.Sum(nil))
}

// checkCommandLine refuses what firmware and kernel might read differently.
func checkCommandLine(s string) error {
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return fmt.Errorf("command line has %q at byte %d, want printable ASCII in one line", s[i], i)
	}
	return nil
}

// TextEvents is RTMR3: what the image's own start extends, the SHA-384 of each
// text (current.md section 10.2).
func TextEvents(events ...string) (Register, error) {
	var r Register
	for _, e := range events {
		if err := checkCommandLine(e); err != nil {
			return r, fmt.Errorf("event: %w", err)
		}
		r.extend(digestOf([]byte(e)))
	}
	return r, nil
}

// Events that the network's images extend into RTMR3.
const (
	eventSpec  = "cocoon:spec.tree="
	eventDebug = "cocoon:cocoon_debug"
	eventReady = "cocoon:tdx_inited"
)

// BootEvents are the events of the network's images for a role whose
// specification has this tree, of today's images or of those before field
// encryption came, which log debugging after the specification.
func BootEvents(tree string, debug, older bool) []string {
	spec := eventSpec + tree
	switch {
	case !debug:
		return []string{spec, eventReady}
	case older:
		return []string{spec, eventDebug, eventReady}
	}
	return []string{eventDebug, spec, eventReady}
}

// digestFile hashes a stream and counts it.
func digestFile(r io.Reader) (Register, int64, error) {
	h := sha512.New384()
	n, err := io.Copy(h, r)
	return Register(h.Sum(nil)), n, err
}

// Where QEMU of the time before TDX came to its main line puts things for a
// kernel that starts without firmware. It writes them into the header of a
// confidential guest's kernel too, where nobody reads them and everybody
// measures them (hw/i386/x86-common.c, x86_load_linux).
const (
	setupSignature  = 0x53726448 // "HdrS"
	setupEnd        = 0x260
	loadedHigh      = 0x01
	canUseHeap      = 0x80
	above4G         = 0x40
	qemuLoader      = 0xb0
	realAddress     = 0x10000
	cmdlineAddress  = 0x20000
	acpiReserve     = 0x28000    // PC machines set this much aside below 4 GiB
	lowMemory       = 0x80000000 // of a q35 with much memory; 0xb0000000 with less
	lowMemoryBorder = 0xb0000000
)

// patchKernel is the kernel as such a QEMU hands it to the firmware.
func patchKernel(kernel []byte, initrd int64, memory uint64) ([]byte, error) {
	if len(kernel) < setupEnd || binary.LittleEndian.Uint32(kernel[0x202:]) != setupSignature {
		return nil, fmt.Errorf("kernel: no Linux boot header")
	}
	k := append([]byte{}, kernel...)
	protocol := binary.LittleEndian.Uint16(k[0x206:])
	if protocol < 0x20c || k[0x211]&loadedHigh == 0 {
		return nil, fmt.Errorf("kernel: boot protocol %#x, want 0x20c or later", protocol)
	}
	binary.LittleEndian.PutUint32(k[0x228:], cmdlineAddress)
	k[0x210] = qemuLoader
	k[0x211] |= canUseHeap
	binary.LittleEndian.PutUint16(k[0x224:], cmdlineAddress-realAddress-0x200)
	if initrd == 0 {
		return k, nil
	}
	below := memory
	if memory >= lowMemoryBorder {
		below = lowMemory
	}
	top := uint64(binary.LittleEndian.Uint32(k[0x22c:]))
	if k[0x236]&above4G != 0 {
		top = math.MaxUint32
	}
	if below < acpiReserve || uint64(initrd) >= below-acpiReserve {
		return nil, fmt.Errorf("initrd has %d bytes, too many for %d of memory", initrd, memory)
	}
	top = min(top, below-acpiReserve-1)
	binary.LittleEndian.PutUint32(k[0x218:], uint32(top-uint64(initrd))&^0xfff)
	binary.LittleEndian.PutUint32(k[0x21c:], uint32(initrd))
	return k, nil
}
