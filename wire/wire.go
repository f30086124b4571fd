// Package wire carries messages between two nodes: frames on a byte stream,
// one-way packets, queries with answers, keep-alive, and limits that hold
// against any peer.
//
// Start with [Client] or [Server] on a connected [net.Conn], set Data, call
// [Conn.Start]; then [Conn.Send] and [Ask]. [Dialer] keeps such a connection
// up. [Challenge] and [Solve] are the proof of work that precedes TLS. The
// format is the network's:
//
//	offset size
//	0      4    length of the payload, 4 … 2^24
//	4      4    sequence number, per direction, from 0
//	8      …    one boxed tcp.* object
//
// The first frame of the dialer is tcp.connect, that of the listener
// tcp.connected. After them both sides may send tcp.packet and tcp.query.
//
// A peer that breaks a rule, stays silent, takes nothing or sends more than
// it may is disconnected, with the reason in [Conn.Err]; the process and the
// other connections do not notice. What the bytes inside mean, who the peer
// is and how many connections there are is left to the roles and to ratls.
package wire

import (
	"errors"
	"fmt"
)

// Codes of a tcp.queryError; 0 is unspecified.
const (
	CodeFailure   = 601
	CodeError     = 602
	CodeWarning   = 603
	CodeProtocol  = 621
	CodeNotReady  = 651
	CodeTimeout   = 652
	CodeCancelled = 653
)

var (
	// ErrClosed is in every error of a call on a connection that has ended;
	// the reason is in the same chain. The call had no effect.
	ErrClosed = errors.New("connection closed")
	// ErrTooLarge means the message does not fit into one frame. Nothing was
	// sent and the connection goes on.
	ErrTooLarge = errors.New("message too large for one frame")
	// ErrSlowPeer ended a connection whose peer did not take what was sent.
	ErrSlowPeer = errors.New("peer too slow")
	// ErrIdle ended a connection on which nothing arrived for too long.
	ErrIdle = errors.New("nothing received for too long")
	// ErrProtocol ended a connection whose peer broke the rules of framing.
	ErrProtocol = errors.New("protocol violation")
	// ErrBudget ended the connection that held most when the process reached
	// its [Budget].
	ErrBudget = errors.New("memory for connections is used up")
	// ErrPeerClosed means the peer ended the connection.
	ErrPeerClosed = errors.New("peer closed the connection")
)

// QueryError is the peer's refusal of a query. The text is for humans, chosen
// by the peer and cut to a few kilobytes.
type QueryError struct {
	Code    int32
	Message string
}

func (e *QueryError) Error() string {
	return fmt.Sprintf("peer refused: %q (code %d)", e.Message, e.Code)
}

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}
