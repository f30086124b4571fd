package ton

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/liteclient"
	tonapi "github.com/xssnick/tonutils-go/ton"
)

// final is an answer that no other server will better.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// server is a link as one call uses it.
type server struct {
	*link
	*line
}

// ask puts a question to one server after another until one answers it. The
// question may consist of several queries to the same server.
//
// A server that does not answer rests and is asked last next time; one whose
// answer is wrong is dropped for good. The call ends within ctx and
// Config.Deadline.
func (c *Client) ask(ctx context.Context, doing string, question func(context.Context, server) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Deadline)
	defer cancel()
	r := round{tried: map[*link]int{}, asked: map[*link]int{}}
	for {
		s, wait := c.pick(&r)
		if s.link == nil && wait == nil {
			return r.failure(c, doing)
		}
		if s.link == nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return r.ended(c, ctx, doing)
			}
		}
		err := c.put(ctx, s, question)
		if err == nil {
			return nil
		}
		var last final
		if errors.As(err, &last) {
			return last.error
		}
		r.note(s.link, err)
		if ctx.Err() != nil {
			return r.ended(c, ctx, doing)
		}
	}
}

// put asks one server and judges how it did.
func (c *Client) put(ctx context.Context, s server, question func(context.Context, server) error) (err error) {
	began := time.Now()
	attempt, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errSilent)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			// The library's parsers meet a stranger's cells here.
			err = wrong("it broke the parser: %v", p)
		}
		c.judge(ctx, s, began, err)
	}()
	return question(attempt, s)
}

func (c *Client) judge(ctx context.Context, s server, began time.Time, err error) {
	var refusal tonapi.LSError
	var stale *StaleError
	switch {
	case err == nil || errors.As(err, new(final)):
		c.prefer(s.link)
		s.well()
	case errors.Is(err, ErrProof):
		s.drop(err)
	case errors.Is(err, errSilent):
		s.failed(s.line, began, true)
	case ctx.Err() != nil, errors.Is(err, errLimit): // says nothing about the server
	case errors.As(err, &refusal), errors.As(err, &stale), errors.As(err, new(liteclient.ServerBusy)):
		s.failed(s.line, began, false) // alive, and of no use now
	default:
		s.failed(s.line, began, true)
	}
}

// round is what one call has tried.
type round struct {
	tried  map[*link]int // the number of the connection that it was asked on
	asked  map[*link]int // how often
	names  []string
	last   error
	newest *StaleError
	other  bool // a failure was something else than lacking what was asked for
}

// maxAsked is how often one call may ask a server that keeps losing its connection.
const maxAsked = 3

func (r *round) note(l *link, err error) {
	r.names = append(r.names, l.String())
	var stale *StaleError
	if errors.As(err, &stale) && (r.newest == nil || stale.Newest.Seqno > r.newest.Newest.Seqno) {
		r.newest = stale
	}
	r.last = fmt.Errorf("%s: %w", l, err)
	r.other = r.other || !lacking(err)
}

// lacking says whether a server has answered that it does not have something.
func lacking(err error) bool {
	var refusal tonapi.LSError
	return errors.As(err, &refusal) && (refusal.Code == codeRefused || refusal.Code == codeBad || refusal.Code == codeNotFound)
}

func (r *round) failure(c *Client, doing string) error {
	if r.newest != nil {
		return r.newest
	}
	lacking := r.last != nil && !r.other
	if r.last == nil {
		r.names, r.last = c.reasons()
	}
	return &UnreachableError{Doing: doing, Servers: r.names, Last: r.last, lacking: lacking}
}

func (r *round) ended(c *Client, ctx context.Context, doing string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("ton: %s: %w", doing, ctx.Err())
	}
	if r.last == nil && len(r.names) == 0 {
		r.names, r.last = c.reasons()
	}
	r.last, r.other = errors.Join(r.last, ctx.Err()), true
	return r.failure(c, doing)
}

// pick chooses the next server of a round: the one that answered last, then
// any that is not resting, then any. If there is none it returns a channel that
// is closed when that may have changed, or nil if all have had their chance.
func (c *Client) pick(r *round) (best server, wait <-chan struct{}) {
	c.mu.Lock()
	preferred, moved := c.preferred, c.moved
	c.mu.Unlock()
	now, score, number := time.Now(), -1, 0
	for _, l := range c.links {
		l.mu.Lock()
		switch {
		case l.dropped != nil || r.asked[l] >= maxAsked:
		case l.line != nil && l.line.gone.Err() == nil:
			if mine := l.score(now, preferred); r.tried[l] != l.lines && mine > score {
				best, score, number = server{link: l, line: l.line}, mine, l.lines
			}
		case l.line != nil || l.err == nil:
			wait = moved // it is connecting
		}
		l.mu.Unlock()
	}
	if best.link == nil {
		return best, wait
	}
	r.tried[best.link] = number
	r.asked[best.link]++
	return best, nil
}

// score is for pick, which holds mu.
func (l *link) score(now time.Time, preferred *link) (score int) {
	if !l.rest.After(now) {
		score = 2
	}
	if l == preferred {
		score++
	}
	return score
}

// reasons says why no server could be asked.
func (c *Client) reasons() (names []string, last error) {
	last = errors.New("no connection")
	for _, l := range c.links {
		l.mu.Lock()
		if why := cmp.Or(l.dropped, l.err); why != nil {
			last = fmt.Errorf("%s: %w", l, why)
		}
		l.mu.Unlock()
	}
	return c.names(), last
}

func (c *Client) names() (names []string) {
	for _, l := range c.links {
		names = append(names, l.String())
	}
	return names
}
