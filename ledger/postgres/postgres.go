// Package postgres keeps a ledger in PostgreSQL, for operators who want their
// ledger replicated, backed up and watched like the rest of what they run.
//
// Start with [Open]. The records are those of any other store: sealed, chained
// and signed by the proxy. Two things keep a second proxy away. An advisory lock, which goes
// with the connection, says at once that the ledger is taken. An epoch, which
// every start raises and every write checks, stops a proxy that lost its lock
// without noticing: what it writes then is refused.
//
// A commit is acknowledged when the server's log is on its disk and, where the
// server has synchronous standbys, on theirs. Back up with pg_dump or a base backup.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opencocoon/cocoon/ledger"
)

// version of the tables; see schema.
const version = 1

// schema is made at the first start. Names are looked up along the connection's search_path.
const schema = `
create table if not exists cocoon_ledger (
	name     text   primary key,
	version  int    not null,
	epoch    bigint not null, -- of the proxy that may write
	snapshot bigint not null  -- event that the snapshot goes up to, 0 for none
);
create table if not exists cocoon_ledger_record (
	ledger text   not null references cocoon_ledger,
	first  bigint not null,
	last   bigint not null,
	data   bytea  not null,
	primary key (ledger, first)
);
create table if not exists cocoon_ledger_snapshot (
	ledger text   not null references cocoon_ledger,
	upto   bigint not null,
	part   int    not null,
	data   bytea  not null,
	primary key (ledger, upto, part)
);`

// Options of a store.
type Options struct {
	// Ledger names this ledger among those of the database; empty is "proxy".
	Ledger string
	// Timeout bounds each write and each start, and the wait for each next row of what is
	// read; 0 is 10 s. What takes longer has failed.
	Timeout time.Duration
	// DropHistory deletes the movements before each snapshot instead of keeping them.
	DropHistory bool
}

// Store is a ledger's store in a database. Its methods are safe for concurrent use.
type Store struct {
	cfg   *pgx.ConnConfig
	opt   Options
	looks bool // nothing is written
	epoch int64

	mu     sync.Mutex // guards all below; held while a record is written
	conn   *pgx.Conn  // holds the lock
	last   uint64     // event that is stored
	warned string     // what the server complained about during a write
	err    error      // of the first failed write
}

var _ ledger.Store = (*Store)(nil)

// Look opens a ledger for reading, beside the proxy that writes it or without
// one. Appending and compacting fail.
func Look(connection string, o Options) (*Store, error) {
	s, err := prepare(connection, o)
	if err == nil {
		s.looks, s.err = true, errLooks
	}
	return s, err
}

var errLooks = errors.New("the ledger was opened for reading")

func prepare(connection string, o Options) (*Store, error) {
	if o.Ledger == "" {
		o.Ledger = "proxy"
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	cfg, err := pgx.ParseConfig(connection)
	if err != nil {
		return nil, errors.New("ledger: the connection string of the database is malformed") // not err: it may hold a password
	}
	return &Store{cfg: cfg, opt: o}, nil
}

// Open takes the ledger in the database that the connection string names.
// It fails with [ledger.ErrHeld] while another proxy has it.
func Open(ctx context.Context, connection string, o Options) (*Store, error) {
	s, err := prepare(connection, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	writer := s.cfg.Copy()
	writer.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			s.warned = n.Message
		}
	}
	if s.conn, err = pgx.ConnectConfig(ctx, writer); err != nil {
		return nil, fmt.Errorf("ledger: database: %w", err)
	}
	if err := s.take(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger %q: %w", s.opt.Ledger, err), s.Close())
	}
	return s, nil
}

// take gets the lock and raises the epoch.
func (s *Store) take(ctx context.Context) error {
	var fsync string
	if err := s.conn.QueryRow(ctx, `show fsync`).Scan(&fsync); err != nil {
		return err
	}
	if fsync != "on" {
		return fmt.Errorf("the database does not write to its disk (fsync = %s): turn fsync on", fsync)
	}
	// Stronger settings of the server stay; weaker ones would lose what was acknowledged.
	if _, err := s.conn.Exec(ctx, `select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') in ('off', 'local', 'remote_write')`); err != nil {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	if _, err := s.conn.Exec(ctx, schema); err != nil {
		return err
	}
	var v int
	err := s.conn.QueryRow(ctx, `insert into cocoon_ledger values ($1, $2, 1, 0)
		on conflict (name) do update set epoch = cocoon_ledger.epoch + 1 returning version, epoch`, s.opt.Ledger, version).Scan(&v, &s.epoch)
	if err == nil && v != version {
		err = fmt.Errorf("tables of version %d, this program reads %d: use the program that made them, or a newer one", v, version)
	}
	if err != nil {
		return err
	}
	return s.conn.QueryRow(ctx, `select greatest(
		(select snapshot from cocoon_ledger where name = $1),
		(select max(last) from cocoon_ledger_record where ledger = $1))`, s.opt.Ledger).Scan(&s.last)
}

// lock waits a moment, because a server notices the end of a proxy's connection a little later than the proxy.
func (s *Store) lock(ctx context.Context) error {
	if _, err := s.conn.Exec(ctx, `select set_config('lock_timeout', '1000', false)`); err != nil {
		return err
	}
	_, err := s.conn.Exec(ctx, `select pg_advisory_lock(hashtext('cocoon ledger'), hashtext($1))`, s.opt.Ledger)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "55P03" { // lock_not_available
		return ledger.ErrHeld
	}
	if err == nil {
		_, err = s.conn.Exec(ctx, `select set_config('lock_timeout', '0', false)`)
	}
	return err
}

// Append writes a record. It returns when the database has committed it.
func (s *Store) Append(r ledger.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = s.append(r)
	}
	return s.err
}

func (s *Store) append(r ledger.Record) error {
	if r.First != s.last+1 || r.Last < r.First {
		return fmt.Errorf("events %d to %d do not follow event %d", r.First, r.Last, s.last)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Timeout)
	defer cancel()
	s.warned = ""
	// The share lock makes a proxy that takes over wait for this write, and this write see its epoch.
	done, err := s.conn.Exec(ctx, `with lease as (select from cocoon_ledger where name = $1 and epoch = $2 for share)
		insert into cocoon_ledger_record select $1, $3, $4, $5 from lease`, s.opt.Ledger, s.epoch, r.First, r.Last, r.Data)
	switch {
	case err != nil:
		return fmt.Errorf("database: %w", err)
	case done.RowsAffected() != 1:
		return fmt.Errorf("%w: another proxy took it over", ledger.ErrHeld)
	case s.warned != "": // such as that the wait for a standby was given up
		return fmt.Errorf("database: %s", s.warned)
	}
	s.last = r.Last
	return nil
}

// session is a connection of its own, which sees the ledger as it stands now. A server
// that falls silent ends it: long reads may take their time, as long as they go on.
type session struct {
	conn    *pgx.Conn
	ctx     context.Context
	timeout time.Duration
	watch   *time.Timer
	end     context.CancelCauseFunc
}

var errSilent = errors.New("the server does not answer")

func (s *Store) session() (*session, error) {
	x := &session{timeout: s.opt.Timeout}
	x.ctx, x.end = context.WithCancelCause(context.Background())
	x.watch = time.AfterFunc(x.timeout, func() { x.end(errSilent) })
	var err error
	if x.conn, err = pgx.ConnectConfig(x.ctx, s.cfg); err != nil {
		x.end(nil)
		return nil, fmt.Errorf("ledger: database: %w", x.why(err))
	}
	return x, nil
}

// goes says that the server has answered.
func (x *session) goes() { x.watch.Reset(x.timeout) }

// may lets the next answer take longer: all of a ledger may have to be moved for it.
func (x *session) may(n time.Duration) { x.watch.Reset(n * x.timeout) }

// why is the error, with the reason if the server's silence is one.
func (x *session) why(err error) error {
	if err != nil && errors.Is(context.Cause(x.ctx), errSilent) {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

func (x *session) close() {
	x.watch.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), x.timeout)
	defer cancel()
	x.conn.Close(ctx)
	x.end(nil)
}

// reading runs f in a session that only reads.
func (s *Store) reading(f func(x *session, tx pgx.Tx) error) error {
	x, err := s.session()
	if err != nil {
		return err
	}
	defer x.close()
	return x.why(pgx.BeginTxFunc(x.ctx, x.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error { return f(x, tx) }))
}

// Load yields the snapshot and what is behind it.
func (s *Store) Load(upto uint64, yield func(ledger.Record) error) error {
	return s.reading(func(x *session, tx pgx.Tx) error { return s.load(x, tx, upto, yield) })
}

func (s *Store) load(x *session, tx pgx.Tx, upto uint64, yield func(ledger.Record) error) error {
	var snapshot uint64
	if err := tx.QueryRow(x.ctx, `select snapshot from cocoon_ledger where name = $1`, s.opt.Ledger).Scan(&snapshot); err != nil {
		return err
	}
	if snapshot > 0 {
		if err := s.yield(x, tx, yield, `select upto, upto, data from cocoon_ledger_snapshot where ledger = $1 and upto = $2 order by part`, s.opt.Ledger, snapshot); err != nil {
			return err
		}
	}
	return s.yield(x, tx, yield, `select first, last, data from cocoon_ledger_record where ledger = $1 and first > $2 and ($3 = 0 or last <= $3) order by first`, s.opt.Ledger, snapshot, upto)
}

func (s *Store) yield(x *session, tx pgx.Tx, yield func(ledger.Record) error, query string, args ...any) error {
	rows, err := tx.Query(x.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		x.goes()
		var r ledger.Record
		if err := rows.Scan(&r.First, &r.Last, &r.Data); err != nil {
			return err
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// History yields everything from the first movement on, or from the snapshot where what was before it was deleted.
func (s *Store) History(yield func(ledger.Record) error) error {
	return s.reading(func(x *session, tx pgx.Tx) error {
		var first uint64
		if err := tx.QueryRow(x.ctx, `select coalesce(min(first), 0) from cocoon_ledger_record where ledger = $1`, s.opt.Ledger).Scan(&first); err != nil {
			return err
		}
		if first != 1 {
			return s.load(x, tx, 0, yield)
		}
		return s.yield(x, tx, yield, `select first, last, data from cocoon_ledger_record where ledger = $1 order by first`, s.opt.Ledger)
	})
}

// sweeping is how many timeouts the database may take to delete what a snapshot replaces.
const sweeping = 30

// Compact puts the snapshot in the place of what it sums up, in one transaction.
func (s *Store) Compact(upto uint64, snapshot iter.Seq2[ledger.Record, error]) error {
	if s.looks {
		return errLooks
	}
	x, err := s.session()
	if err != nil {
		return err
	}
	defer x.close()
	return x.why(pgx.BeginFunc(x.ctx, x.conn, func(tx pgx.Tx) error { return s.compact(x, tx, upto, snapshot) }))
}

func (s *Store) compact(x *session, tx pgx.Tx, upto uint64, snapshot iter.Seq2[ledger.Record, error]) error {
	x.may(sweeping)
	if _, err := tx.Exec(x.ctx, `delete from cocoon_ledger_snapshot where ledger = $1`, s.opt.Ledger); err != nil {
		return err
	}
	x.goes()
	part := 0
	for r, err := range snapshot {
		if err != nil {
			return err
		}
		part++
		if _, err := tx.Exec(x.ctx, `insert into cocoon_ledger_snapshot values ($1, $2, $3, $4)`, s.opt.Ledger, upto, part, r.Data); err != nil {
			return err
		}
		x.goes()
	}
	if s.opt.DropHistory {
		x.may(sweeping)
		if _, err := tx.Exec(x.ctx, `delete from cocoon_ledger_record where ledger = $1 and last <= $2`, s.opt.Ledger, upto); err != nil {
			return err
		}
		x.goes()
	}
	done, err := tx.Exec(x.ctx, `update cocoon_ledger set snapshot = $3 where name = $1 and epoch = $2`, s.opt.Ledger, s.epoch, upto)
	if err == nil && done.RowsAffected() != 1 {
		err = fmt.Errorf("%w: another proxy took it over", ledger.ErrHeld)
	}
	return err
}

// Close lets go of the ledger.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = errors.New("the store is closed")
	}
	if s.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Timeout)
	defer cancel()
	// The server notices a closed connection a little later; who starts next need not wait for that.
	if !s.conn.IsClosed() {
		s.conn.Exec(ctx, `select pg_advisory_unlock_all()`)
	}
	err := s.conn.Close(ctx)
	s.conn = nil
	return err
}
