package ratls_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

// refusedBy fails the test unless err is a refusal by the named check.
func refusedBy(t testing.TB, err error, check string) {
	t.Helper()
	var refused *attest.RefusedError
	if !errors.As(err, &refused) || refused.Check.Name != check {
		t.Errorf("error %v, want a refusal by %q", err, check)
	}
}

// dialRefused dials and wants to be refused by us for that check.
func dialRefused(t *testing.T, address string, cfg *ratls.Config, check string) {
	t.Helper()
	c, err := ratls.Dial(t.Context(), address, cfg)
	if err == nil {
		c.Close()
	}
	refusedBy(t, err, check)
}

// A man in the middle may have a genuine quote, but it is for another key.
func TestRelayedQuote(t *testing.T) {
	a := authority(t)
	genuine := listen(t, node(t, a.Machine("proxy"), &attest.Policy{AllowNone: true}))
	echo(t, genuine)
	looked, err := ratls.Look(t.Context(), genuine.Addr().String(), node(t, attest.NoPlatform{}, nil))
	if err != nil {
		t.Fatal(err)
	}
	own := node(t, a.Machine("anything"), nil).Identity.Certificate()
	shown := ratls.Forge(t, own, 2, func(extensions []pkix.Extension) []pkix.Extension {
		for i := range extensions {
			if extensions[i].Id.Equal(ratls.OIDQuote) {
				extensions[i].Value = looked.Evidence.Raw
			}
		}
		return extensions
	})
	middle := crook{shown: shown, protos: []string{ratls.SessionProtocol}, play: func(*tls.Conn, bool) error { return nil }}
	dialRefused(t, middle.listen(t), node(t, attest.NoPlatform{}, trusting(t, "proxy")), evidence.CheckReportData)
}

// One who has only copied the certificate does not get through the handshake.
func TestReplayedCertificate(t *testing.T) {
	a := authority(t)
	victim := node(t, a.Machine("x"), nil).Identity.Certificate()
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	copied := &tls.Certificate{Certificate: victim.Certificate, PrivateKey: otherKey{victim.PrivateKey.(ed25519.PrivateKey), other}}
	thief := crook{shown: copied, protos: []string{ratls.SessionProtocol}, play: func(*tls.Conn, bool) error { return nil }}
	judging := node(t, a.Machine("judge"), trusting(t, "x"))
	if c, err := ratls.Dial(t.Context(), thief.listen(t), judging); err == nil || !strings.Contains(err.Error(), "invalid signature") {
		t.Errorf("dialing: %v, want an invalid signature", err)
		if err == nil {
			c.Close()
		}
	}
	l := listen(t, judging)
	echo(t, l)
	if err := thief.dial(t, l.Addr().String()); err == nil {
		t.Error("listening: served")
	}
}

// otherKey says that it is one key and signs with another.
type otherKey struct{ shown, held ed25519.PrivateKey }

func (k otherKey) Public() crypto.PublicKey { return k.shown.Public() }

func (k otherKey) Sign(r io.Reader, message []byte, o crypto.SignerOpts) ([]byte, error) {
	return k.held.Sign(r, message, o)
}

// The rest of a man in the middle's possibilities: he holds the genuine
// machine's key too, and passes on what the machine itself proves to him.
func TestRelayWithStolenKey(t *testing.T) {
	a := authority(t)
	genuine := node(t, a.Machine("x"), &attest.Policy{AllowNone: true})
	t.Run("to a dialer", func(t *testing.T) {
		l := listen(t, genuine)
		echo(t, l)
		middle := crook{shown: genuine.Identity.Certificate(), protos: []string{ratls.SessionProtocol}}
		middle.play = func(tc *tls.Conn, _ bool) error {
			asked, err := ratls.ReadRawRecord(tc)
			if err != nil {
				return err
			}
			// The caller's own record goes to the machine, the machine's to the caller.
			up := rawTLS(t, l.Addr().String(), node(t, attest.NoPlatform{}, nil).Identity.Certificate())
			if _, err := up.Write(asked); err != nil {
				return err
			}
			answer, err := ratls.ReadRawRecord(up)
			if err != nil {
				t.Errorf("the genuine machine says nothing: %v", err)
				return err
			}
			_, err = tc.Write(answer)
			return err
		}
		dialRefused(t, middle.listen(t), node(t, attest.NoPlatform{}, trusting(t, "x")), attest.CheckSession)
	})
	t.Run("to a listener", func(t *testing.T) {
		l := listen(t, node(t, a.Machine("judge"), trusting(t, "x")))
		echo(t, l)
		result := make(chan error, 1)
		middle := crook{shown: node(t, a.Machine("lure"), nil).Identity.Certificate(), protos: []string{ratls.SessionProtocol}}
		middle.play = func(tc *tls.Conn, _ bool) error {
			proof, err := ratls.ReadRawRecord(tc) // the genuine machine dials him and proves itself
			if err != nil {
				return err
			}
			up := rawTLS(t, l.Addr().String(), genuine.Identity.Certificate())
			_, err = up.Write(proof)
			if err == nil {
				_, err = ratls.ReadRawRecord(up)
			}
			result <- err
			return io.EOF
		}
		if c, err := ratls.Dial(t.Context(), middle.listen(t), genuine); err == nil {
			c.Close()
		}
		if err := <-result; err == nil {
			t.Error("the listener took a proof that was made for the man in the middle")
		}
		if _, n, _ := l.Counts(); n != 0 {
			t.Errorf("%d accepted", n)
		}
	})
	t.Run("a proof of yesterday", func(t *testing.T) {
		l := listen(t, genuine)
		echo(t, l)
		up := rawTLS(t, l.Addr().String(), node(t, attest.NoPlatform{}, nil).Identity.Certificate())
		up.Write(ratls.Record(nil, nil))
		old, err := ratls.ReadRawRecord(up)
		if err != nil {
			t.Fatal(err)
		}
		thief := crook{shown: genuine.Identity.Certificate(), protos: []string{ratls.SessionProtocol}}
		thief.play = thief.show(func(ratls.Proof) []byte { return old })
		dialRefused(t, thief.listen(t), node(t, attest.NoPlatform{}, trusting(t, "x")), attest.CheckSession)
	})
	t.Run("a key whose machine proved itself before", func(t *testing.T) {
		dialer := node(t, attest.NoPlatform{}, trusting(t, "x"))
		dialer.Policy.Proven, _ = attest.OpenProven("", nil)
		thief := crook{shown: genuine.Identity.Certificate(), play: func(*tls.Conn, bool) error { return nil }}
		address := thief.listen(t)
		c, err := ratls.Dial(t.Context(), address, dialer)
		if err != nil {
			t.Fatalf("before: %v", err)
		}
		c.Close()
		l := listen(t, genuine)
		echo(t, l)
		if c, err = ratls.Dial(t.Context(), l.Addr().String(), dialer); err != nil {
			t.Fatal(err)
		}
		c.Close()
		dialRefused(t, address, dialer, attest.CheckSession)
	})
	t.Run("the dialer's own proof", func(t *testing.T) {
		// Both have the same key: only the side tells the proofs apart.
		thief := crook{shown: genuine.Identity.Certificate(), protos: []string{ratls.SessionProtocol}}
		thief.play = func(tc *tls.Conn, _ bool) error {
			b, err := ratls.ReadRawRecord(tc)
			if err == nil {
				_, err = tc.Write(b)
			}
			return err
		}
		dialer := *genuine
		dialer.Policy = trusting(t, "x")
		dialRefused(t, thief.listen(t), &dialer, attest.CheckSession)
	})
}

// rawTLS is a TLS connection to a listener, up to the records.
func rawTLS(t testing.TB, address string, shown *tls.Certificate) *tls.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if err := wire.Solve(context.Background(), nc, 28); err != nil {
		t.Fatal(err)
	}
	tc := tls.Client(nc, crook{shown: shown, protos: []string{ratls.SessionProtocol}}.settings())
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return tc
}

// A peer that knows nothing of sessions is taken or not, as the policy says,
// and so is a thief who pretends to be one.
func TestPeersWithoutSessions(t *testing.T) {
	a := authority(t)
	for _, fresh := range []bool{false, true} {
		old := crook{shown: node(t, a.Machine("x"), nil).Identity.Certificate(), play: func(*tls.Conn, bool) error { return nil }}
		judging := node(t, a.Machine("judge"), trusting(t, "x"))
		judging.Policy.RequireFresh = fresh
		c, err := ratls.Dial(t.Context(), old.listen(t), judging)
		if fresh {
			refusedBy(t, err, attest.CheckSession)
		} else if err != nil {
			t.Errorf("dialing: %v", err)
		} else if got := check(c.Peer.Verdict, attest.CheckSession); got == nil || !got.OK || got.Got != "not offered by the peer" {
			t.Errorf("dialing: session is %+v", got)
		}
		if err == nil {
			c.Close()
		}
		l := listen(t, judging)
		echo(t, l)
		if err := old.dial(t, l.Addr().String()); (err != nil) != fresh {
			t.Errorf("listening: %v, want refused %v", err, fresh)
		}
	}
	// Who has nothing to prove need not know how to.
	clients := node(t, a.Machine("proxy"), &attest.Policy{AllowNone: true, Rules: attest.Rules{RequireFresh: true}})
	l := listen(t, clients)
	echo(t, l)
	client := crook{shown: node(t, attest.NoPlatform{}, nil).Identity.Certificate(), play: func(*tls.Conn, bool) error { return nil }}
	if err := client.dial(t, l.Addr().String()); err != nil {
		t.Errorf("a client of the reference: %v", err)
	}
}

// Whoever has agreed to prove himself has to.
func TestAgreedAndNotDone(t *testing.T) {
	a := authority(t)
	for name, play := range map[string]func(*tls.Conn, bool) error{
		"frames at once": func(tc *tls.Conn, _ bool) error {
			_, err := tc.Write([]byte("\x0c\x00\x00\x00\x00\x00\x00\x00connect-id12"))
			return err
		},
		"nothing, and the end": func(tc *tls.Conn, _ bool) error { return tc.CloseWrite() },
		"too long": func(tc *tls.Conn, _ bool) error {
			_, err := tc.Write(binary.LittleEndian.AppendUint32(nil, 1<<31))
			return err
		},
		"evidence too long": func(tc *tls.Conn, _ bool) error {
			b := binary.LittleEndian.AppendUint32(nil, 1<<18)
			b = binary.LittleEndian.AppendUint32(append(b, 0), attest.MaxEvidence+1)
			_, err := tc.Write(append(b, make([]byte, 1<<16)...))
			return err
		},
		"evidence longer than the record": func(tc *tls.Conn, _ bool) error {
			b := binary.LittleEndian.AppendUint32(nil, 10)
			_, err := tc.Write(append(binary.LittleEndian.AppendUint32(append(b, 0), 6), make([]byte, 64)...))
			return err
		},
		"too short to be one": func(tc *tls.Conn, _ bool) error {
			_, err := tc.Write([]byte{4, 0, 0, 0, 0, 0, 0, 0, 0})
			return err
		},
		"cut in the middle": func(tc *tls.Conn, _ bool) error {
			_, err := tc.Write(ratls.Record(bytes.Repeat([]byte{1}, 5000), nil)[:100])
			tc.CloseWrite()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			peer := crook{shown: node(t, a.Machine("x"), nil).Identity.Certificate(), protos: []string{ratls.SessionProtocol}, play: play}
			judging := node(t, a.Machine("judge"), trusting(t, "x"))
			if c, err := ratls.Dial(t.Context(), peer.listen(t), judging); err == nil {
				c.Close()
				t.Error("dialing: connected")
			} else if !strings.Contains(err.Error(), "session: ") {
				t.Errorf("dialing: %v does not say where", err)
			}
			l := listen(t, judging)
			echo(t, l)
			if err := peer.dial(t, l.Addr().String()); err == nil {
				t.Error("listening: served")
			}
			if _, n, _ := l.Counts(); n != 0 {
				t.Errorf("listening: %d accepted", n)
			}
		})
	}
}

// What is said about sessions in the hello cannot be changed on the way:
// TLS signs the transcript.
func TestHelloIsChangedOnTheWay(t *testing.T) {
	a := authority(t)
	// In the hello the extension is type 16 and a list of one name.
	name := append([]byte{byte(len(ratls.SessionProtocol))}, ratls.SessionProtocol...)
	offered := slices.Concat([]byte{0, 16, 0, byte(len(name) + 2), 0, byte(len(name))}, name)
	unknown := slices.Concat([]byte{0xfa, 0xfa}, offered[2:])
	other := bytes.Replace(offered, []byte("cocoon"), []byte("kokoon"), 1)
	for how, instead := range map[string][]byte{"taken out": unknown, "renamed": other, "left alone": offered} {
		t.Run(how, func(t *testing.T) {
			l := listen(t, node(t, a.Machine("proxy"), &attest.Policy{AllowNone: true}))
			echo(t, l)
			// Even a dialer to whom it does not matter notices.
			c, err := ratls.Dial(t.Context(), between(t, l.Addr().String(), offered, instead), node(t, attest.NoPlatform{}, trusting(t, "proxy")))
			if err == nil {
				err = talk(t, c)
				c.Close()
			}
			if (err == nil) != (how == "left alone") {
				t.Errorf("%v", err)
			}
			if _, n, _ := l.Counts(); n > 0 && how != "left alone" {
				t.Errorf("%d accepted", n)
			}
		})
	}
}

// between relays to an address and replaces bytes in what the dialer sends.
func between(t *testing.T, address string, old, instead []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		down, err := l.Accept()
		if err != nil {
			return
		}
		defer down.Close()
		up, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer up.Close()
		go func() { io.Copy(down, up); down.Close() }()
		buf := make([]byte, 1<<14)
		for {
			n, err := down.Read(buf)
			if err != nil {
				return
			}
			if _, err := up.Write(bytes.Replace(buf[:n], old, instead, 1)); err != nil {
				return
			}
		}
	}()
	return l.Addr().String()
}

// In certificates of version 1 a library that goes by the book sees no
// extensions; what hides there is judged all the same. Both roles refuse.
func TestVersion1HidesNothing(t *testing.T) {
	a := authority(t)
	foreign := ratls.QuoteOf(t, node(t, a.Machine("x"), nil).Identity.Certificate())
	usage := func(oid asn1.ObjectIdentifier) []byte {
		b, err := asn1.Marshal([]asn1.ObjectIdentifier{oid})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name   string
		change func([]pkix.Extension) []pkix.Extension
		roles  string // that accept
	}{
		{"as the reference writes it", func(e []pkix.Extension) []pkix.Extension { return e }, "dialer listener"},
		{"for a client alone", replaced(ratls.OIDExtKey, usage(ratls.OIDClient)), "listener"},
		{"for a server alone", replaced(ratls.OIDExtKey, usage(ratls.OIDServer)), "dialer"},
		{"a quote for another key", replaced(ratls.OIDQuote, foreign), ""},
		{"a quote that is not one", replaced(ratls.OIDQuote, []byte("quote")), ""},
		{"two quotes", added(ratls.OIDQuote, foreign, true), ""},
		{"two kinds of evidence", added(ratls.OIDSNPReport, make([]byte, 1184), true), ""},
		{"something critical that nobody knows", added(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0}, true), ""},
		{"something that nobody knows", added(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0}, false), "dialer listener"},
		{"a key that may not sign", replaced(ratls.OIDKeyUsage, []byte{3, 2, 5, 0x20}), ""},
		{"no evidence", func(e []pkix.Extension) []pkix.Extension {
			return slices.DeleteFunc(e, func(x pkix.Extension) bool { return x.Id.Equal(ratls.OIDQuote) })
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown := ratls.Forge(t, node(t, a.Machine("x"), nil).Identity.Certificate(), 0, c.change)
			peer := crook{shown: shown, play: func(*tls.Conn, bool) error { return nil }}
			judging := node(t, a.Machine("judge"), trusting(t, "x"))
			conn, err := ratls.Dial(t.Context(), peer.listen(t), judging)
			if (err == nil) != strings.Contains(c.roles, "dialer") {
				t.Errorf("dialing: %v, want accepted by %q", err, c.roles)
			}
			if err == nil {
				conn.Close()
			}
			l := listen(t, judging)
			echo(t, l)
			if err := peer.dial(t, l.Addr().String()); (err == nil) != strings.Contains(c.roles, "listener") {
				t.Errorf("listening: %v, want accepted by %q", err, c.roles)
			}
		})
	}
}

func replaced(id asn1.ObjectIdentifier, value []byte) func([]pkix.Extension) []pkix.Extension {
	return func(extensions []pkix.Extension) []pkix.Extension {
		for i := range extensions {
			if extensions[i].Id.Equal(id) {
				extensions[i].Value = value
			}
		}
		return extensions
	}
}

func added(id asn1.ObjectIdentifier, value []byte, critical bool) func([]pkix.Extension) []pkix.Extension {
	return func(extensions []pkix.Extension) []pkix.Extension {
		return append(extensions, pkix.Extension{Id: id, Critical: critical, Value: value})
	}
}
