package measure

import (
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
)

// Firmware is an image of OVMF with metadata for TDX, as the TDX Virtual
// Firmware Design Guide (section 11) lays it out:
//
//	…  16 GUID of a table's entry, after its data and a length u16 over all three
//	…  the last entry is the footer, 48 bytes before the end of the image, and
//	   its length is that of the table
//	the entry e47a6535-… holds, u32, how far before the end the descriptor is:
//	    "TDVF", length u32, version u32, number of sections u32, sections of
//	    file offset u32, raw size u32, address u64, memory size u64, type u32, attributes u32
type Firmware struct {
	image    []byte
	Sections []Section
}

// Section is a part of the guest's first memory.
type Section struct {
	Offset, Raw uint32 // in the image
	Address     uint64 // in the guest
	Size        uint64 // in the guest, whole pages
	Type        uint32
	Attributes  uint32
}

// Types and attributes of sections.
const (
	sectionBFV     = 0 // code
	sectionCFV     = 1 // variables
	sectionHOB     = 2 // what the hypervisor tells the firmware
	sectionTemp    = 3 // stack and heap
	measured       = 1 << 0
	addedLater     = 1 << 1
	pageSize       = 4096
	extendSize     = 256
	footerAt       = 48
	maxFirmware    = 64 << 20
	maxSections    = 64
	maxGuestMemory = 1 << 30 // of all sections: OVMF has 16 MiB
)

var (
	footerGUID   = guid(0x96b582de, 0x1fb2, 0x45f7, [8]byte{0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d})
	metadataGUID = guid(0xe47a6535, 0x984a, 0x4798, [8]byte{0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2})
)

func guid(a uint32, b, c uint16, d [8]byte) [16]byte {
	var g [16]byte
	binary.LittleEndian.PutUint32(g[:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	copy(g[8:], d[:])
	return g
}

// ErrNoTDVF means that the firmware has no metadata for TDX, so that no TDX
// guest can start with it.
var ErrNoTDVF = errors.New("firmware has no TDX metadata")

// ParseFirmware reads the metadata. It keeps image.
func ParseFirmware(image []byte) (*Firmware, error) {
	if len(image) > maxFirmware {
		return nil, fmt.Errorf("firmware has %d bytes, want at most %d", len(image), maxFirmware)
	}
	at, err := findDescriptor(image)
	if err != nil {
		return nil, err
	}
	f := &Firmware{image: image}
	return f, f.readSections(image[at:])
}

// findDescriptor walks the table backwards from its footer.
func findDescriptor(image []byte) (int, error) {
	end := len(image) - footerAt + 16
	length, name, ok := tableEntry(image, end)
	if !ok || name != footerGUID || length > end {
		return 0, fmt.Errorf("%w: no table at its end", ErrNoTDVF)
	}
	for start, at := end-length, end-18; at > start; {
		length, name, ok := tableEntry(image[start:], at-start)
		if !ok || length < 18 || length > at-start {
			return 0, errors.New("firmware: malformed table at its end")
		}
		if name == metadataGUID {
			if length < 18+4 {
				return 0, errors.New("firmware: the table's entry for TDX is too short")
			}
			back := int64(binary.LittleEndian.Uint32(image[at-18-4:]))
			if back < 16 || back > int64(len(image)) {
				return 0, fmt.Errorf("firmware: TDX metadata is %d bytes before the end of %d", back, len(image))
			}
			return len(image) - int(back), nil
		}
		at -= length
	}
	return 0, ErrNoTDVF
}

// tableEntry reads the length and the name of the entry that ends at end.
func tableEntry(b []byte, end int) (length int, name [16]byte, ok bool) {
	if end < 18 || end > len(b) {
		return 0, name, false
	}
	return int(binary.LittleEndian.Uint16(b[end-18:])), [16]byte(b[end-16 : end]), true
}

func (f *Firmware) readSections(b []byte) error {
	var head struct {
		Signature                [4]byte
		Length, Version, Entries uint32
	}
	if _, err := binary.Decode(b, binary.LittleEndian, &head); err != nil || head.Signature != [4]byte{'T', 'D', 'V', 'F'} {
		return errors.New("firmware: no TDVF descriptor where the table says")
	}
	if head.Version != 1 || head.Entries > maxSections || head.Length != 16+32*head.Entries || int64(head.Length) > int64(len(b)) {
		return fmt.Errorf("firmware: TDVF descriptor of version %d with %d sections in %d bytes, want version 1, at most %d and 16 + 32 each",
			head.Version, head.Entries, head.Length, maxSections)
	}
	f.Sections = make([]Section, head.Entries)
	if _, err := binary.Decode(b[16:], binary.LittleEndian, f.Sections); err != nil {
		return fmt.Errorf("firmware: sections: %w", err)
	}
	var total uint64
	for i, s := range f.Sections {
		if err := s.check(f.image); err != nil {
			return fmt.Errorf("firmware: section %d: %w", i, err)
		}
		total += s.Size
	}
	if total > maxGuestMemory {
		return fmt.Errorf("firmware: sections take %d bytes of the guest, want at most %d", total, maxGuestMemory)
	}
	return nil
}

// check refuses what QEMU refuses, and what hypervisors could read in two ways.
func (s *Section) check(image []byte) error {
	switch {
	case s.Type > sectionTemp:
		return fmt.Errorf("type %d, want 0 to %d: QEMU takes no other", s.Type, sectionTemp)
	case s.Attributes&^(measured|addedLater) != 0 || s.Attributes == measured|addedLater:
		return fmt.Errorf("attributes %#x, want 0, 1 (measured) or 2 (added later)", s.Attributes)
	case s.Address%pageSize != 0 || s.Size%pageSize != 0 || s.Size > maxGuestMemory || s.Address > 1<<52:
		return fmt.Errorf("%d bytes at %#x, want whole pages", s.Size, s.Address)
	case uint64(s.Offset)+uint64(s.Raw) > uint64(len(image)):
		return fmt.Errorf("%d bytes at %#x of the image, which has %d", s.Raw, s.Offset, len(image))
	case uint64(s.Raw) > s.Size:
		return fmt.Errorf("%d bytes of the image for %d of memory", s.Raw, s.Size)
	case s.Attributes&measured != 0 && uint64(s.Raw) != s.Size:
		return fmt.Errorf("%d bytes of the image measured as %d: what fills the rest is up to the hypervisor", s.Raw, s.Size)
	}
	return nil
}

// PageOrder is in which order a hypervisor adds pages and measures them. The
// TDX module chains both, so that the order is in the result.
type PageOrder int

const (
	// PageByPage adds a page and measures it, as Linux's own KVM does (6.16).
	PageByPage PageOrder = iota
	// SectionBySection adds all pages of a section before it measures the
	// first, as the kernels of TDX's early adopters did.
	SectionBySection
)

// MRTD is the measurement of the guest's first memory: SHA-384 over a record
// for every page that is added and, if it is measured, sixteen more with 256
// bytes of its content each (Intel TDX Module Base Architecture Specification,
// "MRTD: TD Measurement Register", TDH.MEM.PAGE.ADD and TDH.MR.EXTEND).
func (f *Firmware) MRTD(order PageOrder) Register {
	h := sha512.New384()
	add := func(s *Section, page uint64) {
		if s.Attributes&addedLater == 0 {
			h.Write(mrtdRecord("MEM.PAGE.ADD", s.Address+page))
		}
	}
	measure := func(s *Section, page uint64) {
		for at := page; s.Attributes&measured != 0 && at < page+pageSize; at += extendSize {
			h.Write(mrtdRecord("MR.EXTEND", s.Address+at))
			h.Write(f.image[uint64(s.Offset)+at:][:extendSize])
		}
	}
	for i := range f.Sections {
		s := &f.Sections[i]
		for page := uint64(0); page < s.Size; page += pageSize {
			add(s, page)
			if order == PageByPage {
				measure(s, page)
			}
		}
		for page := uint64(0); order == SectionBySection && page < s.Size; page += pageSize {
			measure(s, page)
		}
	}
	return Register(h.Sum(nil))
}

// mrtdRecord is 128 bytes: the operation's name, padded to 16, and the guest's
// address.
func mrtdRecord(operation string, address uint64) []byte {
	b := make([]byte, 128)
	copy(b, operation)
	binary.LittleEndian.PutUint64(b[16:], address)
	return b
}
