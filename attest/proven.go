package attest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/atomicfile"
)

// maxProven bounds the machines that a [Proven] remembers; the one that proved
// itself longest ago goes first.
const maxProven = 4096

// Proven remembers which machines, running which image, have proved themselves
// for a connection. They know how, so whoever shows their certificate's
// evidence and says that he does not has stolen the key. The nil *Proven
// remembers nothing. Its methods may be called from several goroutines.
type Proven struct {
	file string
	log  *slog.Logger

	mu sync.Mutex
	at map[provenMachine]time.Time // when last, to the day
}

type provenMachine struct{ platform, image string }

// OpenProven reads what earlier runs remembered, from a file of lines of
// platform, image and date; a missing one is empty, and without a name nothing
// is kept. A line may be deleted to let a machine forget that it ever knew.
func OpenProven(file string, log *slog.Logger) (*Proven, error) {
	p := &Proven{file: file, log: log, at: make(map[provenMachine]time.Time)}
	if file == "" {
		return p, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	for n, line := range slices.Collect(strings.Lines(string(b))) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("%s, line %d: want platform, image and date; correct it, or delete the line to forget that machine", file, n+1)
		}
		at, err := time.Parse(time.DateOnly, f[2])
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, n+1, err)
		}
		p.at[provenMachine{f[0], f[1]}] = at
	}
	if len(p.at) > maxProven {
		return nil, fmt.Errorf("%s: %d machines, want at most %d; delete those that are gone", file, len(p.at), maxProven)
	}
	return p, nil
}

// since is when the machine of a verdict last proved itself, zero if never. A
// verdict that names no machine has none.
func (p *Proven) since(v *Verdict) time.Time {
	if p == nil {
		return time.Time{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[provenMachine{v.Platform, v.ImageHash.String()}]
}

// add remembers the machine of a verdict that proved itself.
func (p *Proven) add(v *Verdict, now time.Time) {
	if p == nil || v.Platform == "" || strings.ContainsFunc(v.Platform, func(r rune) bool { return r <= ' ' }) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m, day := provenMachine{v.Platform, v.ImageHash.String()}, now.UTC().Truncate(24*time.Hour)
	if !p.at[m].Before(day) {
		return
	}
	p.at[m] = day
	if len(p.at) > maxProven {
		oldest := m
		for other, at := range p.at {
			if at.Before(p.at[oldest]) {
				oldest = other
			}
		}
		delete(p.at, oldest)
	}
	if p.file == "" {
		return
	}
	if err := atomicfile.Replace(p.file, p.lines(), 0o600); err != nil {
		p.log.Error("machines that proved themselves are remembered until the end of this process only", "err", err)
	}
}

func (p *Proven) lines() []byte {
	var b bytes.Buffer
	for m, at := range p.at {
		fmt.Fprintf(&b, "%s %s %s\n", m.platform, m.image, at.Format(time.DateOnly))
	}
	lines := slices.Collect(bytes.Lines(b.Bytes()))
	slices.SortFunc(lines, bytes.Compare)
	return bytes.Join(lines, nil)
}
