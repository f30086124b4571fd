package builtin

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md),
// little-endian:
//
//	"GGUF" | version u32 | tensor count u64 | metadata count u64
//	metadata: key string | type u32 | value        (string: length u64, bytes)
//	tensors:  name string | dimension count u32 | dimensions u64… | kind u32 | offset u64
//	padding to the alignment | tensor data
//
// Values stay where they are in the file and are read when asked for, so a
// file can make the parser allocate no more than a few times its own header.
const (
	ggufMagic    = "GGUF"
	maxMetadata  = 4096
	maxTensors   = 1 << 14
	maxName      = 1 << 10
	maxDims      = 4
	maxAlignment = 1 << 16
	maxElements  = 1 << 40 // of one tensor; keeps products far from overflow
)

// Metadata value types.
const (
	typeU8 = iota
	typeI8
	typeU16
	typeI16
	typeU32
	typeI32
	typeF32
	typeBool
	typeString
	typeArray
	typeU64
	typeI64
	typeF64
)

var typeSize = map[uint32]int{typeU8: 1, typeI8: 1, typeU16: 2, typeI16: 2, typeU32: 4, typeI32: 4,
	typeF32: 4, typeBool: 1, typeU64: 8, typeI64: 8, typeF64: 8}

// gguf is a parsed file. Its slices alias the file's bytes.
type gguf struct {
	meta    map[string]value
	tensors map[string]tensor
}

// value is one metadata value: count elements of one type, one behind the other.
type value struct {
	kind  uint32
	array bool
	count int
	raw   []byte
}

// tensor is one named array of weights; cols is the fastest dimension.
type tensor struct {
	rows, cols int
	kind       kind
	data       []byte
}

// cursor reads the header. The first error sticks and empties the rest.
type cursor struct {
	b   []byte
	off int
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("gguf: at byte %d: %s", c.off, fmt.Sprintf(format, args...))
	}
}

func (c *cursor) take(n uint64) []byte {
	if c.err == nil && n > uint64(len(c.b)-c.off) {
		c.fail("want %d more bytes, file has %d; it is cut short or no GGUF", n, len(c.b)-c.off)
	}
	if c.err != nil {
		return nil
	}
	c.off += int(n)
	return c.b[c.off-int(n) : c.off : c.off]
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count reads a u64 that may be at most limit.
func (c *cursor) count(what string, limit uint64) int {
	n := c.u64()
	if n > limit {
		c.fail("%d %s, at most %d are allowed", n, what, limit)
		return 0
	}
	return int(n)
}

func (c *cursor) name() string {
	return string(c.take(uint64(c.count("bytes in a name", maxName))))
}

// value reads one metadata value without its type.
func (c *cursor) value() value {
	v := value{kind: c.u32(), count: 1}
	if v.kind == typeArray {
		v.array, v.kind = true, c.u32()
		v.count = c.count("array elements", uint64(len(c.b))) // each takes a byte or more
	}
	start := c.off
	switch size, fixed := typeSize[v.kind]; {
	case fixed:
		c.take(uint64(v.count) * uint64(size))
	case v.kind == typeString:
		for i := 0; i < v.count && c.err == nil; i++ {
			c.take(c.u64())
		}
	default:
		c.fail("value type %d, want 0 to 12 and no arrays of arrays", v.kind)
	}
	v.raw = c.b[start:c.off]
	return v
}

// place is what the header says about one tensor.
type place struct {
	name   string
	t      tensor
	offset uint64
}

func (c *cursor) tensor() (p place) {
	p.name = c.name()
	dims := [maxDims]uint64{1, 1, 1, 1}
	n := c.u32()
	if n == 0 || n > maxDims {
		c.fail("tensor %q has %d dimensions, want 1 to %d", p.name, n, maxDims)
		return p
	}
	elements := uint64(1)
	for i := range dims[:n] {
		dims[i] = c.u64()
		if c.err == nil && (dims[i] == 0 || dims[i] > maxElements/elements) {
			c.fail("tensor %q: dimension %d out of range", p.name, dims[i])
			return p
		}
		elements *= max(dims[i], 1)
	}
	p.t = tensor{cols: int(dims[0]), rows: int(elements / max(dims[0], 1)), kind: kind(c.u32())}
	p.offset = c.u64()
	return p
}

// parse reads a whole file.
func parse(file []byte) (*gguf, error) {
	c := &cursor{b: file}
	if m := c.take(4); string(m) != ggufMagic {
		return nil, fmt.Errorf("gguf: file starts with %x, want %q; this is no GGUF file", m, ggufMagic)
	}
	if v := c.u32(); v != 2 && v != 3 {
		c.fail("version %d, want 2 or 3", v)
	}
	tensors, metas := c.count("tensors", maxTensors), c.count("metadata entries", maxMetadata)
	g := &gguf{meta: map[string]value{}, tensors: map[string]tensor{}}
	for i := 0; i < metas && c.err == nil; i++ {
		key := c.name()
		if _, twice := g.meta[key]; twice {
			c.fail("metadata key %q twice", key)
		}
		g.meta[key] = c.value()
	}
	var places []place
	for i := 0; i < tensors && c.err == nil; i++ {
		places = append(places, c.tensor())
	}
	if c.err != nil {
		return nil, c.err
	}
	return g, g.locate(places, file, c.off)
}

// locate cuts each tensor's data out of the file.
func (g *gguf) locate(places []place, file []byte, header int) error {
	align := g.number("general.alignment", 32, 1, maxAlignment)
	if align == 0 || align&(align-1) != 0 {
		return fmt.Errorf("gguf: general.alignment %d, want a power of two up to %d", align, maxAlignment)
	}
	base := uint64((header + align - 1) / align * align)
	for _, p := range places {
		size, err := p.t.kind.bytes(p.t.rows, p.t.cols)
		if err != nil {
			return fmt.Errorf("gguf: tensor %q: %w", p.name, err)
		}
		total := uint64(len(file))
		if base > total || p.offset > total-base || size > total-base-p.offset || p.offset%uint64(align) != 0 {
			return fmt.Errorf("gguf: tensor %q: %d bytes at offset %d do not lie in the file or on the alignment", p.name, size, p.offset)
		}
		if _, twice := g.tensors[p.name]; twice {
			return fmt.Errorf("gguf: tensor %q twice", p.name)
		}
		p.t.data = file[base+p.offset:][:size:size]
		g.tensors[p.name] = p.t
	}
	return nil
}

// integer reads element i of an integer value of any width.
func (v value) integer(i int) (int64, bool) {
	size := typeSize[v.kind]
	if v.kind == typeF32 || v.kind == typeF64 || v.kind == typeString || i >= v.count {
		return 0, false
	}
	var b [8]byte
	copy(b[:], v.raw[i*size:][:size])
	u := binary.LittleEndian.Uint64(b[:])
	if v.kind == typeI8 || v.kind == typeI16 || v.kind == typeI32 {
		shift := 64 - 8*size
		return int64(u) << shift >> shift, true
	}
	return int64(u), u <= math.MaxInt64 || v.kind == typeI64
}

// number returns an integer, fallback if the key is missing, and 0 if the
// value is no integer or outside [low, high]. A fallback of 0 makes the key
// necessary: every caller refuses 0.
func (g *gguf) number(key string, fallback, low, high int) int {
	v, ok := g.meta[key]
	if !ok {
		return fallback
	}
	n, ok := v.integer(0)
	if v.array || !ok || n < int64(low) || n > int64(high) {
		return 0
	}
	return int(n)
}

// float returns a 32-bit number, fallback if the key is missing, NaN if it is
// of another type.
func (g *gguf) float(key string, fallback float32) float32 {
	v, ok := g.meta[key]
	if !ok {
		return fallback
	}
	if v.array || v.kind != typeF32 {
		return float32(math.NaN())
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(v.raw))
}

// text returns a string, empty if there is none.
func (g *gguf) text(key string) string {
	if v := g.meta[key]; v.kind == typeString && !v.array && v.count == 1 {
		return string(v.raw[8:])
	}
	return ""
}

// texts returns an array of strings, nil if there is none.
func (g *gguf) texts(key string) []string {
	v := g.meta[key]
	if v.kind != typeString || !v.array {
		return nil
	}
	out := make([]string, v.count) // each took eight bytes or more of the file
	c := cursor{b: v.raw}
	for i := range out {
		out[i] = string(c.take(c.u64()))
	}
	return out
}
