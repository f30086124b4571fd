package attest_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

func openProven(t *testing.T, file string) *attest.Proven {
	t.Helper()
	p, err := attest.OpenProven(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A machine that proved itself once cannot be shown as one that does not know
// how, not by another process of this node either; another machine, another
// image and a machine that only tried still can.
func TestProvenMachines(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "proven")
	data := [64]byte{1}
	p := &attest.Policy{AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a}), Proven: openProven(t, file)}
	judge := func(m attest.Platform, s *attest.Session) (*attest.Verdict, error) {
		t.Helper()
		return p.JudgeConnection(t.Context(), attest.Quoted(quote(t, m, key)), key, s, now)
	}
	proof := func(m attest.Platform) *attest.Session {
		q, err := m.Quote(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return &attest.Session{Evidence: q, ReportData: data}
	}
	machine, other := a.Machine("x"), a.Machine("y")

	if v, err := judge(machine, &attest.Session{Evidence: proof(machine).Evidence}); err == nil {
		t.Fatalf("a proof for another connection was accepted: %+v", v.Checks)
	}
	if _, err := judge(machine, nil); err != nil {
		t.Errorf("a machine that only tried: %v", err)
	}
	old, err := judge(machine, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judge(machine, proof(machine)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		v, err := judge(machine, nil)
		mustRefuse(t, v, err, attest.CheckSession)
		if c, _ := v.Failed(); !strings.Contains(c.Want, "2030-05-06") {
			t.Errorf("wants %q, want the day on which it was proven", c.Want)
		}
		v, err = p.Rejudge(t.Context(), old, attest.Quoted(quote(t, machine, key)), key, nil, now)
		mustRefuse(t, v, err, attest.CheckSession)
		if _, err := judge(machine, proof(machine)); err != nil {
			t.Errorf("with a proof: %v", err)
		}
		if _, err := judge(other, nil); err != nil {
			t.Errorf("another image: %v", err)
		}
		p.Proven = openProven(t, file)
	}
	// An operator deletes the line.
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Proven = openProven(t, file)
	if _, err := judge(machine, nil); err != nil {
		t.Errorf("after its line was deleted: %v", err)
	}
}

// Fakes name no machine, and where nobody need prove anything a thief is
// merely somebody who proves nothing.
func TestProvenIsForMachines(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Now()
	file := filepath.Join(t.TempDir(), "proven")
	data := [64]byte{1}
	for range 2 {
		p := &attest.Policy{AnyImage: true, AllowFake: true, Proven: openProven(t, file)}
		fake, _ := insecure.Fake{}.Quote(t.Context(), data)
		if _, err := p.JudgeConnection(t.Context(), attest.Quoted(quote(t, insecure.Fake{}, key)), key, &attest.Session{Evidence: fake, ReportData: data}, now); err != nil {
			t.Fatal(err)
		}
		if _, err := p.JudgeConnection(t.Context(), attest.Quoted(quote(t, insecure.Fake{}, key)), key, nil, now); err != nil {
			t.Errorf("a fake after another: %v", err)
		}
	}
	p := &attest.Policy{AnyImage: true, AllowNone: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a}), Proven: openProven(t, "")}
	made, _ := a.Machine("x").Quote(t.Context(), data)
	shown := attest.Quoted(quote(t, a.Machine("x"), key))
	if v, err := p.JudgeConnection(t.Context(), shown, key, &attest.Session{Evidence: made, ReportData: data}, now); err != nil || v.Level != attest.LevelImage && v.Kind != attest.KindTDX {
		t.Fatalf("%v, %+v", err, v)
	}
	if v, err := p.JudgeConnection(t.Context(), shown, key, nil, now); err != nil || v.Kind != attest.KindNone || v.Level != attest.LevelNone {
		t.Errorf("a thief where none is needed: %v, kind %s, level %s", err, v.Kind, v.Level.Name())
	}
}

// A file with something else in it is refused with the line, and the number of
// machines in it is bounded.
func TestProvenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proven")
	for _, text := range []string{"x\n", "p image\n", "p image yesterday\n", "p image 2030-01-01 more\n"} {
		if err := os.WriteFile(file, []byte("p image 2030-01-01\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := attest.OpenProven(file, nil); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v, want an error about line 2", text, err)
		}
	}
	if _, err := attest.OpenProven(t.TempDir(), nil); err == nil {
		t.Error("a directory was read")
	}
	var full strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&full, "p%d %064x 2029-01-01\n", i, i)
	}
	if err := os.WriteFile(file, []byte(full.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.OpenProven(file, nil); err == nil {
		t.Error("a file of 5000 machines was read, want at most 4096")
	}
	lines := slices.Collect(strings.Lines(full.String()))[:4096]
	lines[7] = strings.Replace(lines[7], "2029", "2028", 1)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	a, key, data := authority(t), newKey(t), [64]byte{1}
	p := &attest.Policy{AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a}), Proven: openProven(t, file)}
	made, err := a.Machine("x").Quote(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.JudgeConnection(t.Context(), attest.Quoted(quote(t, a.Machine("x"), key)), key, &attest.Session{Evidence: made, ReportData: data}, time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(file)
	if err != nil || strings.Count(string(now), "\n") != 4096 || strings.Contains(string(now), lines[7]) {
		t.Errorf("one more than fits: %d lines, %v; want 4096, without the oldest", strings.Count(string(now), "\n"), err)
	}
}
