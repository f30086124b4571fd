package router

import (
	"net"
	"strconv"

	"github.com/opencocoon/cocoon/ratls"
)

// servePeer takes a peer that the judge trusts to the service behind a
// reverse port. The service hears nothing of peers that the lists refuse.
func (d *door) servePeer(conn *ratls.Conn) {
	at := d.stand.Load()
	l, err := d.admit(conn, at.rule, false)
	if err != nil {
		d.refuse(becausePolicy, conn.RemoteAddr(), err)
		conn.Close()
		return
	}
	local, why, err := d.reach(at, conn)
	if err != nil {
		d.links.remove(l)
		d.refuse(why, conn.RemoteAddr(), err)
		l.remote.abort()
		return
	}
	d.carry(l, plain{local}, at)
}

// reach connects to the service and introduces the peer.
func (d *door) reach(at *stand, conn *ratls.Conn) (*net.TCPConn, reason, error) {
	local, err := d.dial(at.plan.limits.Dial, net.JoinHostPort(at.DestinationHost, strconv.Itoa(at.DestinationPort)))
	if err != nil {
		return nil, becauseDial, err
	}
	first, err := at.record(nil, at.rule, conn.Peer, conn.RemoteAddr(), local.RemoteAddr())
	if err != nil {
		plain{local}.abort()
		return nil, becauseRecord, err
	}
	if _, err := local.Write(first); err != nil { // it fits the buffer of a new connection
		plain{local}.abort()
		return nil, becauseDial, err
	}
	return local, 0, nil
}
