package ton

import (
	"context"
	"fmt"

	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// params is the configuration as of a key block; only key blocks change it.
type params struct {
	key      uint32
	root     *cell.Cell
	prepared *tvm.PreparedBlockchainConfig
}

// Params is the blockchain's configuration. It is some hundred kilobytes, and
// asked for again only after a block that may have changed it.
func (c *Client) Params(ctx context.Context) (*cell.Cell, error) {
	h, err := c.newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("ton: read configuration: %w", err)
	}
	p, err := c.paramsAt(ctx, h)
	return p.root, err
}

func (c *Client) paramsAt(ctx context.Context, h head) (params, error) {
	c.mu.Lock()
	known := c.params
	c.mu.Unlock()
	if known.root != nil && known.key == h.key {
		return known, nil
	}
	fresh := params{key: h.key}
	err := c.ask(ctx, "read configuration", func(ctx context.Context, s server) error {
		answer, err := stateQuery[tonapi.ConfigAll](ctx, s, h, c.cfg.Timeout, tonapi.GetConfigAll{BlockID: h.id})
		if err != nil {
			return err
		}
		cells, err := bags(answer.StateProof, answer.ConfigProof)
		if err != nil {
			return wrong("configuration: %w", err)
		}
		extra, err := tonapi.CheckShardMcStateExtraProof(h.id, cells)
		if err != nil {
			return wrong("configuration: %w", err)
		}
		if extra.ConfigParams.Config.Params == nil {
			return wrong("the proof leaves the configuration out")
		}
		fresh.root = extra.ConfigParams.Config.Params.AsCell()
		if fresh.root.Level() != 0 {
			return wrong("the proof leaves out parts of the configuration")
		}
		if fresh.prepared, err = tvm.PrepareBlockchainConfig(fresh.root); err != nil {
			return wrong("configuration: %w", err)
		}
		return nil
	})
	if err != nil {
		return params{}, err
	}
	c.mu.Lock()
	if fresh.key >= c.params.key {
		c.params = fresh
	}
	c.mu.Unlock()
	return fresh, nil
}

// globalID is the parameter with the network's id.
const globalID = 19

// GlobalID reads the network's id, which newer wallets sign, from its
// configuration: -239 is the main network, -3 the test network.
func GlobalID(ctx context.Context, chain Chain) (int32, error) {
	root, err := chain.Params(ctx)
	if err != nil {
		return 0, err
	}
	value, err := root.AsDict(32).LoadValueByUintKey(globalID)
	if err == nil {
		value, err = value.LoadRef()
	}
	id := int64(0)
	if err == nil {
		id, err = value.LoadInt(32)
	}
	if err != nil {
		return 0, fmt.Errorf("ton: the configuration does not say the network's id: %w", err)
	}
	return int32(id), nil
}
