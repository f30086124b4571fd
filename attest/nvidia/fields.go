package nvidia

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// interpret reads the fields that a GPU's report must have.
func (p *Report) interpret() (err error) {
	if _, gpu := p.Fields[FieldDriver]; !gpu && p.Fields[FieldSwitches] != nil {
		return ErrSwitch
	}
	for _, f := range []struct {
		field Field
		text  *string
	}{{FieldDriver, &p.Driver}, {FieldProject, &p.Project}, {FieldProjectSKU, &p.ProjectSKU}, {FieldChipSKU, &p.ChipSKU}, {FieldChip, &p.Chip}} {
		if _, ok := p.Fields[f.field]; !ok && f.field == FieldChip {
			continue
		}
		if *f.text, err = word(p.Fields[f.field]); err != nil {
			return fmt.Errorf("nvidia: opaque field %d: %w", f.field, err)
		}
	}
	if p.VBIOS, err = unpackVBIOS(p.Fields[FieldVBIOS]); err != nil {
		return err
	}
	if fwid, ok := p.Fields[FieldFWID]; ok && len(fwid) != digestSize {
		return fmt.Errorf("nvidia: firmware id of %d bytes, want %d", len(fwid), digestSize)
	}
	p.FWID = p.Fields[FieldFWID]
	if p.NVDECDisabled, err = p.off(FieldNVDEC); err != nil {
		return err
	}
	if n := len(p.Fields[FieldSwitches]); n%switchIdentifierLen != 0 {
		return fmt.Errorf("nvidia: list of switches has %d bytes, want a multiple of %d", n, switchIdentifierLen)
	}
	return p.readMode()
}

// readMode finds the mode. Newer reports state it; older ones only say whether
// PCIe is protected, and Blackwell's oldest say nothing.
func (p *Report) readMode() error {
	version, err := p.small(FieldOpaqueVersion)
	if err != nil {
		return err
	}
	if version > maxOpaqueVersion {
		return fmt.Errorf("nvidia: opaque fields of version %d, want at most %d", version, maxOpaqueVersion)
	}
	if _, ok := p.Fields[FieldProtectedPCIe]; ok {
		unprotected, err := p.off(FieldProtectedPCIe)
		if err != nil {
			return err
		}
		p.Mode = map[bool]Mode{true: SinglePassthrough, false: ProtectedPCIe}[unprotected]
	}
	if _, ok := p.Fields[FieldFeature]; ok {
		feature, err := p.small(FieldFeature)
		if err != nil {
			return err
		}
		if feature > 2 {
			return fmt.Errorf("nvidia: mode is %d, want 0 to 2", feature)
		}
		mode := [...]Mode{SinglePassthrough, MultiPassthrough, ProtectedPCIe}[feature]
		if (p.Mode == ProtectedPCIe) != (mode == ProtectedPCIe) && p.Mode != "" {
			return fmt.Errorf("nvidia: mode is %s, and the state of PCIe says %s", mode, p.Mode)
		}
		p.Mode = mode
	}
	if p.Mode == "" && len(p.Fields[FieldSwitches]) == 0 {
		p.Mode = SinglePassthrough
	}
	if p.Mode == "" {
		return errors.New("nvidia: switches without a mode")
	}
	return nil
}

// off reads a field that is enabled or disabled and nothing else.
func (p *Report) off(f Field) (bool, error) {
	v := p.Fields[f]
	if len(v) != 1 || v[0] != enabled && v[0] != disabled {
		return false, fmt.Errorf("nvidia: opaque field %d is %x, want aa (enabled) or 55 (disabled)", f, v)
	}
	return v[0] == disabled, nil
}

// small reads a number of up to 8 bytes; a field that is not there is 0.
func (p *Report) small(f Field) (n uint64, err error) {
	v := p.Fields[f]
	if len(v) > 8 {
		return 0, fmt.Errorf("nvidia: opaque field %d has %d bytes, want at most 8", f, len(v))
	}
	for i, b := range v {
		n |= uint64(b) << (8 * i)
	}
	return n, nil
}

// word reads text that becomes part of addresses and file names.
func word(b []byte) (string, error) {
	s := string(bytes.TrimRight(b, "\x00"))
	if s == "" || len(s) > 32 {
		return "", fmt.Errorf("text of %d bytes, want 1 to 32", len(s))
	}
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.') {
			return "", fmt.Errorf("text holds %q, want letters, digits and points", c)
		}
	}
	if strings.Contains(s, "..") || s[0] == '.' {
		return "", fmt.Errorf("text is %q", s)
	}
	return s, nil
}

// unpackVBIOS writes the five bytes of a version as NVIDIA does: of 00 9f 00
// 96 01 00 00 00 it makes 96.00.9F.00.01.
func unpackVBIOS(b []byte) (string, error) {
	if len(b) != 8 || !bytes.Equal(b[5:], []byte{0, 0, 0}) {
		return "", fmt.Errorf("nvidia: VBIOS version is %x, want five bytes and three zeros", b)
	}
	digits := strings.ToUpper(hex.EncodeToString([]byte{b[3], b[2], b[1], b[0], b[4]}))
	return strings.Join([]string{digits[:2], digits[2:4], digits[4:6], digits[6:8], digits[8:]}, "."), nil
}
