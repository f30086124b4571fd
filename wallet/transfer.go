package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	library "github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
)

// Transfer is a payment from a person's wallet.
type Transfer struct {
	To     *address.Address
	Amount coin.Nano
	// All sends what the wallet holds, fees taken off. It must be alone, and
	// Amount zero.
	All bool
	// Bounce sends the money back if nobody is there or the contract fails.
	// Leave it off for a wallet that was never used; see [Bounces].
	Bounce bool
	// Comment is a text for people. Not together with Body.
	Comment string
	// Body is what a contract is told. Nil or empty only pays.
	Body *cell.Cell
	// Init deploys a contract along the way.
	Init *tlb.StateInit
}

// ErrPoor means that a wallet holds too little. Send it more.
var ErrPoor = errors.New("wallet holds too little")

// maxTransfers is how many payments one message of the version can carry.
func (v Version) maxTransfers() int {
	if v == V5R1 {
		return 255
	}
	return 4
}

const (
	// TTL is how long a message of [Wallet.Build] is good, from the block of the
	// account that it was built with.
	TTL = 5 * time.Minute
	// Messages leave out what cannot be paid instead of burning the fee again
	// and again, and v5 insists on it. Fees are the sender's, not taken off.
	transferMode    = library.PayGasSeparately + library.IgnoreErrors
	transferAllMode = library.CarryAllRemainingBalance + library.IgnoreErrors
)

// Account is the wallet as of the chain's newest block.
func (w *Wallet) Account(ctx context.Context, chain ton.Chain) (*ton.Account, error) {
	a, err := chain.Account(ctx, w.address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	return a, nil
}

// Balance is what the wallet holds as of the chain's newest block.
func (w *Wallet) Balance(ctx context.Context, chain ton.Chain) (coin.Nano, error) {
	a, err := w.Account(ctx, chain)
	if err != nil {
		return 0, err
	}
	return a.Balance, nil
}

// Bounces says whether a transfer to this account should be one that bounces:
// contracts can refuse money, and a wallet that was never used takes it only
// if it does not come back.
func Bounces(to *ton.Account) bool { return to.Status == ton.Active }

// Build signs transfers as an external message, for ton.SendAndConfirm or
// ton.Emulate. The account is the wallet's own, of a moment ago: the message is
// good for its seqno, for five minutes from its block; the wallet itself is
// deployed along the way if it never was. [ErrPoor] if it holds less than the
// sum; whether the fees are covered tells an emulation.
func (w *Wallet) Build(a *ton.Account, transfers ...Transfer) (*cell.Cell, error) {
	if err := w.check(a, transfers); err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	seqno, err := w.Seqno(a)
	if err != nil {
		return nil, err
	}
	messages := make([]*library.Message, len(transfers))
	for i := range transfers {
		if messages[i], err = transfers[i].message(); err != nil {
			return nil, fmt.Errorf("%s: transfer %d: %w", w, i+1, err)
		}
	}
	external, err := w.sign(seqno, a.At.Time.Add(TTL), a.Status != ton.Active, messages)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	return tlb.ToCell(external)
}

// sign dates the message by the chain, which may be ahead of this machine or
// behind it: the library counts from the machine's clock.
func (w *Wallet) sign(seqno uint32, until time.Time, deploy bool, messages []*library.Message) (*tlb.ExternalMessage, error) {
	ttl := time.Until(until)
	if ttl < time.Second {
		return nil, fmt.Errorf("the chain's newest block is of %s, %s before this machine's clock: set the clock, or wait for the chain",
			until.Add(-TTL).UTC().Format(time.RFC3339), (TTL - ttl).Round(time.Second))
	}
	config, err := w.version.config(w.network)
	if err != nil {
		return nil, err
	}
	signer, err := library.FromPrivateKeyWithOptions(w.key.Private(), config)
	if err != nil {
		return nil, err
	}
	fetch := func(context.Context, uint32) (uint32, error) { return seqno, nil }
	switch spec := signer.GetSpec().(type) {
	case *library.SpecV5R1Final:
		spec.SetSeqnoFetcher(fetch)
		spec.SetMessagesTTL(uint32(ttl / time.Second))
	case *library.SpecV4R2:
		spec.SetSeqnoFetcher(fetch)
		spec.SetMessagesTTL(uint32(ttl / time.Second))
	case *library.SpecV3:
		spec.SetSeqnoFetcher(fetch)
		spec.SetMessagesTTL(uint32(ttl / time.Second))
	default:
		return nil, fmt.Errorf("the library signs %T, which this program does not know", spec)
	}
	return signer.PrepareExternalMessageForMany(context.Background(), deploy, messages)
}

func (w *Wallet) check(a *ton.Account, transfers []Transfer) error {
	most := w.version.maxTransfers()
	if len(transfers) < 1 || len(transfers) > most {
		return fmt.Errorf("%d transfers, want 1 to %d at a time", len(transfers), most)
	}
	if !a.Address.Equals(w.address) {
		return fmt.Errorf("asked with the account %s, want its own", a.Address)
	}
	if a.Status == ton.Frozen {
		return errors.New("it is frozen for unpaid rent")
	}
	sum := coin.Nano(0)
	for i := range transfers {
		if transfers[i].All && len(transfers) > 1 {
			return errors.New("a transfer of everything must be alone")
		}
		sum = sum.Add(transfers[i].Amount)
	}
	if sum > a.Balance || a.Balance == 0 {
		return fmt.Errorf("%w: %s, want %s and fees: send %s to %s", ErrPoor, a.Balance.Text(), sum.Text(), (sum - a.Balance).Text(), w.address)
	}
	return nil
}

// Seqno is the number that the wallet's next message must carry.
func (w *Wallet) Seqno(a *ton.Account) (uint32, error) {
	if a.Status != ton.Active {
		return 0, nil
	}
	data, err := a.Data.BeginParse()
	if err == nil && w.version == V5R1 {
		_, err = data.LoadBoolBit() // whether signatures are allowed
	}
	seqno := uint64(0)
	if err == nil {
		seqno, err = data.LoadUInt(32)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: its data is not a wallet's: %w", w, err)
	}
	return uint32(seqno), nil
}

func (t *Transfer) message() (*library.Message, error) {
	body, err := t.body()
	if err != nil {
		return nil, err
	}
	mode := transferMode
	switch {
	case t.To == nil || t.To.Type() != address.StdAddress || t.To.Anycast() != nil:
		return nil, errors.New("no address to send to")
	case t.Amount < 0:
		return nil, fmt.Errorf("amount is %s, want 0 or more", t.Amount.Text())
	case t.All && t.Amount != 0:
		return nil, errors.New("everything and an amount: want one of them")
	case t.All:
		mode = transferAllMode
	}
	return &library.Message{Mode: uint8(mode), InternalMessage: &tlb.InternalMessage{
		IHRDisabled: true, Bounce: t.Bounce, DstAddr: t.To, Amount: tlb.FromNanoTON(t.Amount.Big()), StateInit: t.Init, Body: body,
	}}, nil
}

func (t *Transfer) body() (*cell.Cell, error) {
	switch {
	case t.Comment == "" && t.Body == nil:
		return cell.BeginCell().EndCell(), nil
	case t.Comment == "":
		return t.Body, nil
	case t.Body != nil:
		return nil, errors.New("a comment and a body: want one of them")
	}
	return Comment(t.Comment)
}

// Comment is a text for people as a message's body.
func Comment(text string) (*cell.Cell, error) {
	if len(text) > maxComment {
		return nil, fmt.Errorf("comment of %d bytes, want at most %d", len(text), maxComment)
	}
	return library.CreateCommentCell(text)
}

// maxComment keeps a message well within what the network takes.
const maxComment = 4096
