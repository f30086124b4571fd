package wallet

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Config describes a node's wallet and its limits.
type Config struct {
	// Dir holds the journal. Nobody else may have it open.
	Dir string
	// Key gives the orders; whoever has it can spend everything above 2 TON.
	Key Key
	// Owner is the person's wallet that may block this one and empty it.
	Owner *address.Address
	// Code is the wallet's contract. Nil means ours.
	Code  *cell.Cell
	Chain ton.Chain
	// MaxOrder bounds what one order spends, and so one message. Zero means
	// 1000 TON, as in the network's own nodes.
	MaxOrder coin.Nano
	// MaxHour bounds the value of the messages accepted in any hour. Zero means
	// twice MaxOrder.
	MaxHour coin.Nano
	// Reserve stays in the wallet on top of the 2 TON that its contract insists
	// on. Zero means 0.1 TON.
	Reserve coin.Nano
	// MaxQueue is how many messages may wait. Zero means 1000.
	MaxQueue int
	// TTL is how long an order is valid, by the chain's clock. Zero means ten
	// minutes. An order that expires is signed anew.
	TTL time.Duration
	// Resend is when an order that has not been carried out is sent again. Zero
	// means fifteen seconds.
	Resend time.Duration
	// Idle is how often the wallet is looked at when nothing waits. Zero means
	// thirty seconds.
	Idle time.Duration
	// Now is this machine's clock. It dates the hour and resending; what
	// becomes of orders is judged by the chain's. Nil means time.Now.
	Now func() time.Time
	// Log receives what an operator should know. Nil discards.
	Log *slog.Logger

	// Fault is for tests and simulations: it is called at each point of writing
	// the journal where a crash differs from one elsewhere ("write", "sync",
	// "done", "rename", "renamed"), and its error stands for the disk's. Nil never fails.
	Fault func(point string) error
}

func (cfg *Config) fill() error {
	cfg.MaxOrder = cmp.Or(cfg.MaxOrder, 1000*coin.TON)
	cfg.MaxHour = cmp.Or(cfg.MaxHour, cfg.MaxOrder.Times(2))
	cfg.Reserve = cmp.Or(cfg.Reserve, coin.TON/10)
	cfg.MaxQueue = cmp.Or(cfg.MaxQueue, 1000)
	cfg.TTL = cmp.Or(cfg.TTL, 10*time.Minute)
	cfg.Resend = cmp.Or(cfg.Resend, 15*time.Second)
	cfg.Idle = cmp.Or(cfg.Idle, 30*time.Second)
	if cfg.Code == nil {
		cfg.Code = contract.OurCodes().Wallet
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Dir == "":
		return errors.New("node wallet: no directory for its journal")
	case cfg.Key.IsZero():
		return errors.New("node wallet: no key")
	case cfg.Chain == nil:
		return errors.New("node wallet: no chain")
	case cfg.MaxOrder < 0 || cfg.MaxHour < 0 || cfg.Reserve < 0 || cfg.MaxQueue < 0 || cfg.Resend < 0 || cfg.Idle < 0:
		return errors.New("node wallet: a limit is negative")
	case cfg.TTL < time.Minute || cfg.TTL > 24*time.Hour:
		return fmt.Errorf("node wallet: orders valid for %v, want a minute to a day", cfg.TTL)
	}
	return nil
}
