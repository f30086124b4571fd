package sim

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// book is what must be true, computed beside the programs and from nothing of
// theirs: from the chain's transactions and from what requests were told.
type book struct {
	e *economy

	fees *big.Int // taken so far

	// paid is what proxies' contracts paid to whom, by contract and receiver.
	paid map[[2]string]coin.Nano
	// topped is what clients' contracts were topped up with.
	topped map[string]coin.Nano

	pages map[string]*page // by proxy contract
	// shots are what had been booked when a note was first seen under way.
	shots map[noteID]*shot
	// payments that programs have made, by contract and number.
	payments map[string]bool
	// notes are those that have arrived at a contract, in order.
	notes map[string][]noteID
}

type shot struct {
	step, life int
	totals     map[string]totals
}

type noteID struct {
	house   string
	number  uint32
	session [32]byte
}

// totals are tokens by account, clients by wallet and workers by owner.
type totals map[string]int64

// page is one generation of one proxy.
type page struct {
	house     *house
	contracts *contract.Contracts
	gen       uint32
	// booked was acknowledged; perhaps is what was asked of a store that failed.
	booked, perhaps totals
	// committed is what the chain has been shown, at the most.
	committed totals
	// signed is the most that was signed.
	signed totals
	over   bool
	short  bool // its pool could not pay all
}

func newBook(e *economy) *book {
	return &book{e: e, fees: new(big.Int), paid: map[[2]string]coin.Nano{}, topped: map[string]coin.Nano{}, pages: map[string]*page{}, shots: map[noteID]*shot{}, notes: map[string][]noteID{}, payments: map[string]bool{}}
}

// begin opens a page.
func (b *book) begin(h *house, c *contract.Contracts) *page {
	key := c.Proxy.Address.StringRaw()
	if b.pages[key] == nil {
		b.pages[key] = &page{house: h, contracts: c, gen: c.Params.ParamsVersion, booked: totals{}, perhaps: totals{}, committed: totals{}, signed: totals{}}
		b.e.names[key] = fmt.Sprintf("%s/%d", h.name, c.Params.ParamsVersion)
		for _, cl := range b.e.clients {
			b.e.client(c, cl)
		}
		for _, w := range b.e.workers {
			b.e.worker(c, w)
		}
	}
	return b.pages[key]
}

// transaction books what has happened on the chain.
func (b *book) transaction(tx *ton.Transaction) {
	b.fees.Add(b.fees, tx.Fees.Big())
	at := tx.Account.StringRaw()
	p := b.pages[at]
	if p != nil {
		for _, out := range tx.Out {
			if body, err := contract.ParseBody(out.Body); err == nil && !out.Bounced {
				if _, ok := body.(*contract.PaidOut); ok {
					b.paid[[2]string{at, out.To.StringRaw()}] += out.Value
				}
			}
		}
	}
	if tx.In == nil || tx.In.From == nil {
		return
	}
	done := tx.Ran && !tx.Aborted && tx.ExitCode <= 1
	if tx.In.Bounced {
		if back, ok := came(tx.In.Body).(*contract.ClientRequest); ok && done && back.Part != nil && back.Part.Kind == contract.PartTopUp {
			b.topped[at] -= back.Part.Amount
		}
		return
	}
	body, err := contract.ParseBody(tx.In.Body)
	if err != nil {
		return
	}
	switch m := body.(type) {
	case *contract.SaveState:
		if p != nil && tx.In.From.Equals(p.house.wallet) {
			b.landed(at, noteID{p.house.name, m.Seqno, m.Session})
		}
	case *contract.TopUp:
		b.once(at, tx.In.From, m.QueryID)
		if done {
			b.topped[at] += m.Amount
		}
	case *contract.SecretTopUp:
		b.once(at, tx.In.From, m.QueryID)
		if done {
			b.topped[at] += m.Amount
		}
	}
}

// once: no program's payment arrives twice, whatever crashed in between.
func (b *book) once(at string, from *address.Address, query uint64) {
	for _, c := range b.e.clients {
		if c.program == nil || c.old || !from.Equals(c.program.wallet) {
			continue
		}
		key := fmt.Sprint(at, " ", query)
		if b.payments[key] {
			b.e.broken("%s pays in twice to %s: payment %d", c.name, b.e.who(at), query)
		}
		b.payments[key] = true
	}
}

// came is what had been said in a message that has come back.
func came(body *cell.Cell) contract.Body {
	s, err := body.BeginParse()
	if err != nil || s.RefsNum() == 0 {
		return nil
	}
	said, err := s.LoadRefCell()
	if err != nil {
		return nil
	}
	b, err := contract.ParseBody(said)
	if err != nil {
		return nil
	}
	return b
}

// sent looks for notes in a message from outside.
func (b *book) sent(n *node, m *ton.Message) {
	order, err := contract.ParseOrder(m.Body)
	if err != nil {
		return
	}
	for _, x := range order.Messages {
		in, err := ton.ParseMessage(x.Cell)
		if err != nil {
			continue
		}
		body, err := contract.ParseBody(in.Body)
		if err != nil {
			continue
		}
		s, ok := body.(*contract.SaveState)
		if id := (noteID{n.name, s0(s).Seqno, s0(s).Session}); ok && b.shots[id] == nil {
			now := &shot{b.e.step, n.life, map[string]totals{}}
			for key, p := range b.pages {
				if p.house.node == n {
					now.totals[key] = p.most()
				}
			}
			b.shots[id] = now
		}
	}
}

func s0(s *contract.SaveState) *contract.SaveState {
	if s == nil {
		return &contract.SaveState{}
	}
	return s
}

// most is what may have been booked.
func (p *page) most() totals {
	t := maps.Clone(p.booked)
	for who, n := range p.perhaps {
		t[who] += n
	}
	return t
}

func (b *book) landed(at string, id noteID) {
	b.notes[at] = append(b.notes[at], id)
	if b.shots[id] == nil {
		b.e.broken("note %d of %s arrived, and was never sent", id.number, id.house)
		return
	}
	for key, t := range b.shots[id].totals {
		for who, n := range t {
			b.pages[key].committed[who] = max(b.pages[key].committed[who], n)
		}
	}
}

// promise is asked before a proxy's key signs.
func (b *book) promise(c *contract.Contracts, p ledger.Promise) {
	page := b.pages[c.Proxy.Address.StringRaw()]
	if page == nil {
		b.e.broken("signs for contract %s, which nobody knows", c.Proxy.Address)
		return
	}
	if p.Tokens > page.committed[p.Account] {
		b.e.broken("%s signs %d tokens of %s, and the chain has been shown %d at most", b.e.names[c.Proxy.Address.StringRaw()], p.Tokens, b.e.who(p.Account), page.committed[p.Account])
	}
	page.signed[p.Account] = max(page.signed[p.Account], p.Tokens)
	if !page.house.old && !page.house.diverged && p.Final && p.Tokens != page.booked[p.Account] && p.Tokens != page.most()[p.Account] {
		b.e.broken("%s signs %d tokens as the last of %s, who has %d", b.e.names[c.Proxy.Address.StringRaw()], p.Tokens, b.e.who(p.Account), page.booked[p.Account])
	}
}

// coins: nothing appears and nothing vanishes.
func (b *book) coins() error {
	have := b.e.chain.total()
	for _, m := range b.e.chain.transit {
		have.Add(have, m.Value.Big())
	}
	want := new(big.Int).Mul(big.NewInt(supply), big.NewInt(int64(coin.TON)))
	want.Sub(want, b.fees)
	if have.Cmp(want) != 0 {
		return fmt.Errorf("accounts and messages hold %s nanoTON, want %s", have, want)
	}
	return nil
}

// busy says whether a message to or from a contract of the generation is under way.
func (b *book) busy() map[string]bool {
	set := map[string]bool{}
	for _, m := range b.e.chain.transit {
		set[m.From.StringRaw()], set[m.To.StringRaw()] = true, true
	}
	return set
}

// check is everything that must hold when a block has been sealed.
func (b *book) check() error {
	if err := b.coins(); err != nil {
		return err
	}
	busy := b.busy()
	for _, key := range slices.Sorted(maps.Keys(b.pages)) {
		if err := b.checkPage(b.pages[key], busy); err != nil {
			return fmt.Errorf("%s: %w", b.e.names[key], err)
		}
	}
	return nil
}

func (b *book) checkPage(p *page, busy map[string]bool) error {
	at := p.contracts.Proxy.Address
	account := b.e.chain.look(at)
	if account.Status != ton.Active {
		return nil
	}
	s, err := contract.ParseProxyState(account.Data)
	if err != nil {
		return err
	}
	if account.Balance < s.Deposits+s.Balance+s.Stake {
		return fmt.Errorf("the contract holds %s, and owes %s to clients and workers, %s and %s to its owner", account.Balance.Text(), s.Deposits.Text(), s.Balance.Text(), s.Stake.Text())
	}
	price, fee := p.contracts.Params.PricePerToken, p.contracts.Params.WorkerFeePerToken
	quiet := !busy[at.StringRaw()]
	owed, charged, counted := coin.Nano(0), int64(0), int64(0)
	for _, c := range b.e.clients {
		d := b.e.client(p.contracts, c)
		state, err := b.clientState(d.Address)
		if err != nil || state == nil {
			if err != nil {
				return err
			}
			continue
		}
		key := d.Address.StringRaw()
		quiet = quiet && !busy[key]
		if most := p.most()[c.account()]; !p.house.lies && int64(state.Tokens) > most {
			return fmt.Errorf("%s was charged for %d tokens, and used %d", c.name, state.Tokens, most)
		}
		owed += state.Balance - state.Debt
		charged += int64(state.Tokens)
		if !busy[key] && !busy[at.StringRaw()] {
			refunds := b.paid[[2]string{at.StringRaw(), c.account()}]
			if want := b.topped[key] - price.Times(int64(state.Tokens)) - state.Balance + state.Debt; refunds != want {
				return fmt.Errorf("%s paid in %s, was charged for %d tokens, has %s and owes %s, and got back %s: want %s", c.name, b.topped[key].Text(), state.Tokens,
					state.Balance.Text(), state.Debt.Text(), refunds.Text(), want.Text())
			}
		}
		if err := c.believes(p, d.Address, int64(state.Tokens)); err != nil {
			return err
		}
	}
	for _, w := range b.e.workers {
		d := b.e.worker(p.contracts, w)
		state, err := b.workerState(d.Address)
		if err != nil || state == nil {
			if err != nil {
				return err
			}
			continue
		}
		key := d.Address.StringRaw()
		quiet = quiet && !busy[key]
		if most := p.most()[w.account()]; !p.house.lies && int64(state.Tokens) > most {
			return fmt.Errorf("%s has asked to be paid for %d tokens, and earned %d", w.name, state.Tokens, most)
		}
		counted += int64(state.Tokens) - int64(state.Owed)
		if !busy[key] && !busy[at.StringRaw()] {
			if got, want := b.paid[[2]string{at.StringRaw(), w.account()}], fee.Times(int64(state.Tokens)-int64(state.Owed)); got != want {
				return fmt.Errorf("%s was paid %s for %d tokens of which %d are owed, want %s", w.name, got.Text(), state.Tokens, state.Owed, want.Text())
			}
		}
	}
	want := owed + price*coin.Nano(charged-counted)
	p.short = p.short || quiet && want < 0
	// A pool that was short once has paid fees without the proxy's cut.
	if spared := (price - fee) * coin.Nano(counted); quiet && s.State != contract.Closed && s.Deposits != want && !(p.short && s.Deposits > want && s.Deposits-want <= spared) {
		return fmt.Errorf("deposits are %s: clients have %s and were charged for %d tokens, workers paid for %d: want %s", s.Deposits.Text(), owed.Text(), charged, counted, want.Text())
	}
	return nil
}

func (b *book) clientState(at *address.Address) (*contract.ClientState, error) {
	a := b.e.chain.look(at)
	if a.Status != ton.Active {
		return nil, nil
	}
	return contract.ParseClientState(a.Data)
}

func (b *book) workerState(at *address.Address) (*contract.WorkerState, error) {
	a := b.e.chain.look(at)
	if a.Status != ton.Active {
		return nil, nil
	}
	return contract.ParseWorkerState(a.Data)
}

// opened compares what a ledger remembers after a start with what it had acknowledged.
func (b *book) opened(h *house) {
	if err := h.ledger.Check(); err != nil {
		b.e.broken("%s: %v", h.name, err)
	}
	for _, g := range h.ledger.Generations() {
		p := b.pages[g.Contract]
		if p == nil {
			continue // begun, and killed before anybody knew
		}
		have := totals{}
		clients, workers := h.ledger.Accounts(g.Number)
		for _, c := range clients {
			have[c.Wallet] = c.Used.DB
		}
		for _, w := range workers {
			have[w.Owner] = w.Earned.DB
		}
		for _, who := range slices.Sorted(maps.Keys(p.most())) {
			if n := have[who]; !h.old && !h.ruined && (n < p.booked[who] || n > p.booked[who]+p.perhaps[who]) {
				b.e.broken("%s remembers %d tokens of %s after its start; %d were acknowledged, %d more asked for", b.e.names[g.Contract], n, b.e.who(who), p.booked[who], p.perhaps[who])
			}
			if !h.old {
				p.booked[who], p.perhaps[who] = have[who], 0
			}
		}
	}
}
