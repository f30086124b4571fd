package wire

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"net"
)

// The proof of work makes the dialer pay for the acceptor's TLS handshake. It
// runs on the bare connection, before TLS:
//
//	challenge   magic 4 | difficulty i32 | salt 16
//	response    magic 4 | nonce 8
//
// The first eight bytes of SHA-256(salt | nonce), read as a little-endian
// number, must begin with at least difficulty zero bits.
const (
	challengeMagic = 0x418e1291
	responseMagic  = 0x01827319

	// DefaultDifficulty is what a listener asks, about a million hashes.
	DefaultDifficulty = 20
	// DefaultMaxDifficulty is what a dialer does at most.
	DefaultMaxDifficulty = 28
)

type powBlock [24]byte // salt, nonce

func (b *powBlock) solves(difficulty int) bool {
	d := sha256.Sum256(b[:])
	return bits.LeadingZeros64(binary.LittleEndian.Uint64(d[:])) >= difficulty
}

// Challenge demands work from the peer that dialed nc and returns nil once it
// was done. It reads exactly the response, so TLS can begin on nc at once. A
// difficulty of zero or below is free; above 64 it cannot be met. Only ctx
// bounds the wait; on error close nc.
func Challenge(ctx context.Context, nc net.Conn, difficulty int) error {
	if difficulty > 64 {
		return fmt.Errorf("proof of work: difficulty %d cannot be met, want at most 64", difficulty)
	}
	var block powBlock
	rand.Read(block[:16])
	var response [12]byte
	err := within(ctx, nc, func() error {
		if _, err := nc.Write(challenge(difficulty, block[:16])); err != nil {
			return err
		}
		_, err := io.ReadFull(nc, response[:])
		return err
	})
	if err != nil {
		return fmt.Errorf("proof of work: challenge: %w", whyReadEnded(err))
	}
	return block.check(response, difficulty)
}

func challenge(difficulty int, salt []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, challengeMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(int32(difficulty)))
	return append(b, salt...)
}

func (b *powBlock) check(response [12]byte, difficulty int) error {
	if magic := binary.LittleEndian.Uint32(response[:]); magic != responseMagic {
		return fmt.Errorf("proof of work: %w", violation("response begins %#08x, want %#08x", magic, responseMagic))
	}
	copy(b[16:], response[4:])
	if !b.solves(difficulty) {
		return fmt.Errorf("proof of work: %w", violation("response does not solve difficulty %d", difficulty))
	}
	return nil
}

// Solve answers the challenge of the peer that nc was dialed to. It refuses
// more than maxDifficulty; each step of difficulty doubles the work, and 20
// takes about a tenth of a second. Only ctx bounds it; on error close nc.
func Solve(ctx context.Context, nc net.Conn, maxDifficulty int) error {
	err := within(ctx, nc, func() error {
		block, difficulty, err := readChallenge(nc, maxDifficulty)
		if err != nil {
			return err
		}
		if err := block.search(ctx, difficulty); err != nil {
			return err
		}
		response := binary.LittleEndian.AppendUint32(nil, responseMagic)
		_, err = nc.Write(append(response, block[16:]...))
		return err
	})
	if err != nil {
		return fmt.Errorf("proof of work: %w", whyReadEnded(err))
	}
	return nil
}

func readChallenge(r io.Reader, maxDifficulty int) (block powBlock, difficulty int, err error) {
	var b [24]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return block, 0, err
	}
	if magic := binary.LittleEndian.Uint32(b[:]); magic != challengeMagic {
		return block, 0, violation("challenge begins %#08x, want %#08x", magic, challengeMagic)
	}
	difficulty = int(int32(binary.LittleEndian.Uint32(b[4:])))
	if difficulty > maxDifficulty {
		return block, 0, fmt.Errorf("peer asks difficulty %d, limit %d; raise the limit to connect", difficulty, maxDifficulty)
	}
	copy(block[:], b[8:])
	return block, difficulty, nil
}

// search tries 0, 1, 2, … as the reference does.
func (b *powBlock) search(ctx context.Context, difficulty int) error {
	const between = 1 << 14 // a millisecond or so of hashes between looks at ctx
	for nonce := uint64(0); ; nonce++ {
		if nonce%between == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		binary.LittleEndian.PutUint64(b[16:], nonce)
		if b.solves(difficulty) {
			return nil
		}
	}
}
