package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/market"

	"github.com/opencocoon/cocoon/atomicfile"
)

const (
	saveEvery = time.Minute
	// maxSaved bounds the workers in the file, the latest seen, and maxMemoryFile
	// what is read of it.
	maxSaved      = 4096
	maxMemoryFile = 8 << 20
)

// recall gives the market what the file says about workers. A file that is
// damaged costs nothing but the memory: it is set aside, and said in the log.
func (p *Proxy) recall() {
	if p.cfg.MemoryFile == "" {
		return
	}
	records, err := readMemory(p.cfg.MemoryFile)
	if err != nil {
		p.log.Error("what was known about workers is lost", "error", err)
		os.Rename(p.cfg.MemoryFile, p.cfg.MemoryFile+".damaged")
		return
	}
	p.market.Recall(records)
}

func readMemory(name string) (records []market.Record, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMemoryFile+1))
	if err == nil && len(text) > maxMemoryFile {
		err = fmt.Errorf("more than %d bytes", maxMemoryFile)
	}
	if err == nil {
		err = json.Unmarshal(text, &records)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return records, nil
}

// remember writes what the market knows about workers: speeds and failures,
// nothing of what was asked.
func (p *Proxy) remember() error {
	records := p.market.Remembered()
	slices.SortStableFunc(records, func(a, b market.Record) int { return a.Seen.Compare(b.Seen) })
	records = records[max(len(records)-maxSaved, 0):]
	text, err := json.Marshal(records)
	for err == nil && len(text) > maxMemoryFile { // of long names: what cannot be read again is not worth writing
		records = records[(len(records)+1)/2:]
		text, err = json.Marshal(records)
	}
	if err != nil {
		return err
	}
	return atomicfile.Replace(p.cfg.MemoryFile, text, 0o600)
}

// keepMemory saves now and then and, while workers are still here, at the end.
func (p *Proxy) keepMemory(ctx context.Context) {
	if p.cfg.MemoryFile == "" {
		return
	}
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-t.C:
		}
		if err := p.remember(); err != nil {
			p.log.Error("what is known about workers is not saved", "error", err)
		}
	}
}
