package ledger

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/opencocoon/cocoon/coin"
)

// state is what the events so far add up to. It changes by apply alone, which
// is deterministic, so that a restart finds exactly what was there before.
type state struct {
	seq         uint64
	generations []*generation // oldest first; the last one is current, those before are closing

	// Notes. Numbers of notes never repeat; a session is one start of the proxy.
	note     int32 // last number given out
	sessions map[Hash]span
	pending  []*note               // prepared, not seen; oldest first
	dirty    map[*counter]struct{} // moved since the last note was prepared
}

// span is the notes from first to last that a session has prepared.
type span struct{ first, last int32 }

// note is a save-state note that the chain has not shown yet.
type note struct {
	number  int32
	session Hash
	levels  map[*counter]int64 // what it commits
}

// counter is a running total as the store knows it and as the chain has been told.
type counter struct {
	db, chain int64
	of        interface{ track() } // its account
}

func (c *counter) levels() Levels { return Levels{Max: c.db, DB: c.db, Chain: c.chain} }

// generation is the accounts under one proxy contract.
type generation struct {
	Generation
	closing bool
	keeps   bool // its contract keeps deposits when it is closed; not durable
	proxy   ProxyState
	clients map[string]*client
	workers map[string]*worker
	// idle holds the names of accounts that nothing durable is known of.
	idleClients, idleWorkers map[string]struct{}
	// owing holds accounts the chain has not caught up with; see due.go.
	owingClients map[*client]struct{}
	owingWorkers map[*worker]struct{}
}

type client struct {
	g    *generation
	name string
	used counter
	seen ClientState
	// returned is what deposits bought that the client was given back and has
	// in its contract all the same; returnedLT is the last such transaction.
	returned   int64
	returnedLT uint64
	late       bool // it came when the contract was closing already

	// Not durable: what runs now, and the last payment signed.
	reserved int64
	running  int
	signed   signed
}

type worker struct {
	g      *generation
	name   string
	earned counter
	seen   WorkerState

	coming int64 // being booked now
	signed signed
}

func newState() *state {
	return &state{sessions: map[Hash]span{}, dirty: map[*counter]struct{}{}}
}

func newGeneration(g Generation) *generation {
	return &generation{Generation: g, clients: map[string]*client{}, workers: map[string]*worker{},
		idleClients: map[string]struct{}{}, idleWorkers: map[string]struct{}{},
		owingClients: map[*client]struct{}{}, owingWorkers: map[*worker]struct{}{}}
}

// current is nil before the first generation.
func (s *state) current() *generation {
	if len(s.generations) == 0 {
		return nil
	}
	return s.generations[len(s.generations)-1]
}

func (s *state) generation(number uint32) *generation {
	for _, g := range s.generations {
		if g.Number == number {
			return g
		}
	}
	return nil
}

// keptClient is the account something durable happens to, made if it is new.
func (g *generation) keptClient(name string) *client {
	c, ok := g.clients[name]
	if !ok {
		c = &client{g: g, name: name}
		c.used.of = c
		g.clients[name] = c
	}
	delete(g.idleClients, name)
	return c
}

func (g *generation) keptWorker(name string) *worker {
	w, ok := g.workers[name]
	if !ok {
		w = &worker{g: g, name: name}
		w.earned.of = w
		g.workers[name] = w
	}
	delete(g.idleWorkers, name)
	return w
}

// client is the account, idle if it is new.
func (g *generation) client(name string) *client {
	if c, ok := g.clients[name]; ok {
		return c
	}
	c := g.keptClient(name)
	g.idleClients[name] = struct{}{}
	return c
}

func (g *generation) worker(name string) *worker {
	if w, ok := g.workers[name]; ok {
		return w
	}
	w := g.keptWorker(name)
	g.idleWorkers[name] = struct{}{}
	return w
}

// apply adds one event. With an error nothing has changed: the event cannot
// follow the ones before it.
func (s *state) apply(e *Event) error {
	if e.Seq != 0 { // a snapshot's have none
		if e.Seq != s.seq+1 {
			return fmt.Errorf("event %d follows event %d", e.Seq, s.seq)
		}
		if err := s.applyKind(e); err != nil {
			return fmt.Errorf("event %d: %s: %w", e.Seq, e.Kind, err)
		}
		s.seq = e.Seq
		return nil
	}
	if err := s.applyKind(e); err != nil {
		return fmt.Errorf("snapshot: %s: %w", e.Kind, err)
	}
	return nil
}

func (s *state) applyKind(e *Event) error {
	switch e.Kind {
	case Began:
		return s.began(e)
	case Noted:
		return s.noted(e)
	case NoteSeen:
		return s.noteSeen(e)
	case CarriedSession:
		s.sessions[e.Session] = span{e.Note, e.Last}
		s.note = max(s.note, e.Last)
		return nil
	case CarriedNote:
		s.pending = append(s.pending, &note{e.Note, e.Session, map[*counter]int64{}})
		return nil
	case CarriedEnd:
		return nil
	}
	g := s.generation(e.Generation)
	if g == nil {
		return fmt.Errorf("generation %d is unknown", e.Generation)
	}
	return s.applyTo(g, e)
}

func (s *state) applyTo(g *generation, e *Event) error {
	switch e.Kind {
	case Settled:
		return s.settled(g, e)
	case ClientSeen:
		c := g.keptClient(e.Client)
		c.late = c.late || g.closing && g.proxy.State != Open && c.used.db == 0 && c.seen == ClientState{}
		c.seen = ClientState{State: e.State, Balance: e.Balance, Stake: e.Stake, Debt: e.Debt, Charged: e.Tokens, LT: e.LT}
		s.shown(&c.used, e.Tokens)
		c.track()
	case Returned:
		c := g.keptClient(e.Client)
		c.returned, c.returnedLT = add(c.returned, e.Tokens), e.LT
		c.track()
	case WorkerSeen:
		w := g.keptWorker(e.Worker)
		w.seen = WorkerState{State: e.State, Paid: e.Tokens, LT: e.LT}
		s.shown(&w.earned, e.Tokens)
		w.track()
	case ProxySeen:
		g.proxy = ProxyState{State: e.State, Balance: e.Balance, Stake: e.Stake, Unlock: e.Unlock, LT: e.LT, Hash: e.Hash}
	case Ended:
		return s.ended(g)
	case CarriedClient, CarriedWorker:
		return s.carried(g, e)
	case CarriedLevel:
		return s.carriedLevel(g, e)
	default:
		return fmt.Errorf("unknown event")
	}
	return nil
}

func (s *state) began(e *Event) error {
	next := uint32(1)
	if old := s.current(); old != nil {
		if next = old.Number + 1; e.Params < old.Params {
			return fmt.Errorf("parameters go back from %d to %d", old.Params, e.Params)
		}
	}
	if e.Seq != 0 && e.Generation != next || e.Generation < next {
		return fmt.Errorf("generation %d, want %d", e.Generation, next)
	}
	if old := s.current(); old != nil {
		old.closing = true
		for _, c := range old.clients {
			c.track()
		}
		for _, w := range old.workers {
			w.track()
		}
	}
	s.generations = append(s.generations, newGeneration(Generation{Number: e.Generation, Params: e.Params, Contract: e.Contract,
		Price: e.Price, Fee: e.Fee, Credit: Deposit{e.Paid, e.Staked}, Memo: e.Memo}))
	return nil
}

func (s *state) settled(g *generation, e *Event) error {
	if e.Client == "" || e.Worker == "" || e.Tokens <= 0 {
		return fmt.Errorf("%d tokens from %q to %q", e.Tokens, e.Client, e.Worker)
	}
	c, w := g.keptClient(e.Client), g.keptWorker(e.Worker)
	if e.Tokens > math.MaxInt64-c.used.db || e.Tokens > math.MaxInt64-w.earned.db {
		return fmt.Errorf("%d tokens from %s to %s do not fit into a counter", e.Tokens, e.Client, e.Worker)
	}
	c.used.db += e.Tokens
	w.earned.db += e.Tokens
	s.dirty[&c.used], s.dirty[&w.earned] = struct{}{}, struct{}{}
	return nil
}

// shown raises what is committed to what the chain has acted on: it acts on
// nothing else.
func (s *state) shown(c *counter, tokens int64) {
	c.chain = max(c.chain, min(tokens, c.db))
	if c.chain == c.db {
		delete(s.dirty, c)
	}
}

// noted takes along whatever earlier notes would have committed, since they may never land.
func (s *state) noted(e *Event) error {
	if e.Note != s.note+1 {
		return fmt.Errorf("note %d follows note %d", e.Note, s.note)
	}
	n := &note{e.Note, e.Session, make(map[*counter]int64, len(s.dirty))}
	for c := range s.dirty {
		n.levels[c] = c.db
	}
	for _, old := range s.pending {
		for c := range old.levels {
			n.levels[c] = c.db
		}
	}
	s.note, s.dirty = e.Note, map[*counter]struct{}{}
	s.pending = append(s.pending, n)
	known, ok := s.sessions[e.Session]
	if !ok {
		known.first = e.Note
	}
	s.sessions[e.Session] = span{known.first, e.Note}
	return nil
}

// known says whether we prepared the note.
func (s *state) known(number int32, session Hash) bool {
	in, ok := s.sessions[session]
	return ok && number >= in.first && number <= in.last
}

// noteSeen commits what the note covers. One that is known and no longer
// pending was overtaken by a later one and changes nothing.
func (s *state) noteSeen(e *Event) error {
	if !s.known(e.Note, e.Session) {
		return fmt.Errorf("note %d of session %s was never prepared", e.Note, e.Session)
	}
	i := slices.IndexFunc(s.pending, func(n *note) bool { return n.number == e.Note })
	if i < 0 {
		return nil
	}
	for c, v := range s.pending[i].levels {
		c.chain = max(c.chain, v)
		c.of.track()
	}
	s.pending = slices.Delete(s.pending, 0, i+1)
	return nil
}

// ended forgets a closing generation, and what was still to be said of it.
func (s *state) ended(g *generation) error {
	if !g.closing {
		return fmt.Errorf("generation %d is not closing", g.Number)
	}
	forget := func(c *counter) {
		delete(s.dirty, c)
		for _, n := range s.pending {
			delete(n.levels, c)
		}
	}
	for _, c := range g.clients {
		forget(&c.used)
	}
	for _, w := range g.workers {
		forget(&w.earned)
	}
	s.generations = slices.DeleteFunc(s.generations, func(o *generation) bool { return o == g })
	return nil
}

func (s *state) carried(g *generation, e *Event) error {
	if e.Chain > e.Tokens || (e.Client == "") == (e.Kind == CarriedClient) {
		return fmt.Errorf("counter %d, of which %d are committed", e.Tokens, e.Chain)
	}
	var c *counter
	if e.Kind == CarriedClient {
		account := g.keptClient(e.Client)
		account.returned, account.returnedLT, account.late = e.Reported, e.LT, e.State != Open
		c = &account.used
	} else {
		account := g.keptWorker(e.Worker)
		c = &account.earned
	}
	c.db, c.chain = e.Tokens, e.Chain
	if c.chain < c.db {
		s.dirty[c] = struct{}{}
	}
	c.of.track()
	return nil
}

func (s *state) carriedLevel(g *generation, e *Event) error {
	if len(s.pending) == 0 {
		return fmt.Errorf("no note before it")
	}
	var c *counter
	if account, ok := g.clients[e.Client]; ok && e.Worker == "" {
		c = &account.used
	} else if account, ok := g.workers[e.Worker]; ok && e.Client == "" {
		c = &account.earned
	}
	if c == nil || e.Tokens > c.db {
		return fmt.Errorf("no account %q%q with %d tokens", e.Client, e.Worker, e.Tokens)
	}
	s.pending[len(s.pending)-1].levels[c] = e.Tokens
	if e.Tokens == c.db {
		delete(s.dirty, c) // the note covers all of it
	}
	return nil
}

// snapshot yields events that add up to this state.
func (s *state) snapshot(yield func(Event) bool) {
	n := int64(0)
	s.carry(func(e Event) bool { n++; return yield(e) })
	yield(Event{Kind: CarriedEnd, Tokens: n})
}

func (s *state) carry(yield func(Event) bool) {
	for _, g := range s.generations {
		if !g.carry(yield) {
			return
		}
	}
	for session, in := range s.sessions {
		if !yield(Event{Kind: CarriedSession, Session: session, Note: in.first, Last: in.last}) {
			return
		}
	}
	for _, n := range s.pending {
		if !yield(Event{Kind: CarriedNote, Session: n.session, Note: n.number}) || !s.carryLevels(n, yield) {
			return
		}
	}
}

func (s *state) carryLevels(n *note, yield func(Event) bool) bool {
	for _, g := range s.generations {
		for name, c := range g.clients {
			if v, ok := n.levels[&c.used]; ok && !yield(Event{Kind: CarriedLevel, Generation: g.Number, Client: name, Tokens: v}) {
				return false
			}
		}
		for name, w := range g.workers {
			if v, ok := n.levels[&w.earned]; ok && !yield(Event{Kind: CarriedLevel, Generation: g.Number, Worker: name, Tokens: v}) {
				return false
			}
		}
	}
	return true
}

func (g *generation) carry(yield func(Event) bool) bool {
	if !yield(Event{Kind: Began, Generation: g.Number, Params: g.Params, Contract: g.Contract, Price: g.Price, Fee: g.Fee,
		Paid: g.Credit.Paid, Staked: g.Credit.Stake, Memo: g.Memo}) {
		return false
	}
	if g.proxy != (ProxyState{}) && !yield(g.proxy.event(g.Number)) {
		return false
	}
	for name, c := range g.clients {
		if _, idle := g.idleClients[name]; idle {
			continue
		}
		e := Event{Kind: CarriedClient, Generation: g.Number, Client: name, Tokens: c.used.db, Chain: c.used.chain, Reported: c.returned, LT: c.returnedLT}
		if c.late {
			e.State = Closing
		}
		if !yield(e) || c.seen != (ClientState{}) && !yield(c.seen.event(g.Number, name)) {
			return false
		}
	}
	for name, w := range g.workers {
		if _, idle := g.idleWorkers[name]; idle {
			continue
		}
		if !yield(Event{Kind: CarriedWorker, Generation: g.Number, Worker: name, Tokens: w.earned.db, Chain: w.earned.chain}) ||
			w.seen != (WorkerState{}) && !yield(w.seen.event(g.Number, name)) {
			return false
		}
	}
	return true
}

// Generation is the accounts under one proxy contract, and what they live under.
type Generation struct {
	// Number counts the generations of this ledger from 1.
	Number uint32
	// Params is the registry's params_version, Contract the proxy contract's raw address.
	Params   uint32
	Contract string
	// Price is what a client pays for a token, Fee what its worker gets of it.
	Price, Fee coin.Nano
	// Credit is what clients have that the chain says nothing of.
	Credit Deposit
	// Memo is kept as it came with Terms.
	Memo []byte
}

// chainless says whether the mode is that without a chain.
func (g *Generation) chainless() bool { return g.Credit != Deposit{} }

func (g *Generation) is(t *Terms) bool { return g.Params == t.Params && g.Contract == t.Contract }

// sum adds up all used and all earned of a generation, modulo 2^64.
func (g *generation) sum() (used, earned uint64) {
	for c := range maps.Values(g.clients) {
		used += uint64(c.used.db)
	}
	for w := range maps.Values(g.workers) {
		earned += uint64(w.earned.db)
	}
	return used, earned
}
