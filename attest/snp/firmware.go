package snp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// firmware is what an OVMF image says about the guest that it wants.
type firmware struct {
	reset    uint64 // where all processors but the first start; 0: it does not say
	hashes   uint64 // where it looks for the table of kernel hashes; 0: nowhere
	sections []section
}

// section is an area of memory that the host must prepare.
type section struct{ at, size, kind uint64 }

// Kinds of sections (edk2, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm).
const (
	sectionMemory  = 1
	sectionSecrets = 2
	sectionCPUID   = 3
	sectionSVSM    = 4
	sectionHashes  = 0x10
)

// maxSections and maxSection bound what a file can make us do. OVMF has up to
// ten areas; the largest has 64 KiB.
const (
	maxFirmware = 64 << 20
	maxSections = 64
	maxSection  = 64 << 20
)

// parseFirmware reads the table at the end of an OVMF image. It is read
// backwards: each entry ends with its size and name, and the table's own entry
// ends 32 bytes before the image does.
//
//	... content | size 2 | name 16 |  (one entry)
//	... table   | size 2 | name 16 | 32 bytes |  (the end of the image)
func parseFirmware(image []byte) (*firmware, error) {
	if len(image) < pageSize || len(image) > maxFirmware || len(image)%pageSize != 0 {
		return nil, fmt.Errorf("snp: firmware of %d bytes, want whole pages, at most %d", len(image), maxFirmware)
	}
	name, table, _, ok := lastEntry(image[:len(image)-32])
	if !ok || name != string(guid("96b582de-1fb2-45f7-baea-a366c55a082d")) {
		return nil, errors.New("snp: firmware without OVMF's table: it is no OVMF image")
	}
	f := &firmware{}
	for len(table) > 0 {
		name, content, rest, ok := lastEntry(table)
		if !ok {
			return nil, errors.New("snp: firmware's table cannot be read")
		}
		if err := f.entry(image, name, content); err != nil {
			return nil, err
		}
		table = rest
	}
	if f.sections == nil {
		return nil, errors.New("snp: firmware says nothing about SEV-SNP")
	}
	return f, nil
}

// lastEntry splits the last entry from a table.
func lastEntry(table []byte) (name string, content, rest []byte, ok bool) {
	end := len(table) - 18
	if end < 0 {
		return "", nil, nil, false
	}
	start := len(table) - int(binary.LittleEndian.Uint16(table[end:]))
	if start < 0 || start > end {
		return "", nil, nil, false
	}
	return string(table[end+2:]), table[start:end], table[:start], true
}

// entry takes the three entries that concern us. Each begins with an address.
func (f *firmware) entry(image []byte, name string, content []byte) error {
	if len(content) < 4 {
		return nil
	}
	address := uint64(binary.LittleEndian.Uint32(content))
	switch name {
	case string(guid("00f771de-1a7e-4fcb-890e-68c77e2fb44e")):
		f.reset = address
	case string(guid("7255371f-3a3b-4b04-927b-1da6efa8d454")):
		f.hashes = address
	case string(guid("dc886566-984a-4798-a75e-5585a7bf67cc")):
		return f.metadata(image, address)
	}
	return nil
}

// metadata reads the list of areas, so many bytes before the image's end:
// "ASEV", size, version 1, number, and for each address, size, kind.
func (f *firmware) metadata(image []byte, before uint64) error {
	if before > uint64(len(image)) || before < 16 {
		return fmt.Errorf("snp: firmware's list of areas is %d bytes before its end", before)
	}
	b := image[uint64(len(image))-before:]
	n := binary.LittleEndian.Uint32(b[12:])
	if !bytes.HasPrefix(b, []byte("ASEV")) || binary.LittleEndian.Uint32(b[8:]) != 1 || n > maxSections || int(n) > (len(b)-16)/12 {
		return errors.New("snp: firmware's list of areas cannot be read")
	}
	for b = b[16:]; n > 0; n-- {
		word := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(b[i:])) }
		s := section{word(0), word(4), word(8)}
		if s.at%pageSize != 0 || s.size%pageSize != 0 || s.size > maxSection {
			return fmt.Errorf("snp: firmware asks for %#x bytes at %#x, want whole pages", s.size, s.at)
		}
		f.sections = append(f.sections, s)
		b = b[12:]
	}
	return nil
}

// guid is a name in the byte order of firmware: the first three groups little
// endian.
func guid(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		panic("snp: no name: " + s) // of a constant above
	}
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return b
}
