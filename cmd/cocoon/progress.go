package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress tells people how far something is that takes long. What is done
// within patience says nothing.
type progress struct {
	out         io.Writer
	what        string
	live        bool // a terminal: one line, written over; elsewhere a line now and then
	begun, told time.Time
	done        int64
	shown       bool
}

const (
	progressPatience = 2 * time.Second
	progressLive     = 200 * time.Millisecond
	progressLogged   = 10 * time.Second
)

func newProgress(out io.Writer, what string) *progress {
	f, isFile := out.(*os.File)
	live := false
	if isFile {
		info, err := f.Stat()
		live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &progress{out: out, what: what, live: live, begun: time.Now()}
}

// report is called often, from one goroutine at a time.
func (p *progress) report(done, total int64) {
	p.done = done
	now, every := time.Now(), progressLogged
	if p.live {
		every = progressLive
	}
	if now.Sub(p.begun) < progressPatience || now.Sub(p.told) < every {
		return
	}
	p.told, p.shown = now, true
	line := fmt.Sprintf("%s: %d%%, %d of %d MB, %s", p.what, done*100/max(total, 1), done/1e6, total/1e6, p.rate())
	if p.live {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(p.out, line)
	}
}

// end clears the line.
func (p *progress) end() {
	if p.live && p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// rate is the mean speed so far.
func (p *progress) rate() string {
	return fmt.Sprintf("%.0f MB/s", float64(p.done)/1e6/max(time.Since(p.begun).Seconds(), 1e-6))
}
