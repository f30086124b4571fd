package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	facts "github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/measure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// measureOptions are the flags of `cocoon attest measure`.
type measureOptions struct {
	firmware, kernel, initrd, cmdline string
	gpu, debug, fakeTON               bool
	spec, specTree                    string
	events                            []string
	rtmr0                             string
	memory                            uint64
	quote                             string
	json                              bool
}

func measureVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "measure [DIR]", Short: "compute what a machine ought to measure, and its image hash", Args: cobra.MaximumNArgs(1),
		Long: "Compute the registers of an Intel TDX guest from what it is started with. DIR is a release of the network's image: " +
			"OVMF.fd, image.vmlinuz, image.initrd and image.cmdline, to which the words of the network's launcher are added. Flags name single files instead.\n\n" +
			"MRTD, RTMR1 and RTMR2 follow from the files, RTMR3 from the role's specification. RTMR0 does not: it holds QEMU's ACPI tables and " +
			"memory map. Give it with --rtmr0, from a machine that you believe, and the image hash follows.\n\n" +
			"With --quote, each register is compared with a machine's; whether that machine is genuine, `cocoon attest verify` says. Exit code 3 " +
			"means that a register differs.",
		Example: "  cocoon attest measure images/prod --gpu --spec spec-worker --rtmr0 251a7f…3acc\n" +
			"  cocoon attest measure --firmware OVMF.fd\n" +
			"  cocoon attest measure images/prod --gpu --spec-tree d79a7ff7b46ad06b8987e80e81f0c7cb47b47b5903b3f26a7b545865a84a6872 --quote quote.dat",
	}
	var o measureOptions
	f := cmd.Flags()
	f.StringVar(&o.firmware, "firmware", "", "OVMF `file` with TDX metadata")
	f.StringVar(&o.kernel, "kernel", "", "kernel `file`, as given to QEMU")
	f.StringVar(&o.initrd, "initrd", "", "initrd `file`")
	f.StringVar(&o.cmdline, "cmdline", "", "whole kernel command line, instead of that of DIR")
	f.BoolVar(&o.gpu, "gpu", false, "the guest has a GPU; without DIR this changes nothing")
	f.BoolVar(&o.debug, "debug", false, "the guest runs in debug mode, which anyone can look into")
	f.BoolVar(&o.fakeTON, "fake-ton", false, "the guest runs without a blockchain")
	f.StringVar(&o.spec, "spec", "", "`folder` that the guest gets as its role's specification, global.config.json included")
	f.StringVar(&o.specTree, "spec-tree", "", "`hash` of that folder's tree")
	f.StringArrayVar(&o.events, "event", nil, "`text` that the guest extends into RTMR3, instead of the network's; may be repeated")
	f.StringVar(&o.rtmr0, "rtmr0", "", "RTMR0 in hexadecimal `digits`")
	f.Uint64Var(&o.memory, "memory-mib", measure.DefaultMemory>>20, "guest's memory; matters only for a QEMU older than 10.1")
	f.StringVar(&o.quote, "quote", "", "compare with the quote or certificate in this `file`")
	f.BoolVar(&o.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l, done, err := o.launch(args)
		if err != nil {
			return err
		}
		defer done()
		expected, err := l.Expect()
		if err != nil {
			return err
		}
		return o.report(cmd, expected)
	}
	return cmd
}

// Names of files in a release of the image.
const (
	imageFirmware = "OVMF.fd"
	imageKernel   = "image.vmlinuz"
	imageInitrd   = "image.initrd"
	imageCmdline  = "image.cmdline"
)

// maxMeasured bounds files that are read whole.
const maxMeasured = 256 << 20

// launch opens what the flags name. Done closes it.
func (o *measureOptions) launch(args []string) (l *measure.Launch, done func(), err error) {
	l, done = &measure.Launch{Cmdline: o.cmdline, Memory: o.memory << 20}, func() {}
	if len(args) == 1 {
		if err := o.takeRelease(args[0], l); err != nil {
			return nil, nil, err
		}
	}
	if o.firmware+o.kernel == "" {
		return nil, nil, usageError{errors.New("nothing to measure: give DIR, or --firmware or --kernel")}
	}
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{o.firmware, &l.Firmware}, {o.kernel, &l.Kernel}} {
		if f.name == "" {
			continue
		}
		if *f.to, err = readWhole(f.name); err != nil {
			return nil, nil, err
		}
	}
	if err := o.logs(l); err != nil {
		return nil, nil, err
	}
	if o.initrd != "" {
		f, err := os.Open(o.initrd)
		if err != nil {
			return nil, nil, err
		}
		l.Initrd, done = f, func() { f.Close() }
	}
	return l, done, nil
}

func readWhole(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMeasured+1))
	if err == nil && len(b) > maxMeasured {
		err = fmt.Errorf("%s: more than %d bytes", name, maxMeasured)
	}
	return b, err
}

// takeRelease fills in what the flags leave open from a release's folder. The
// words behind its command line are those of the network's launcher.
func (o *measureOptions) takeRelease(dir string, l *measure.Launch) error {
	for _, f := range []struct {
		flag *string
		name string
	}{{&o.firmware, imageFirmware}, {&o.kernel, imageKernel}, {&o.initrd, imageInitrd}} {
		if *f.flag == "" {
			*f.flag = filepath.Join(dir, f.name)
		}
	}
	if o.cmdline != "" {
		return nil
	}
	line, err := readWhole(filepath.Join(dir, imageCmdline))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; give --cmdline, or another DIR", err)
	}
	words := []string{strings.TrimSpace(string(line))}
	for _, w := range []struct {
		word string
		said bool
	}{{"cocoon_debug", o.debug}, {"cocoon_fake_ton", o.fakeTON}, {"cocoon_gpu", o.gpu}, {"modprobe.blacklist=nvidia", !o.gpu}} {
		if w.said {
			words = append(words, w.word)
		}
	}
	l.Cmdline = strings.Join(words, " ")
	return err
}

// logs says what is extended while the guest runs.
func (o *measureOptions) logs(l *measure.Launch) error {
	if o.rtmr0 != "" {
		r, err := measure.ParseRegister(o.rtmr0)
		if err != nil {
			return usageError{fmt.Errorf("--rtmr0: %w", err)}
		}
		l.RTMR0 = &r
	}
	tree, given := o.specTree, 0
	for _, said := range []bool{o.spec != "", o.specTree != "", len(o.events) > 0} {
		if said {
			given++
		}
	}
	switch {
	case given > 1:
		return usageError{errors.New("--spec, --spec-tree and --event exclude each other")}
	case len(o.events) > 0:
		l.Events = o.events
		return nil
	case o.spec != "":
		var err error
		if tree, err = measure.SpecTree(o.spec); err != nil {
			return err
		}
	case tree == "":
		return nil
	}
	if _, err := facts.ParseHash(tree); err != nil {
		return usageError{fmt.Errorf("--spec-tree: %w", err)}
	}
	l.Events = measure.BootEvents(tree, o.debug, false)
	if o.debug {
		l.OtherEvents = [][]string{measure.BootEvents(tree, true, true)}
	}
	return nil
}

// measured is what the verb prints.
type measured struct {
	ImageHash *facts.Hash      `json:"image_hash,omitempty"`
	Unknown   []string         `json:"unknown,omitempty"`
	Registers measure.Expected `json:"registers"`
	Quote     *compared        `json:"quote,omitempty"`
}

type compared struct {
	ImageHash facts.Hash   `json:"image_hash"`
	Checks    facts.Checks `json:"checks"`
}

func (o *measureOptions) report(cmd *cobra.Command, expected measure.Expected) error {
	m := &measured{Registers: expected, Unknown: expected.Unknown()}
	if hash, ok := expected.ImageHash(); ok {
		m.ImageHash = &hash
	}
	var refused error
	if o.quote != "" {
		machine, err := quotedRegisters(cmd, o.quote)
		if err != nil {
			return err
		}
		m.Quote = &compared{measure.ImageHash(machine), expected.Compare(machine)}
		if bad, failed := m.Quote.Checks.Failed(); failed {
			refused = refusedError{fmt.Errorf("%s: %s is %s, want %s", o.quote, bad.Name, bad.Got, bad.Want)}
		}
	}
	if o.json {
		if err := writeJSON(cmd.OutOrStdout(), m); err != nil {
			return err
		}
		return refused
	}
	if err := m.write(cmd.OutOrStdout()); err != nil {
		return err
	}
	return refused
}

// quotedRegisters are what a machine states, judged or not.
func quotedRegisters(cmd *cobra.Command, name string) (r [8]measure.Register, err error) {
	e, err := readEvidence(cmd.Context(), name)
	if err != nil {
		return r, err
	}
	q, err := tdx.Parse(e.Raw)
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	b := &q.Body
	return [8]measure.Register{b.MRTD, b.MRConfigID, b.MROwner, b.MROwnerConfig, b.RTMR[0], b.RTMR[1], b.RTMR[2], b.RTMR[3]}, nil
}

func (m *measured) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range m.Registers {
		value := v.Value.String()
		switch {
		case !v.Known:
			value = "unknown"
		case v.Value == measure.Register{}:
			value = "zeros"
		}
		fmt.Fprintf(tw, "%s\t%s\n\t%s\n", v.Name, value, v.How)
		for _, other := range v.Others {
			fmt.Fprintf(tw, "\tor %s\n\t   if %s\n", other.Value, other.When)
		}
	}
	if m.ImageHash != nil {
		fmt.Fprintf(tw, "image hash\t%s\n", m.ImageHash)
	} else {
		fmt.Fprintf(tw, "image hash\tunknown without %s\n", strings.Join(m.Unknown, ", "))
	}
	if m.Quote != nil {
		fmt.Fprintf(tw, "\nquote\t%s\n", m.Quote.ImageHash)
		for _, c := range m.Quote.Checks {
			word := "match"
			if !c.OK {
				word = "DIFFERS: " + c.Got
			} else if c.Got != c.Want {
				word = "match: " + c.Got
			}
			fmt.Fprintf(tw, "%s\t%s\n", c.Name, word)
		}
		for _, name := range m.Unknown {
			fmt.Fprintf(tw, "%s\tnot compared: nothing is expected of it\n", name)
		}
	}
	return tw.Flush()
}
