package contract

import (
	"crypto/ed25519"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// WalletKeeps is what a node's wallet must hold for it to accept an order: the
// order is paid by the wallet, which so never runs dry.
const WalletKeeps = 2 * coin.TON

// WalletState is what a node's wallet stores. The node's key gives orders from
// outside; the owner, a person's wallet, may block it and take everything.
//
//	seqno:32 subwallet:32 key:256 status:32 owner:Addr    619 bits
//
// Source: contracts.md section 4.5.
type WalletState struct {
	// Seqno is the number that the next order must carry.
	Seqno     uint32
	Subwallet uint32
	Key       ed25519.PublicKey
	// Status has bit 0 set if the owner has blocked the wallet.
	Status uint32
	Owner  *address.Address
}

// Blocked says that the wallet accepts no orders until its owner unblocks it.
func (s *WalletState) Blocked() bool { return s.Status&1 != 0 }

// Cell is the state as the contract stores it.
func (s *WalletState) Cell() (*cell.Cell, error) {
	b := s.builder()
	return b.cell(), b.err
}

func (s *WalletState) builder() *builder {
	b := newBuilder("node wallet")
	return b.uint(uint64(s.Seqno), 32).uint(uint64(s.Subwallet), 32).bits(s.Key, 256).uint(uint64(s.Status), 32).addr(s.Owner)
}

// ParseWalletState reads a node wallet's data. Fields after those known are ignored.
func ParseWalletState(data *cell.Cell) (*WalletState, error) {
	if data == nil {
		return nil, fmt.Errorf("node wallet: no data")
	}
	in, err := open(data)
	if err != nil {
		return nil, fmt.Errorf("node wallet: %w", err)
	}
	s := &WalletState{
		Seqno: uint32(in.uint(32)), Subwallet: uint32(in.uint(32)), Key: in.bits(256), Status: uint32(in.uint(32)), Owner: in.addr(),
	}
	if in.err != nil {
		return nil, fmt.Errorf("node wallet: %w", in.err)
	}
	return s, nil
}

// NewWallet is the node wallet of this code, key and owner before its first
// order: where it lives, and the state init that goes along with the first
// message to it. Subwallet, seqno and status are 0.
func NewWallet(code *cell.Cell, owner *address.Address, key ed25519.PublicKey) (*address.Address, *tlb.StateInit, error) {
	if code == nil {
		return nil, nil, fmt.Errorf("node wallet: no code")
	}
	b := (&WalletState{Key: key, Owner: owner}).builder()
	addr, err := b.address(code)
	if err != nil {
		return nil, nil, err
	}
	return addr, &tlb.StateInit{Code: code, Data: b.cell()}, nil
}

// WalletAddress is where the node wallet of this owner and key lives, with our
// code. See [NewWallet].
func (c *Codes) WalletAddress(owner *address.Address, key ed25519.PublicKey) (*address.Address, error) {
	addr, _, err := NewWallet(c.Wallet, owner, key)
	return addr, err
}

// WalletCommand is what a wallet's owner tells it with a comment of one letter.
type WalletCommand byte

// Commands of a wallet's owner. Withdraw sends everything home.
const (
	WalletWithdraw WalletCommand = 'w'
	WalletBlock    WalletCommand = 'b'
	WalletUnblock  WalletCommand = 'u'
)

// Cell is the message's body, the same as a comment written in a wallet.
func (c WalletCommand) Cell() (*cell.Cell, error) {
	b := newBuilder("wallet command").uint(0, 32).uint(uint64(c), 8)
	return b.cell(), b.err
}

// WalletSend makes the wallet send a message as it is. Only its owner may order
// that way; it works on a blocked wallet too.
//
//	op:32 query:64 mode:8 ^message
type WalletSend struct {
	QueryID uint64
	Mode    uint8
	Message *cell.Cell
}

const opWalletSend = 0x9c69f376

// Cell is the message's body.
func (m *WalletSend) Cell() (*cell.Cell, error) {
	b := newBuilder("wallet send").uint(opWalletSend, 32).uint(m.QueryID, 64).uint(uint64(m.Mode), 8)
	if m.Message == nil {
		return nil, fmt.Errorf("wallet send: no message")
	}
	b.ref(m.Message)
	return b.cell(), b.err
}

// ParseWalletSend reads the body of a [WalletSend].
func ParseWalletSend(body *cell.Cell) (*WalletSend, error) {
	in, err := open(body)
	if err != nil {
		return nil, fmt.Errorf("wallet send: %w", err)
	}
	if op := in.uint(32); in.err == nil && op != opWalletSend {
		return nil, fmt.Errorf("wallet send: operation is %08x, want %08x", op, uint32(opWalletSend))
	}
	m := &WalletSend{QueryID: in.uint(64), Mode: uint8(in.uint(8)), Message: in.ref()}
	if err := in.end(); err != nil {
		return nil, fmt.Errorf("wallet send: %w", err)
	}
	return m, nil
}

// WalletExit says what a node wallet means with an exit code, and what to do;
// "" for codes that are not its own.
func WalletExit(code int32) string { return walletExits[code] }

var walletExits = map[int32]string{
	9:    "order is cut short or too long, or one of its messages names its sender",
	1030: "order has expired: sign it anew",
	1031: "wallet is blocked by its owner: send it the comment u",
	1032: "order has another sequence number than the wallet: read its state again",
	1033: "order is for another subwallet",
	1034: "order is not signed by the wallet's key",
	1035: "wallet holds less than 2 TON: send it more",
	1040: "sender is not the wallet's owner",
	1041: "unknown operation or comment",
}
