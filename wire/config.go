package wire

import (
	"log/slog"
	"time"
)

// Handler gets what a peer sends. One Handler may serve many connections;
// [Conn.Data] tells them apart.
type Handler interface {
	// Packet receives one one-way message. It must not block: it runs on the
	// goroutine that reads the connection, in order of arrival. The data
	// belongs to the handler. A packet it does not know it must ignore.
	Packet(c *Conn, data []byte)
	// Query receives one query and must see to it that q is answered exactly
	// once, now or later. It must not block.
	Query(c *Conn, q *Query)
	// Closed is called once, after the last Packet and Query, with the reason.
	Closed(c *Conn, err error)
}

// Config sets the limits of a connection. The zero Config has the network's.
type Config struct {
	// Idle ends the connection when for so long no frame was completed.
	// Default 20 s for a dialer, 60 s for a listener. It also limits the
	// opening exchange.
	Idle time.Duration
	// PingAfter sends one ping into each silence of so long. Default 10 s for a
	// dialer. A listener's zero means half of Idle, and only while it sends: a dialer that hears
	// a long answer has no reason to ping, and must not be taken for dead. Negative means never.
	PingAfter time.Duration
	// Stall ends the connection when the peer takes nothing (64 KiB in the
	// middle of a longer message) for so long. Default 20 s.
	Stall time.Duration
	// MaxFrame is the largest payload in bytes, sent or received. Default and
	// maximum 16 MiB.
	MaxFrame int
	// MaxQueued bounds the bytes waiting to be written, and separately those
	// of the peer's queries not yet answered. Default 32 MiB.
	MaxQueued int
	// Budget is shared with other connections. Nil bounds each one only.
	Budget *Budget
	// Peer is returned by [Conn.Peer].
	Peer any
	// OnRTT gets the smoothed round trip whenever a ping was answered. It must not block, as [Handler.Packet].
	OnRTT func(time.Duration)
	// Log gets the reason of each disconnection. Nil discards.
	Log *slog.Logger

	listens bool
}

const (
	// flushLimit is how long CloseAfterFlush waits for the peer.
	flushLimit = 5 * time.Second
	// drainLimit is how long what the peer sent before it closed may still be
	// read once writing to it has failed.
	drainLimit = time.Second
)

func (cfg Config) withDefaults(dialer bool) Config {
	idle := 60 * time.Second
	if dialer {
		idle = 20 * time.Second
	}
	setDefault(&cfg.Idle, idle)
	setDefault(&cfg.Stall, 20*time.Second)
	setDefault(&cfg.MaxFrame, maxPayload)
	setDefault(&cfg.MaxQueued, 32<<20)
	if cfg.PingAfter == 0 && dialer {
		cfg.PingAfter = 10 * time.Second
	} else if cfg.PingAfter == 0 {
		cfg.PingAfter, cfg.listens = cfg.Idle/2, true
	}
	cfg.MaxFrame = min(cfg.MaxFrame, maxPayload)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
