package wire

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"
)

// secure is loopback with TLS 1.3 on it, as between real nodes.
func secure(t testing.TB) (net.Conn, net.Conn) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	near, far := loopback(t)
	return tls.Client(near, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}),
		tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
}

func TestOverTLS(t *testing.T) {
	h := newInbox()
	reason := errors.New("refused")
	h.onQuery = func(c *Conn, q *Query) {
		q.Fail(CodeError, "no")
		c.CloseAfterFlush(reason)
	}
	c, s := connected(t, secure, newInbox(), h, Config{})
	for _, n := range []int{1, 300, 100_000, 3 << 20} {
		if err := c.SendRaw(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if got := <-h.packets; len(got) != n {
			t.Errorf("%d bytes arrived as %d", n, len(got))
		}
	}
	var refused *QueryError
	if _, err := c.Ask(timeout(t), blob(1)); !errors.As(err, &refused) {
		t.Errorf("refusal arrived as %v", err)
	}
	c.Wait()
	s.Wait()
	wantErr(t, c.Err(), ErrPeerClosed)
	wantErr(t, s.Err(), reason)
}

// A reader that stops in the middle of TLS records is left like any other.
func TestSlowReaderOverTLS(t *testing.T) {
	blocked := make(chan struct{})
	h := &packetFunc{f: func([]byte) { <-blocked }}
	c, _ := connected(t, secure, newInbox(), h, Config{})
	var err error
	for err == nil {
		err = c.Send(blob(1 << 20))
	}
	wantErr(t, err, ErrSlowPeer)
	<-c.Done()
	close(blocked)
	c.Wait()
}
