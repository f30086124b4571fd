package measure

import (
	"cmp"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Offsets in a PE image (Microsoft PE format). The optional header of PE32
// has its directories sixteen bytes earlier than that of PE32+.
const (
	peOffsetAt      = 0x3c
	peHeader        = 4 + 20 // signature and COFF header
	peMagic32       = 0x10b
	peMagic64       = 0x20b
	peHeadersSizeAt = 60
	peChecksumAt    = 64
	peDirectories32 = 96
	peDirectories64 = 112
	peSecurity      = 4 // the directory of signatures
	peSection       = 40
	maxPESections   = 256
)

// Authenticode is the digest under which a firmware measures an executable:
// SHA-384 over everything but its checksum, its signatures and where they are
// (Windows Authenticode Portable Executable Signature Format, as edk2's
// MeasurePeImageAndExtend reads it: no padding is added).
func Authenticode(image []byte) (Register, error) {
	p, err := parsePE(image)
	if err != nil {
		return Register{}, fmt.Errorf("kernel: %w", err)
	}
	h := sha512.New384()
	for _, run := range p.runs {
		h.Write(image[run.from:run.to])
	}
	return Register(h.Sum(nil)), nil
}

type run struct{ from, to int64 }

type pe struct{ runs []run }

var errNotPE = errors.New("not an EFI executable (PE/COFF)")

// parsePE finds the runs of bytes that are hashed, in order. Runs may overlap,
// as malformed images do; none leaves the image.
func parsePE(b []byte) (*pe, error) {
	size := int64(len(b))
	if size < peOffsetAt+4 || b[0] != 'M' || b[1] != 'Z' {
		return nil, errNotPE
	}
	coff := int64(binary.LittleEndian.Uint32(b[peOffsetAt:]))
	if coff+peHeader > size || string(b[coff:coff+4]) != "PE\x00\x00" {
		return nil, errNotPE
	}
	sections := int64(binary.LittleEndian.Uint16(b[coff+6:]))
	optional, optionalSize := coff+peHeader, int64(binary.LittleEndian.Uint16(b[coff+20:]))
	table := optional + optionalSize
	if optionalSize < peDirectories32 || table+sections*peSection > size || sections > maxPESections {
		return nil, fmt.Errorf("PE header of %d bytes with %d sections in %d bytes: malformed", optionalSize, sections, size)
	}
	directories := int64(0)
	switch magic := binary.LittleEndian.Uint16(b[optional:]); magic {
	case peMagic32:
		directories = peDirectories32
	case peMagic64:
		directories = peDirectories64
	default:
		return nil, fmt.Errorf("PE header of kind %#x, want %#x or %#x", magic, peMagic32, peMagic64)
	}
	headers := int64(binary.LittleEndian.Uint32(b[optional+peHeadersSizeAt:]))
	if headers > size || headers < table+sections*peSection {
		return nil, fmt.Errorf("PE headers of %d bytes, want %d to %d", headers, table+sections*peSection, size)
	}
	p := &pe{}
	signatures, err := p.addHeaders(b, optional, optionalSize, directories, headers)
	if err != nil {
		return nil, err
	}
	return p, p.addSections(b[table:table+sections*peSection], headers, size, signatures)
}

// addHeaders leaves out the checksum and, if there is one, the directory of
// signatures, and returns how many bytes these take at the end of the image.
func (p *pe) addHeaders(b []byte, optional, optionalSize, directories, headers int64) (int64, error) {
	if directories > optionalSize {
		return 0, fmt.Errorf("PE header of %d bytes, want at least %d", optionalSize, directories)
	}
	checksum := optional + peChecksumAt
	p.runs = append(p.runs, run{0, checksum})
	if binary.LittleEndian.Uint32(b[optional+directories-4:]) <= peSecurity {
		p.runs = append(p.runs, run{checksum + 4, headers})
		return 0, nil
	}
	security := optional + directories + 8*peSecurity
	if security+8 > optional+optionalSize {
		return 0, errors.New("PE header ends before its directory of signatures")
	}
	p.runs = append(p.runs, run{checksum + 4, security}, run{security + 8, headers})
	return int64(binary.LittleEndian.Uint32(b[security+4:])), nil
}

// addSections adds the sections in the order of the file, and what is behind
// them but for the signatures.
func (p *pe) addSections(table []byte, headers, size, signatures int64) error {
	var sections []run
	hashed := headers
	for ; len(table) > 0; table = table[peSection:] {
		length, from := int64(binary.LittleEndian.Uint32(table[16:])), int64(binary.LittleEndian.Uint32(table[20:]))
		if length == 0 {
			continue
		}
		if from+length > size {
			return fmt.Errorf("PE section of %d bytes at %d, beyond the image of %d: the firmware would not load it", length, from, size)
		}
		sections = append(sections, run{from, from + length})
		hashed += length
	}
	slices.SortStableFunc(sections, func(a, b run) int { return cmp.Compare(a.from, b.from) })
	p.runs = append(p.runs, sections...)
	if size > hashed {
		end := size - signatures
		if end < hashed {
			return fmt.Errorf("PE signatures of %d bytes, but %d are left behind the sections", signatures, size-hashed)
		}
		p.runs = append(p.runs, run{hashed, end})
	}
	return nil
}
