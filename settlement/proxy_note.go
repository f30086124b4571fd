package settlement

import (
	"context"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

const (
	// noteValue brings no gas: the contract does not run, and the note costs little.
	noteValue coin.Nano = 1
	// noteLost is after how long a note that has arrived should have been read.
	noteLost = 10 * time.Minute
)

// note sends the ledger's next note to the proxy's contract, if there is
// something to commit and the last one is old enough.
func (p *Proxy) note(g *generation) {
	p.mu.Lock()
	sent := p.sentNote
	p.mu.Unlock()
	age := p.cfg.Now().Sub(sent.at)
	number, session, waits := p.cfg.Ledger.PendingNote()
	switch {
	case waits && number == sent.number && age < noteLost:
		return // the follower will come to it
	case !waits && sent.number != 0 && age >= 0 && age < p.cfg.NoteEvery:
		return
	case !waits:
		if number, session, waits = p.cfg.Ledger.Note(); !waits {
			return
		}
	}
	p.start("note", false, func(ctx context.Context) error { return p.sendNote(ctx, g, number, session) })
}

func (p *Proxy) sendNote(ctx context.Context, g *generation, number int32, session [32]byte) error {
	p.mu.Lock()
	sent := p.sentNote
	p.mu.Unlock()
	again := 0
	if number == sent.number {
		again = sent.again + 1
	}
	_, err := p.poster.Post(ctx, Message{
		Purpose: fmt.Sprintf("note %x %d %d", session, number, again), To: g.contracts.Proxy.Address, Value: noteValue, Quiet: true,
		Body: &contract.SaveState{QueryID: uint64(number), Seqno: uint32(number), Session: session},
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sentNote = sentNote{number: number, at: p.cfg.Now(), again: again}
	p.counts[Count{"note", "done"}]++
	return nil
}
