package snp

import (
	"fmt"
	"strconv"
	"strings"
)

// Product is a generation of processors, by the name of the root that vouches
// for it.
type Product string

// The products. Bergamo and Siena are Genoa's: they share its roots.
const (
	Milan Product = "Milan"
	Genoa Product = "Genoa"
	Turin Product = "Turin"
)

// Products are all of them, oldest first.
var Products = []Product{Milan, Genoa, Turin}

// productNamed finds the product in the name that a certificate gives. Some
// add a stepping, as in Milan-B0, which says nothing that matters here.
func productNamed(name string) (Product, error) {
	line, _, _ := strings.Cut(name, "-")
	switch line {
	case "Milan", "Genoa", "Turin":
		return Product(line), nil
	case "Bergamo", "Siena":
		return Genoa, nil
	}
	return "", fmt.Errorf("snp: unknown product %.20q", name)
}

// Product finds the product of a processor, which reports name since version
// 3 (AMD's processor programming references, by family and model).
func (c CPU) Product() (Product, error) {
	switch {
	case c.Family == 0x19 && c.Model < 0x10:
		return Milan, nil
	case c.Family == 0x19 && (c.Model < 0x20 || c.Model >= 0xa0 && c.Model < 0xb0):
		return Genoa, nil
	case c.Family == 0x1a && c.Model <= 0x11:
		return Turin, nil
	}
	return "", fmt.Errorf("snp: unknown processor, family %#x model %#x", c.Family, c.Model)
}

// TCB is the security version of a platform's firmware as reports carry it.
// What the bytes mean depends on the product (56860, TCB_VERSION):
//
//	          0     1     2     3     4  5  6     7
//	Milan,    boot  tee   -     -     -  -  snp   microcode
//	Genoa
//	Turin     fmc   boot  tee   snp   -  -  -     microcode
type TCB [8]byte

// Parts are the components of a TCB, or of the least that one must be. FMC is
// Turin's alone.
type Parts struct {
	FMC        uint8 `json:"fmc,omitempty"`
	Bootloader uint8 `json:"bootloader"`
	TEE        uint8 `json:"tee"`
	SNP        uint8 `json:"snp"`
	Microcode  uint8 `json:"microcode"`
}

// Parts takes a TCB of a product apart.
func (t TCB) Parts(p Product) Parts {
	if p == Turin {
		return Parts{t[0], t[1], t[2], t[3], t[7]}
	}
	return Parts{0, t[0], t[1], t[6], t[7]}
}

// reserved are the bytes of a product's TCB that mean nothing.
func (t TCB) reserved(p Product) []byte {
	if p == Turin {
		return t[4:7]
	}
	return t[2:6]
}

// TCB is the inverse of TCB.Parts.
func (a Parts) TCB(p Product) TCB {
	if p == Turin {
		return TCB{a.FMC, a.Bootloader, a.TEE, a.SNP, 7: a.Microcode}
	}
	return TCB{a.Bootloader, a.TEE, 6: a.SNP, 7: a.Microcode}
}

// Reaches tells whether no part is below least's.
func (a Parts) Reaches(least Parts) bool {
	return a.FMC >= least.FMC && a.Bootloader >= least.Bootloader && a.TEE >= least.TEE && a.SNP >= least.SNP && a.Microcode >= least.Microcode
}

// String is the parts in the order of the firmware's stages.
func (a Parts) String() string {
	s := fmt.Sprintf("bootloader %d, tee %d, snp %d, microcode %d", a.Bootloader, a.TEE, a.SNP, a.Microcode)
	if a.FMC != 0 {
		s = fmt.Sprintf("fmc %d, ", a.FMC) + s
	}
	return s
}

// ParseMinimum reads one line of a policy's Minimum, such as
// "Milan:bootloader=4,snp=24,microcode=219". A part that is not named may be
// anything; one product needs one line.
func ParseMinimum(line string) (Product, Parts, error) {
	name, list, _ := strings.Cut(line, ":")
	p := Product(name)
	if Root(p) == nil {
		return "", Parts{}, fmt.Errorf("snp: minimum %q: want Milan, Genoa or Turin before a colon", line)
	}
	var a Parts
	parts := map[string]*uint8{"fmc": &a.FMC, "bootloader": &a.Bootloader, "tee": &a.TEE, "snp": &a.SNP, "microcode": &a.Microcode}
	if p != Turin {
		delete(parts, "fmc")
	}
	for _, item := range strings.Split(list, ",") {
		part, value, _ := strings.Cut(item, "=")
		n, err := strconv.ParseUint(value, 0, 8)
		if err != nil || parts[part] == nil {
			return "", Parts{}, fmt.Errorf("snp: minimum %q: %q is not a part of %s with a number to 255, or is there twice", line, item, p)
		}
		*parts[part] = uint8(n)
		delete(parts, part)
	}
	return p, a, nil
}
