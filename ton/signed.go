package ton

import (
	"context"
	"fmt"

	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// signed follows the validators' signatures from a trusted key block to a newer
// block: each step ends in a block that was signed by more than two thirds, by
// weight, of the validators that the step's first block names. The key blocks passed
// are trusted from then on, even if the end is not reached.
func (c *Client) signed(ctx context.Context, s server, from head, to *tonapi.BlockIDExt) (head, error) {
	for from.id.SeqNo < to.SeqNo {
		part, err := query[tonapi.PartialBlockProof](ctx, s.link, s.line, tonapi.GetBlockProof{Mode: 1, KnownBlock: from.id, TargetBlock: to})
		if err != nil {
			return head{}, fmt.Errorf("proof that block %d follows block %d: %w", to.SeqNo, from.id.SeqNo, err)
		}
		at, key, err := followSteps(from.id, to, part.Steps)
		if err != nil {
			return head{}, wrong("that block %d follows block %d: %w", to.SeqNo, from.id.SeqNo, err)
		}
		from = at
		c.trust(key)
	}
	if !from.id.Equals(to) {
		return head{}, wrong("block %d has the hash %x by its validators' signatures, not %x", to.SeqNo, from.id.RootHash, to.RootHash)
	}
	if from.time.IsZero() { // the configuration's block, of which only the hash was known
		return c.header(ctx, s, to)
	}
	return from, nil
}

// trust begins later proofs at a newer key block.
func (c *Client) trust(key head) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key.id != nil && key.id.SeqNo > c.trusted.id.SeqNo {
		c.trusted = key
	}
}

// followSteps checks the steps of one answer. It returns the block they lead
// to, and the last key block on the way.
func followSteps(from, to *tonapi.BlockIDExt, steps []any) (at, key head, err error) {
	at = head{id: from}
	for i, step := range steps {
		if at, err = followStep(at.id, step); err != nil {
			return at, key, fmt.Errorf("step %d: %w", i, err)
		}
		if at.key == at.id.SeqNo {
			key = at
		}
	}
	if at.id.SeqNo <= from.SeqNo || at.id.SeqNo > to.SeqNo {
		return at, key, fmt.Errorf("%d steps lead to block %d", len(steps), at.id.SeqNo)
	}
	return at, key, nil
}

func followStep(at *tonapi.BlockIDExt, step any) (head, error) {
	switch step := step.(type) {
	case tonapi.BlockLinkForward:
		if step.From == nil || step.To == nil || !step.From.Equals(at) {
			return head{}, fmt.Errorf("does not begin where the last one ended")
		}
		cells, err := bags(step.ConfigProof, step.DestProof)
		if err != nil {
			return head{}, err
		}
		if err := tonapi.CheckForwardBlockProof(step.From, step.To, step.ToKeyBlock, cells[0], cells[1], step.SignatureSet); err != nil {
			return head{}, err
		}
		return readHeader(step.To, step.DestProof)
	case tonapi.BlockLinkBackward:
		// Back to the key block that names the validators of the present.
		if step.From == nil || step.To == nil || !step.From.Equals(at) {
			return head{}, fmt.Errorf("does not begin where the last one ended")
		}
		cells, err := bags(step.StateProof, step.DestProof, step.Proof)
		if err != nil {
			return head{}, err
		}
		if err := tonapi.CheckBackwardBlockProof(step.From, step.To, step.ToKeyBlock, cells[0], cells[1], cells[2]); err != nil {
			return head{}, err
		}
		return readHeader(step.To, step.DestProof)
	}
	return head{}, fmt.Errorf("of unknown kind %T", step)
}

func bags(bocs ...[]byte) ([]*cell.Cell, error) {
	cells := make([]*cell.Cell, len(bocs))
	for i, boc := range bocs {
		var err error
		if cells[i], err = cell.FromBOC(boc); err != nil {
			return nil, err
		}
	}
	return cells, nil
}
