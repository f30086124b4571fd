package localnet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Error codes of liteserver answers, as real servers and clients use them.
const (
	codeRefused  = 0 // an external message was not accepted; no such transaction
	codeBusy     = 228
	codeBad      = -400 // the query makes no sense, or asks for what is gone
	codeUnknown  = 404
	codeInternal = 500
	codeNotFound = 651
	codeTimeout  = 652
)

const (
	protocolVersion = 0x101
	capabilities    = 7
	// maxWait bounds waitMasterchainSeqno, as real servers do.
	maxWait = 60 * time.Second
)

func fail(code int32, format string, args ...any) ton.LSError {
	return ton.LSError{Code: code, Text: fmt.Sprintf(format, args...)}
}

// answer is one query's answer. Whatever goes wrong is an answer too: a
// client's bytes must never end the chain.
func (c *Chain) answer(ctx context.Context, query tl.Serializable) (reply tl.Serializable) {
	defer func() {
		if p := recover(); p != nil {
			// The library's parsers and machine meet a stranger's cells here.
			c.cfg.Log.Error("localnet: a query broke its handler", "query", fmt.Sprintf("%T", query), "panic", p)
			reply = fail(codeInternal, "internal error")
		}
	}()
	if list, ok := query.([]tl.Serializable); ok {
		wait, ok := list[0].(ton.WaitMasterchainSeqno)
		if !ok || len(list) != 2 {
			return fail(codeBad, "a list of queries may only be waitMasterchainSeqno and one query")
		}
		if err := c.wait(ctx, wait); err != nil {
			return fail(codeTimeout, "%v", err)
		}
		query = list[1]
	}
	reply, err := c.dispatch(query)
	if err == nil {
		return reply
	}
	var known ton.LSError
	if errors.As(err, &known) {
		return known
	}
	c.cfg.Log.Warn("localnet: a query failed", "query", fmt.Sprintf("%T", query), "err", err)
	return fail(codeInternal, "%v", err)
}

func (c *Chain) dispatch(query tl.Serializable) (tl.Serializable, error) {
	switch q := query.(type) {
	case ton.GetTime:
		return ton.CurrentTime{Now: uint32(c.Now().Unix())}, nil
	case ton.GetVersion:
		return ton.Version{Version: protocolVersion, Capabilities: capabilities, Now: uint32(c.Now().Unix())}, nil
	case ton.GetMasterchainInf:
		return c.masterchainInfo()
	case ton.GetMasterchainInfoExt:
		return c.masterchainInfoExt()
	case ton.GetAccountState:
		return c.accountState(q.ID, q.Account)
	case ton.RunSmcMethod:
		return c.runMethod(q)
	case ton.SendMessage:
		return c.sendMessage(q)
	case ton.GetTransactions:
		return c.transactions(q)
	case ton.GetOneTransaction:
		return c.oneTransaction(q)
	case ton.ListBlockTransactions:
		return c.listTransactions(q)
	case ton.GetConfigAll:
		return c.configInfo(q.BlockID, q.Mode)
	case ton.GetConfigParams:
		return c.configInfo(q.BlockID, q.Mode)
	case ton.GetBlockData:
		return c.blockData(q.ID)
	case ton.GetBlockHeader:
		return c.blockHeader(q.ID)
	case ton.LookupBlock:
		return c.lookupBlock(q)
	case ton.GetAllShardsInfo:
		return c.shards(q.ID)
	case ton.GetShardInfo:
		return c.shard(q)
	case ton.GetLibraries:
		return ton.LibraryResult{Result: []*ton.LibraryEntry{}}, nil // nobody publishes any
	}
	return nil, fail(codeUnknown, "query %T is not answered by a local chain", query)
}

// wait returns when the block has been sealed. If nothing happens on the
// chain for a while, it seals an empty one: somebody is waiting for it.
func (c *Chain) wait(ctx context.Context, w ton.WaitMasterchainSeqno) error {
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(max(w.Timeout, 0))*time.Millisecond, maxWait))
	defer cancel()
	for {
		c.mu.Lock()
		seq, sealed := c.newest().seq, c.sealed
		c.mu.Unlock()
		if int64(seq) >= int64(w.Seqno) {
			return nil
		}
		idle := time.NewTimer(idleAfter)
		select {
		case <-sealed:
		case <-idle.C:
			if err := c.sealIdle(seq); err != nil {
				return err
			}
		case <-ctx.Done():
			idle.Stop()
			return fmt.Errorf("block %d has not come, the newest is %d", w.Seqno, seq)
		}
		idle.Stop()
	}
}

// sealIdle seals an empty block if the chain seals on demand and none came
// since the given one.
func (c *Chain) sealIdle(since uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Interval > 0 || c.newest().seq != since {
		return nil
	}
	_, err := c.seal()
	return err
}

// fresh is the newest block, after sealing an empty one if it is old.
func (c *Chain) fresh() (*block, error) {
	head := c.head()
	if age := c.Now().Unix() - int64(head.now); age <= int64(idleAfter/time.Second) {
		return head, nil
	}
	if err := c.sealIdle(head.seq); err != nil {
		return nil, err
	}
	return c.head(), nil
}

func (c *Chain) zeroState() *ton.ZeroStateIDExt {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.world.blocks[0].side[master].id
	return &ton.ZeroStateIDExt{Workchain: id.Workchain, RootHash: id.RootHash, FileHash: id.FileHash}
}

func (c *Chain) masterchainInfo() (tl.Serializable, error) {
	b, err := c.fresh()
	if err != nil {
		return nil, err
	}
	return ton.MasterchainInfo{Last: b.side[master].id, StateRootHash: b.side[master].state.Hash(), Init: c.zeroState()}, nil
}

func (c *Chain) masterchainInfoExt() (tl.Serializable, error) {
	b, err := c.fresh()
	if err != nil {
		return nil, err
	}
	return ton.MasterchainInfoExt{
		Version: protocolVersion, Capabilities: capabilities,
		Last: b.side[master].id, LastUTime: b.now, Now: uint32(c.Now().Unix()),
		StateRootHash: b.side[master].state.Hash(), Init: c.zeroState(),
	}, nil
}

func (c *Chain) sendMessage(q ton.SendMessage) (tl.Serializable, error) {
	message, err := cell.FromBOC(q.Body)
	if err != nil {
		return nil, fail(codeBad, "cannot deserialize the message: %v", err)
	}
	var refused *RefusedError
	if _, err := c.Send(message); errors.As(err, &refused) {
		return nil, fail(codeRefused, "cannot apply external message to current state : %v", refused)
	} else if err != nil {
		return nil, err
	}
	return ton.SendMessageStatus{Status: 1}, nil
}

// find returns the block that an id names, which must have all its cells.
func (c *Chain) find(id *ton.BlockIDExt) (*block, int, error) {
	s, err := sideOf(id.Workchain)
	if err != nil {
		return nil, 0, fail(codeNotFound, "%v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if int64(id.SeqNo) >= int64(len(c.world.blocks)) {
		return nil, 0, fail(codeNotFound, "block %d is not there yet, the newest is %d", id.SeqNo, c.newest().seq)
	}
	b := c.world.blocks[id.SeqNo]
	if !b.side[s].id.Equals(id) {
		return nil, 0, fail(codeNotFound, "block %d of workchain %d has another hash here", id.SeqNo, id.Workchain)
	}
	if b.side[s].root == nil {
		return nil, 0, fail(codeBad, "block %d is gone: a local chain keeps the newest %d", id.SeqNo, history)
	}
	return b, s, nil
}

// accountOf reads an account's id from a query.
func accountOf(a ton.AccountID) (accountID, error) {
	s, err := sideOf(a.Workchain)
	if err != nil {
		return accountID{}, fail(codeBad, "%v", err)
	}
	if len(a.ID) != 32 {
		return accountID{}, fail(codeBad, "account id has %d bytes, want 32", len(a.ID))
	}
	return accountID{side: s, hash: [32]byte(a.ID)}, nil
}
