package snp_test

import (
	"testing"

	"github.com/opencocoon/cocoon/attest/snp"
)

func TestParts(t *testing.T) {
	raw := snp.TCB{1, 2, 3, 4, 5, 6, 7, 8}
	if got, want := raw.Parts(snp.Genoa), (snp.Parts{Bootloader: 1, TEE: 2, SNP: 7, Microcode: 8}); got != want {
		t.Errorf("Genoa: %+v, want %+v", got, want)
	}
	if got, want := raw.Parts(snp.Turin), (snp.Parts{FMC: 1, Bootloader: 2, TEE: 3, SNP: 4, Microcode: 8}); got != want {
		t.Errorf("Turin: %+v, want %+v", got, want)
	}
	for _, p := range snp.Products {
		a := raw.Parts(p)
		if back := a.TCB(p).Parts(p); back != a {
			t.Errorf("%s: %+v and back is %+v", p, a, back)
		}
	}
}

// A TCB reaches another only in every part: more in one makes up for nothing.
func TestReaches(t *testing.T) {
	least := snp.Parts{FMC: 1, Bootloader: 1, TEE: 1, SNP: 1, Microcode: 1}
	if !least.Reaches(least) || !(snp.Parts{FMC: 9, Bootloader: 9, TEE: 9, SNP: 9, Microcode: 9}).Reaches(least) {
		t.Error("equal or more does not reach")
	}
	for i, lower := range []snp.Parts{
		{FMC: 0, Bootloader: 9, TEE: 9, SNP: 9, Microcode: 9}, {FMC: 9, Bootloader: 0, TEE: 9, SNP: 9, Microcode: 9}, {FMC: 9, Bootloader: 9, TEE: 0, SNP: 9, Microcode: 9},
		{FMC: 9, Bootloader: 9, TEE: 9, SNP: 0, Microcode: 9}, {FMC: 9, Bootloader: 9, TEE: 9, SNP: 9, Microcode: 0},
	} {
		if lower.Reaches(least) {
			t.Errorf("part %d below the least reaches it", i)
		}
	}
}

func TestProcessors(t *testing.T) {
	for cpu, want := range map[snp.CPU]snp.Product{
		{Family: 0x19, Model: 0x00}: snp.Milan, {Family: 0x19, Model: 0x01}: snp.Milan, {Family: 0x19, Model: 0x0f}: snp.Milan,
		{Family: 0x19, Model: 0x10}: snp.Genoa, {Family: 0x19, Model: 0x11}: snp.Genoa, {Family: 0x19, Model: 0xa0}: snp.Genoa, {Family: 0x19, Model: 0xaf}: snp.Genoa,
		{Family: 0x1a, Model: 0x02}: snp.Turin, {Family: 0x1a, Model: 0x11}: snp.Turin,
		{Family: 0x19, Model: 0x20}: "", {Family: 0x19, Model: 0xb0}: "", {Family: 0x1a, Model: 0x12}: "", {Family: 0x1a, Model: 0x50}: "", {Family: 0x17, Model: 0x31}: "", {}: "",
	} {
		if got, err := cpu.Product(); got != want || (err == nil) != (want != "") {
			t.Errorf("family %#x model %#x is %q, %v, want %q", cpu.Family, cpu.Model, got, err, want)
		}
	}
}

func TestParseMinimum(t *testing.T) {
	for line, want := range map[string]snp.Parts{
		"Milan:bootloader=4,snp=24,microcode=219": {Bootloader: 4, SNP: 24, Microcode: 219},
		"Genoa:snp=0x17":    {SNP: 0x17},
		"Turin:fmc=1,tee=2": {FMC: 1, TEE: 2},
	} {
		if p, got, err := snp.ParseMinimum(line); err != nil || got != want || string(p) != line[:5] {
			t.Errorf("%s: %s %+v, %v", line, p, got, err)
		}
	}
	for _, line := range []string{"", "Milan", "Milan:", "Rome:snp=1", "milan:snp=1", "Milan:snp", "Milan:snp=256", "Milan:snp=-1", "Milan:fmc=1", "Milan:snp=1,snp=2", "Milan:ucode=1", "Milan:snp=1,"} {
		if _, _, err := snp.ParseMinimum(line); err == nil {
			t.Errorf("%q: accepted", line)
		}
	}
}
