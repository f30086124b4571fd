package contract_test

import (
	"fmt"
	"math/big"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// book is what should be in every contract, computed from the transactions
// that succeeded, and where all money is. It knows the rules and none of the
// contracts' code.
type book struct {
	names   map[string]string
	parties map[string]party // by raw address

	// All coins: there were some, people brought more, fees took some, and
	// some are in messages that have not arrived, or arrived more than once:
	// exactly those that the chain led astray.
	begun, minted, fees, transit, astray *big.Int
}

// party is a contract in the book.
type party interface {
	// observe books a transaction that succeeded, or says why it must not have.
	observe(tx *happened) error
	// compare says how the contract's data differ from the book.
	compare(a *tlb.AccountState) error
}

func newBook() *book {
	return &book{
		names: map[string]string{}, parties: map[string]party{},
		begun: new(big.Int), minted: new(big.Int), fees: new(big.Int), transit: new(big.Int), astray: new(big.Int),
	}
}

func (b *book) called(a *address.Address) string {
	if name, ok := b.names[a.StringRaw()]; ok {
		return name
	}
	if name, ok := humans[a.StringRaw()]; ok {
		return name
	}
	return "somebody"
}

func (b *book) add(name string, d *contract.Deployment, p party) {
	b.names[d.Address.StringRaw()] = name
	b.parties[d.Address.StringRaw()] = p
}

// observe books a transaction and returns who and how in two words.
func (b *book) observe(tx *tlb.Transaction) (string, error) {
	h := &happened{now: tx.Now, in: tx.IO.In.AsInternal()}
	b.arrives(h.in, tx)
	to := h.in.DstAddr.StringRaw()
	if tx.IO.Out != nil {
		out, err := tx.IO.Out.ToSlice()
		if err != nil {
			return "", err
		}
		for _, m := range out {
			h.out = append(h.out, m.AsInternal())
			b.leaves(m.AsInternal())
		}
	}
	d := tx.Description.(tlb.TransactionDescriptionOrdinary)
	code := h.outcome(&d)
	h.sender = h.in.SrcAddr.StringRaw()
	h.body = said(h.in)
	name := b.called(h.in.DstAddr) + " " + code
	p, ok := b.parties[to]
	if !ok {
		return name, nil
	}
	if err := p.observe(h); err != nil {
		return name, fmt.Errorf("%s, on %T: %w", b.called(h.in.DstAddr), h.body, err)
	}
	return name, nil
}

func worth(m *tlb.InternalMessage) *big.Int {
	return new(big.Int).Add(m.Amount.Nano(), m.FwdFee.Nano())
}

func (b *book) arrives(m *tlb.InternalMessage, tx *tlb.Transaction) {
	b.fees.Add(b.fees, m.FwdFee.Nano())
	b.fees.Add(b.fees, tx.TotalFees.Coins.Nano())
	if _, wallet := humans[m.SrcAddr.StringRaw()]; !wallet {
		b.transit.Sub(b.transit, worth(m))
	}
	b.claimed(m, func(c *claim, v [2]coin.Nano) {
		c.flying[0], c.flying[1] = c.flying[0]-v[0], c.flying[1]-v[1]
	})
}

func (b *book) leaves(m *tlb.InternalMessage) {
	b.transit.Add(b.transit, worth(m))
	b.claimed(m, func(c *claim, v [2]coin.Nano) {
		c.flying[0], c.flying[1] = c.flying[0]+v[0], c.flying[1]+v[1]
	})
}

// strays books what the chain did with a message: n is 1 for one that it lost
// or delays, -1 for one that it delivers once more than it should.
func (b *book) strays(m *tlb.InternalMessage, n int64) {
	b.astray.Add(b.astray, new(big.Int).Mul(worth(m), big.NewInt(n)))
	b.claimed(m, func(c *claim, v [2]coin.Nano) {
		c.astray[0], c.astray[1] = c.astray[0]+coin.Nano(n)*v[0], c.astray[1]+coin.Nano(n)*v[1]
	})
}

// claim is what messages under way carry of a party's: what it has asked for,
// and what goes to the proxy. When nothing is running, that is what the chain led
// astray.
type claim struct{ flying, astray [2]coin.Nano }

func (c *claim) compare() error { return differ("in messages under way", c.flying, c.astray) }

// claimed finds whose claim a message carries, there or back.
func (b *book) claimed(m *tlb.InternalMessage, do func(c *claim, v [2]coin.Nano)) {
	at := m.SrcAddr
	if m.Bounced {
		at = m.DstAddr
	}
	switch p := b.parties[at.StringRaw()].(type) {
	case *workerBook:
		if r, ok := said(m).(*contract.WorkerRequest); ok && r.Part != nil {
			do(&p.claim, [2]coin.Nano{r.Part.Worker, r.Part.Proxy})
		}
	case *clientBook:
		switch r, ok := said(m).(*contract.ClientRequest); {
		case !ok || r.Part == nil:
		case r.Part.Kind == contract.PartTopUp:
			do(&p.claim, [2]coin.Nano{0, r.Part.Amount})
		default:
			do(&p.claim, [2]coin.Nano{r.Part.Amount, 0})
		}
	}
}

// compare looks at every contract, and counts all coins.
func (b *book) compare(chain *localnet.Chain) error {
	for at, p := range b.parties {
		a, err := chain.Account(address.MustParseRawAddr(at))
		if err != nil {
			return err
		}
		if a.Status != tlb.AccountStatusActive {
			continue
		}
		if err := p.compare(a); err != nil {
			return fmt.Errorf("%s: %w", b.names[at], err)
		}
	}
	total, err := chain.Total()
	if err != nil {
		return err
	}
	want := new(big.Int).Add(b.begun, b.minted)
	want.Sub(want, b.fees).Sub(want, b.transit)
	if total.Cmp(want) != 0 {
		return fmt.Errorf("there are %s nanoTON in all, want %s", total, want)
	}
	return differ("in messages under way", b.transit, b.astray)
}

// differ names the first number that is not as it should be.
func differ(pairs ...any) error {
	for i := 0; i+2 < len(pairs); i += 3 {
		if got, want := fmt.Sprint(pairs[i+1]), fmt.Sprint(pairs[i+2]); got != want {
			return fmt.Errorf("%s is %s, the book says %s", pairs[i], got, want)
		}
	}
	return nil
}
