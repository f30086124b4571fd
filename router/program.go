package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
)

var (
	errDial = errors.New("destination cannot be reached")
	errSlow = errors.New("took too long")
)

// call is one connection that a program on this machine asks for.
type call struct {
	*door
	at     *stand
	rule   *rule // the port's, or the one that the user name chose
	byName bool
	nc     *counted
}

// serveProgram does what a program asks for at a socks5 or forward port. Only
// when the peer has been let in does the program hear anything.
func (d *door) serveProgram(nc *counted) {
	at := d.stand.Load()
	c := &call{door: d, at: at, rule: at.rule, nc: nc}
	address, why, err := c.asked()
	if err != nil {
		c.fail(why, err)
		return
	}
	raw, err := d.dial(at.plan.limits.Dial, address)
	if err != nil {
		c.fail(becauseDial, err)
		return
	}
	l, why, err := c.connect(raw)
	if err != nil {
		plain{raw}.abort()
		c.fail(why, err)
		return
	}
	if err := c.introduce(l, raw); err != nil {
		d.links.remove(l)
		plain{raw}.abort()
		c.fail(becauseRecord, err)
		return
	}
	d.carry(l, plain{nc}, at)
}

// asked is where the program wants to go.
func (c *call) asked() (string, reason, error) {
	if c.at.Type == typeForward {
		return net.JoinHostPort(c.at.DestinationHost, strconv.Itoa(c.at.DestinationPort)), 0, nil
	}
	ctx, cancel := context.WithTimeoutCause(c.accepting, c.at.plan.limits.Handshake, fmt.Errorf("request %w", errSlow))
	defer cancel()
	var users func(string) bool
	if c.at.PolicyFromUser {
		users = func(name string) bool { return c.at.plan.named[name] || name == c.at.Policy }
	}
	var q request
	err := interruptible(ctx, c.nc, func() (err error) {
		q, err = readRequest(c.nc, users)
		return err
	})
	if q.user != "" && err == nil {
		c.rule, c.byName = c.at.plan.rules[q.user], true
	}
	return q.address, becauseRequest, err
}

// dial connects to a program or a peer.
func (d *door) dial(patience time.Duration, address string) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(d.accepting, patience)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDial, err)
	}
	return nc.(*net.TCPConn), nil
}

// connect negotiates with the peer.
func (c *call) connect(raw *net.TCPConn) (*link, reason, error) {
	ctx, cancel := context.WithTimeoutCause(c.accepting, c.at.plan.limits.Handshake, fmt.Errorf("negotiation %w", errSlow))
	defer cancel()
	select { // the work of many at a time would only make each slower
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return nil, becauseHandshake, errors.New("too many negotiations at a time")
	}
	conn, err := ratls.Client(ctx, raw, &ratls.Config{
		Identity: c.identity, Policy: c.rule.attest, MaxDifficulty: free(*c.at.MaxDifficulty),
		HandshakeTimeout: c.at.plan.limits.Handshake, Now: c.now,
	})
	<-c.places
	if err != nil {
		return nil, blame(err), err
	}
	l, err := c.admit(conn, c.rule, c.byName)
	return l, becausePolicy, err
}

// introduce tells the program that it is connected, and to whom.
func (c *call) introduce(l *link, raw *net.TCPConn) error {
	var first []byte
	if c.at.Type == typeSOCKS5 {
		first = reply(replyDone, addrPort(raw.LocalAddr()))
	}
	first, err := c.at.record(first, c.rule, l.conn.Peer, c.nc.RemoteAddr(), raw.RemoteAddr())
	if err != nil {
		return err
	}
	return interruptible(l.ctx, c.nc, func() error {
		_, err := c.nc.Write(first) // a write says what is wrong; it fits any socket's buffer
		return err
	})
}

// record appends the peer-info record, if the port writes one.
func (at *stand) record(b []byte, rule *rule, peer *ratls.Peer, source, destination net.Addr) ([]byte, error) {
	if !at.Record {
		return b, nil
	}
	return rule.record(peer, addrPort(source), addrPort(destination)).Append(b, at.plan.form)
}

// fail ends a call that did not come about.
func (c *call) fail(why reason, err error) {
	c.refuse(why, c.nc.RemoteAddr(), err)
	if c.at.Type != typeSOCKS5 {
		plain{c.nc}.abort()
		return
	}
	var asked *socksError
	if why != becauseRequest || errors.As(err, &asked) {
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.at.plan.limits.Dial))
		_, _ = c.nc.Write(reply(codeOf(err), netip.AddrPort{})) // the program may be gone
	}
	_ = c.nc.Close()
}

// blame tells a peer that is not let in from one that cannot be judged.
func blame(err error) reason {
	if errors.Is(err, attest.ErrUntrusted) {
		return becausePolicy
	}
	return becauseHandshake
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmap(t.AddrPort())
}
