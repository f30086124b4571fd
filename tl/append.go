package tl

import "encoding/binary"

const (
	idTrue  = 0x997275b5
	idFalse = 0xbc799737
)

// AppendBool appends boolTrue or boolFalse.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return binary.LittleEndian.AppendUint32(b, idTrue)
	}
	return binary.LittleEndian.AppendUint32(b, idFalse)
}

// AppendBytes appends a byte string: header, content, padding.
func AppendBytes(b, v []byte) []byte {
	b = AppendBytesHeader(b, len(v))
	b = append(b, v...)
	return AppendBytesPadding(b, len(v))
}

// AppendString is AppendBytes for a string.
func AppendString(b []byte, v string) []byte {
	b = AppendBytesHeader(b, len(v))
	b = append(b, v...)
	return AppendBytesPadding(b, len(v))
}

// AppendBytesHeader appends what precedes n bytes of content, in the shortest
// form. The caller appends the content and then AppendBytesPadding, so that
// an object can be written straight into the bytes field of another.
func AppendBytesHeader(b []byte, n int) []byte {
	switch {
	case n < 0xfe:
		return append(b, byte(n))
	case n < 1<<24:
		return binary.LittleEndian.AppendUint32(b, 0xfe|uint32(n)<<8)
	default:
		return binary.LittleEndian.AppendUint64(b, 0xff|uint64(n)<<8)
	}
}

// AppendBytesPadding appends the zeros that follow n bytes of content.
func AppendBytesPadding(b []byte, n int) []byte {
	return append(b, "\x00\x00\x00"[:BytesPadding(n)]...)
}

// BytesPadding is the number of zeros that follow n bytes of content.
func BytesPadding(n int) int {
	if n < 0xfe {
		return -(n + 1) & 3
	}
	return -n & 3
}

// SizeBytes is the whole length of a byte string with n bytes of content.
func SizeBytes(n int) int {
	switch {
	case n < 0xfe:
		return (n + 4) &^ 3
	case n < 1<<24:
		return 4 + (n+3)&^3
	default:
		return 8 + (n+3)&^3
	}
}
