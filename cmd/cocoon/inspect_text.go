package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// eventLog is what a guest says it measured, and whether that is all.
type eventLog struct {
	// Explains is for each RTMR whether the log leads to its value.
	Explains [4]bool `json:"explains"`
	Events   []event `json:"events"`
}

type event struct {
	Register string `json:"register"` // rtmr0 to rtmr3, or mrtd
	Type     string `json:"type"`
	Digest   string `json:"digest"`
	Text     string `json:"text,omitempty"`
	Measured bool   `json:"measured"`
	Proven   bool   `json:"proven"` // the digest is that of the text's bytes
}

// explain reads a log and compares it with the registers.
func (s *statement) explain(file string) error {
	if s.measurement == nil || s.Kind != attest.KindTDX {
		return errors.New("an event log explains the registers of a TDX quote, and this is none")
	}
	log, err := tdx.LoadEventLog(file)
	if err != nil {
		return err
	}
	s.EventLog = &eventLog{Explains: log.Explains(s.rtmr)}
	for _, e := range log {
		register := "mrtd"
		if e.Register >= 0 {
			register = fmt.Sprintf("rtmr%d", e.Register)
		}
		s.EventLog.Events = append(s.EventLog.Events, event{register, e.TypeName(), hex.EncodeToString(e.Digest[:]), e.Text(), e.Measured(), e.Proven()})
	}
	return nil
}

// kindWords say what each kind of evidence is worth at best.
var kindWords = map[attest.Kind]string{
	attest.KindNone:    "no evidence: the peer proves only that it has its key",
	attest.KindFakeTDX: "a mere hash of the key, which anyone can make",
	attest.KindFakeSNP: "a mere hash of the key in a report of zeros, which anyone can make",
	attest.KindTDX:     "an Intel TDX quote, not verified here",
	attest.KindSEVSNP:  "an AMD SEV-SNP report, not verified here",
	attest.KindNVIDIA:  "NVIDIA's evidence of GPUs, not verified here",
}

func (s *statement) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range s.lines() {
		text := line[1]
		switch {
		case len(text) >= 64 && strings.Trim(text, "0") == "":
			text = "zeros"
		case len(text) == 128:
			text = text[:64] + "\n\t" + text[64:]
		}
		fmt.Fprintf(tw, "%s\t%s\n", line[0], text)
	}
	if err := tw.Flush(); err != nil || s.EventLog == nil {
		return err
	}
	return s.EventLog.write(w)
}

func (s *statement) lines() (out [][2]string) {
	add := func(name, text string) {
		if text != "" {
			out = append(out, [2]string{name, text})
		}
	}
	add("kind", string(s.Kind)+": "+kindWords[s.Kind])
	if c := s.Certificate; c != nil {
		add("key", c.Key)
		add("certificate", "valid from "+c.NotBefore.Format(time.RFC3339)+" to "+c.NotAfter.Format(time.RFC3339))
		if s.Kind != attest.KindNone {
			add("bound to key", yesNo(c.Bound))
		}
	}
	add("platform", s.Platform)
	if m := s.measurement; m != nil {
		out = append(out, [][2]string{
			{"image hash", m.ImageHash.String()}, {"debug", yesNo(m.Debug)}, {"MRTD", m.MRTD},
			{"RTMR0", m.RTMR[0]}, {"RTMR1", m.RTMR[1]}, {"RTMR2", m.RTMR[2]}, {"RTMR3", m.RTMR[3]},
			{"MRCONFIGID", m.MRConfigID}, {"MROWNER", m.MROwner}, {"MROWNERCONFIG", m.MROwnerConf}, {"report data", m.ReportData},
			{"TD attributes", strings.TrimSpace(m.TDAttributes + " " + strings.Join(m.Attributes, ", "))}, {"XFAM", strings.TrimSpace(m.XFAM + " " + strings.Join(m.Features, ", "))},
			{"MRSEAM", m.MRSeam}, {"TCB SVN", m.TCBSVN},
		}...)
	}
	for _, name := range s.names {
		add(strings.ReplaceAll(name, "_", " "), s.Registers[name])
	}
	return out
}

func (l *eventLog) write(w io.Writer) error {
	fmt.Fprintln(w)
	for i, ok := range l.Explains {
		word := "the log does not lead to its value"
		if ok {
			word = "is what the log leads to"
		}
		fmt.Fprintf(w, "RTMR%d %s\n", i, word)
	}
	fmt.Fprintln(w, "\nevents (what a digest stands for is proven only where it says so)")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range l.Events {
		proven := ""
		switch {
		case !e.Measured:
			proven = "remark"
		case e.Proven:
			proven = "proven"
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\n", e.Register, e.Type, e.Digest[:16]+"…", proven, e.Text)
	}
	return tw.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
