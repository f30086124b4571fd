package measure

import (
	"errors"
	"fmt"
	"io"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Launch says how a guest is started.
type Launch struct {
	// Firmware is OVMF with TDX metadata; nil leaves MRTD unknown.
	Firmware []byte
	// Kernel is the EFI executable that QEMU gets; nil leaves RTMR1 unknown.
	Kernel []byte
	// Initrd is the initial RAM disk; nil is none.
	Initrd io.Reader
	// Cmdline is QEMU's -append; without Kernel, RTMR2 is unknown.
	Cmdline string
	// Memory is the guest's in bytes; 0 means the network's 100 GiB. Only
	// kernels that QEMU has patched depend on it.
	Memory uint64
	// Events are the texts extended into RTMR3; nil leaves it unknown, an
	// empty list leaves it zero.
	Events []string
	// OtherEvents are further lists that RTMR3 may come from.
	OtherEvents [][]string
	// RTMR0 is known from a log or a machine that was believed; nil leaves it
	// unknown.
	RTMR0 *Register
	// MRConfigID, MROwner and MROwnerConfig are set by whoever starts the
	// guest; zeros, as QEMU does it, if nothing else is said.
	MRConfigID, MROwner, MROwnerConfig Register
}

// DefaultMemory is what the network's guests have.
const DefaultMemory = 100 << 30

// Value is what one register is expected to hold.
type Value struct {
	Name string `json:"name"`
	// Value is the register, if Known.
	Value Register `json:"value"`
	Known bool     `json:"known"`
	// How says how it was computed, or why it cannot be.
	How string `json:"how"`
	// Others are what it holds if the guest is started by other versions of
	// the same programs.
	Others []Other `json:"others,omitempty"`
}

// Other is another value of a register, and when it has that.
type Other struct {
	Value Register `json:"value"`
	When  string   `json:"when"`
}

// Expected are the registers in the order of Names.
type Expected []Value

// Expect computes what can be computed. It reads Initrd to its end.
func (l *Launch) Expect() (Expected, error) {
	var out Expected
	var problems []error
	add := func(v Value, err error) {
		out = append(out, v)
		if err != nil {
			problems = append(problems, err)
		}
	}
	add(l.mrtd())
	for i, r := range []Register{l.MRConfigID, l.MROwner, l.MROwnerConfig} {
		how := "as given"
		if r == (Register{}) {
			how = "zeros, QEMU's default"
		}
		add(known(Names[1+i], r, how), nil)
	}
	add(l.rtmr0(), nil)
	kernel, command, err := l.boot()
	add(kernel, err)
	add(command, nil)
	add(l.rtmr3())
	return out, errors.Join(problems...)
}

func known(name string, r Register, how string) Value {
	return Value{Name: name, Value: r, Known: true, How: how}
}

func unknown(name, why string) Value { return Value{Name: name, How: why} }

func (l *Launch) mrtd() (Value, error) {
	if l.Firmware == nil {
		return unknown(MRTD, "no firmware given"), nil
	}
	f, err := ParseFirmware(l.Firmware)
	if err != nil {
		return unknown(MRTD, "no usable firmware"), err
	}
	v := known(MRTD, f.MRTD(PageByPage), "exact: the firmware's pages, in the order of Linux 6.16 and later")
	v.Others = []Other{{f.MRTD(SectionBySection), "a host kernel from before TDX came to Linux adds all pages first"}}
	return v, nil
}

func (l *Launch) rtmr0() Value {
	if l.RTMR0 != nil {
		return known(RTMR0, *l.RTMR0, "as given")
	}
	return unknown(RTMR0, "not in the files: QEMU's memory map (TD HOB) and ACPI tables, boot options and firmware variables")
}

func (l *Launch) boot() (kernel, command Value, err error) {
	kernel, command = unknown(RTMR1, "no kernel given"), unknown(RTMR2, "no kernel given")
	var initrd *Register
	var size int64
	if l.Initrd != nil {
		var digest Register
		if digest, size, err = digestFile(l.Initrd); err != nil {
			return kernel, command, fmt.Errorf("initrd: %w", err)
		}
		if size > 0 { // the firmware does not tell an empty one from none
			initrd = &digest
		}
	}
	if l.Kernel == nil {
		return kernel, command, nil
	}
	if err := checkCommandLine(l.Cmdline); err != nil {
		return kernel, command, err
	}
	digest, err := Authenticode(l.Kernel)
	if err != nil {
		return kernel, command, err
	}
	kernel = known(RTMR1, kernelLog(digest), "exact for a kernel given to QEMU 10.1 or later: its digest and the firmware's events")
	memory := l.Memory
	if memory == 0 {
		memory = DefaultMemory
	}
	if patched, err := patchKernel(l.Kernel, size, memory); err == nil {
		if digest, err := Authenticode(patched); err == nil {
			kernel.Others = []Other{{kernelLog(digest), fmt.Sprintf("an older QEMU writes into the kernel's header (q35, %d MiB)", memory>>20)}}
		}
	}
	command = known(RTMR2, commandLog(l.Cmdline, initrd, InitrdLast), "exact for OVMF up to 2025.05: the command line and the initrd")
	if initrd != nil {
		command.Others = []Other{{commandLog(l.Cmdline, initrd, InitrdFirst), "OVMF 2025.08 and later puts initrd= first"}}
	} else {
		command.How = "exact: the command line, and no initrd"
	}
	return kernel, command, nil
}

func (l *Launch) rtmr3() (Value, error) {
	if l.Events == nil {
		return unknown(RTMR3, "no events given: what the image extends while it starts"), nil
	}
	r, err := TextEvents(l.Events...)
	if err != nil {
		return unknown(RTMR3, "no usable events"), err
	}
	v := known(RTMR3, r, fmt.Sprintf("exact if the guest extends %d events and nothing else: %q", len(l.Events), l.Events))
	for _, events := range l.OtherEvents {
		other, err := TextEvents(events...)
		if err != nil {
			return v, err
		}
		v.Others = append(v.Others, Other{other, fmt.Sprintf("the events are %q", events)})
	}
	return v, nil
}

// ImageHash is the hash of the registers, if all are known.
func (e Expected) ImageHash() (evidence.Hash, bool) {
	var registers [8]Register
	for i, v := range e {
		if !v.Known {
			return evidence.Hash{}, false
		}
		registers[i] = v.Value
	}
	return ImageHash(registers), len(e) == len(registers)
}

// Unknown names the registers without which there is no image hash.
func (e Expected) Unknown() (names []string) {
	for _, v := range e {
		if !v.Known {
			names = append(names, v.Name)
		}
	}
	return names
}

// Compare holds the registers of a machine, in the order of Names, against
// what is expected. A check is of one register; one that nothing is expected
// of is left out. Whether the machine is genuine is not asked here.
func (e Expected) Compare(machine [8]Register) evidence.Checks {
	var checks evidence.Checks
	for i, v := range e {
		if !v.Known {
			continue
		}
		got, ok := machine[i].String(), machine[i] == v.Value
		for _, other := range v.Others {
			if !ok && other.Value == machine[i] {
				got, ok = got+": "+other.When, true
			}
		}
		checks.Add(v.Name, ok, got, v.Value.String())
	}
	return checks
}
