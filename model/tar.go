package model

import (
	"fmt"
	"path"
	"strconv"
)

// The archive is a POSIX tar as GNU tar writes it with the options of
// roles.md section 10: times 0, owner 0 without names, and an extended header
// only for what the plain one cannot hold. Package archive/tar writes other
// bytes for the same files, and the hash is of bytes.
const (
	record    = 512
	tarName   = 100         // bytes of a name in the plain header
	tarSize   = 1<<33 - 1   // eleven octal digits
	tarPad    = 20 * record // an archive ends on a full record of GNU tar
	typeFile  = '0'
	typeDir   = '5'
	typeExtra = 'x'
)

// headers are all that comes before an entry's content. The name of a folder
// ends in a slash.
func headers(name string, mode uint32, size int64) []byte {
	var extra []byte
	if len(name) > tarName || !ascii(name) {
		extra = appendExtra(extra, "path", name)
	}
	field := size
	if size > tarSize {
		extra, field = appendExtra(extra, "size", strconv.FormatInt(size, 10)), 0
	}
	var out []byte
	if extra != nil {
		dir, base := path.Split(path.Clean(name))
		out = append(out, header("./"+dir+"PaxHeaders/"+base, typeExtra, 0o644, int64(len(extra)))...)
		out = pad(append(out, extra...), record)
	}
	kind := byte(typeFile)
	if name[len(name)-1] == '/' {
		kind = typeDir
	}
	return append(out, header(name, kind, mode, field)...)
}

// header is one block of the POSIX format (ustar). A name that is too long is
// cut: the extended header has it.
func header(name string, kind byte, mode uint32, size int64) []byte {
	b := make([]byte, record)
	copy(b[:tarName], name)
	octal(b[100:], 7, int64(mode))
	octal(b[108:], 7, 0)     // owner
	octal(b[116:], 7, 0)     // group
	octal(b[124:], 11, size) //
	octal(b[136:], 11, 0)    // modified
	copy(b[148:], "        ")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	if kind != typeExtra { // GNU tar gives its extended headers no device
		octal(b[329:], 7, 0)
		octal(b[337:], 7, 0)
	}
	sum := int64(0)
	for _, c := range b {
		sum += int64(c)
	}
	octal(b[148:], 6, sum)
	return b
}

func octal(b []byte, digits int, v int64) {
	copy(b, fmt.Sprintf("%0*o", digits, v))
	b[digits] = 0
}

// appendExtra adds "length key=value\n", whose length counts itself.
func appendExtra(b []byte, key, value string) []byte {
	rest := " " + key + "=" + value + "\n"
	n := len(rest)
	for n != len(rest)+len(strconv.Itoa(n)) {
		n = len(rest) + len(strconv.Itoa(n))
	}
	return append(b, strconv.Itoa(n)+rest...)
}

func pad(b []byte, to int) []byte {
	return append(b, make([]byte, (to-len(b)%to)%to)...)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] > 0x7f {
			return false
		}
	}
	return true
}

// tarMode gives group and others what the owner may do, but for writing.
func tarMode(perm uint32) uint32 {
	u := perm >> 6 & 7
	return (perm | u<<3 | u) &^ 0o022
}
