package localnet

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// transferMode is the mode of a v5r1 wallet's messages, which accepts from
// outside only those that ignore errors.
const transferMode = wallet.PayGasSeparately + wallet.IgnoreErrors

// FaucetKey is the key of the wallet that holds the supply: an ordinary v5r1
// wallet of this network, which any wallet application can open.
func (c *Chain) FaucetKey() ed25519.PrivateKey { return c.cfg.key("faucet") }

func (c *Chain) walletVersion() wallet.ConfigV5R1Final {
	return wallet.ConfigV5R1Final{NetworkGlobalID: c.cfg.GlobalID}
}

// FaucetAddress is the faucet's address.
func (c *Chain) FaucetAddress() *address.Address {
	addr, err := wallet.AddressFromPubKey(c.FaucetKey().Public().(ed25519.PublicKey), c.walletVersion(), 0)
	if err != nil {
		panic(err) // neither the key nor the version can be wrong
	}
	return addr
}

// Fund sends an amount from the faucet to an address that need not exist yet,
// and returns when it has arrived.
func (c *Chain) Fund(ctx context.Context, to *address.Address, amount tlb.Coins) (Trace, error) {
	return c.Pay(ctx, c.FaucetKey(), &wallet.Message{Mode: transferMode, InternalMessage: &tlb.InternalMessage{
		IHRDisabled: true, DstAddr: to, Amount: amount, Body: cell.BeginCell().EndCell(),
	}})
}

// Pay signs messages as the v5r1 wallet of a key, deploying it if need be, and
// sends them at once. The messages' mode must include 2, ignore errors, or the
// wallet takes the fee and sends nothing. Two payments of one wallet must not run at the same time
// on a chain that seals by interval.
func (c *Chain) Pay(ctx context.Context, key ed25519.PrivateKey, messages ...*wallet.Message) (Trace, error) {
	message, err := c.SignTransfer(ctx, key, messages...)
	if err != nil {
		return nil, fmt.Errorf("localnet: sign a transfer: %w", err)
	}
	return c.Send(message)
}

// SignTransfer makes the external message of a key's v5r1 wallet that sends
// the given messages: at the seqno of the present, valid however far the
// chain's clock has been moved.
func (c *Chain) SignTransfer(ctx context.Context, key ed25519.PrivateKey, messages ...*wallet.Message) (*cell.Cell, error) {
	w, err := wallet.FromPrivateKeyWithOptions(key, c.walletVersion())
	if err != nil {
		return nil, err
	}
	seqno, err := c.seqno(w.WalletAddress())
	if err != nil {
		return nil, err
	}
	spec := w.GetSpec().(*wallet.SpecV5R1Final)
	spec.SetSeqnoFetcher(func(context.Context, uint32) (uint32, error) { return seqno, nil })
	spec.SetMessagesTTL(c.ttl())
	external, err := w.PrepareExternalMessageForMany(ctx, seqno == 0, messages)
	if err != nil {
		return nil, err
	}
	return tlb.ToCell(external)
}

// ttl is how many seconds a wallet that dates by the machine's clock must
// allow, so that its message is valid by the chain's.
func (c *Chain) ttl() uint32 {
	return uint32(max(0, time.Until(c.Now()))/time.Second) + 3600
}

// seqno reads the counter in a v5r1 wallet's data, as of the newest
// transaction, sealed or not: one bit, then 32.
func (c *Chain) seqno(addr *address.Address) (uint32, error) {
	id, err := idOf(addr)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.world.accounts[id]
	if !ok || a.prepared.State().Status != tlb.AccountStatusActive {
		return 0, nil
	}
	data, err := a.prepared.State().StateInit.Data.BeginParse()
	if err != nil {
		return 0, err
	}
	if _, err := data.LoadBoolBit(); err != nil {
		return 0, err
	}
	seqno, err := data.LoadUInt(32)
	return uint32(seqno), err
}
