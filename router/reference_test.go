package router_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
)

// A stand-in plays the deployed router. TLS cannot be replayed, so it is TLS
// of this day with the deployed router's own profile and certificate (X.509
// version 1 with extensions, fake evidence): no ALPN, no tickets, no word
// at the end of a stream. Before it go recorded proofs of work, through it
// recorded sessions. What this shows is that every byte that the deployed
// router is known to send is taken, and every byte it is known to expect sent.

// then is when the deployed router's certificate was valid.
func then() time.Time { return time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC) }

// deployedTLS is the profile of wire.md 3.2.
func deployedTLS(t testing.TB) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair("../ratls/testdata/fake_tdx_cert.pem", "../ratls/testdata/fake_tdx_key.pem")
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true}
}

// deployedEnd is how the deployed router ends a stream: by the end of TCP.
func deployedEnd(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() }

// frame is one recorded frame, and who sent it.
type frame struct {
	peer bool // what came through the router, and not the proxy's answer
	b    []byte
}

func session(t testing.TB, name string) (record []byte, frames []frame) {
	t.Helper()
	b, err := os.ReadFile("../tl/testdata/sessions/" + name + ".frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 7 || f[0] == "#" {
			continue
		}
		payload, err := hex.DecodeString(f[6])
		if err != nil {
			t.Fatal(err)
		}
		if f[3] == "ATTESTED_PEER_INFO" {
			record = payload
			continue
		}
		frames = append(frames, frame{f[2] == "router", payload})
	}
	if len(record) != 576 || len(frames) < 30 {
		t.Fatalf("%s: a record of %d bytes and %d frames", name, len(record), len(frames))
	}
	return record, frames
}

// play says one side's frames and wants the other's, in order.
func play(c io.ReadWriter, frames []frame, peer bool) error {
	for i, f := range frames {
		if f.peer == peer {
			if _, err := c.Write(f.b); err != nil {
				return fmt.Errorf("frame %d: %w", i, err)
			}
			continue
		}
		got := make([]byte, len(f.b))
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("frame %d: %w", i, err)
		}
		if !bytes.Equal(got, f.b) {
			return fmt.Errorf("frame %d is %x, want %x", i, got, f.b)
		}
	}
	return nil
}

// sameBut wants a record equal to the recorded one but for key and evidence,
// which bind another certificate, and ports.
func sameBut(got, recorded []byte) error {
	mask := func(b []byte) string {
		info, err := ratls.ParsePeerInfo(b[4:])
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(len(b), info.Kind, info.Measurements.ImageHash(), info.Measurements.RootKey, info.Source.Addr(), info.Destination.Addr())
	}
	if a, b := mask(got), mask(recorded); a != b {
		return fmt.Errorf("record %s, recorded %s", a, b)
	}
	return nil
}

// Peers behind the deployed router come in at a reverse port of ours.
func TestDeployedRouterComesIn(t *testing.T) {
	for _, name := range []string{"proxy_clients", "proxy_workers"} {
		recorded, frames := session(t, name)
		outcome := make(chan error, 1)
		address := service(t, func(nc *net.TCPConn) {
			record, err := readN(nc, len(recorded))
			if err == nil {
				err = sameBut(record, recorded)
			}
			if err == nil {
				err = play(nc, frames, false)
			}
			if err == nil {
				_, err = nc.Read(make([]byte, 1))
				if err == io.EOF {
					err = nil
				}
			}
			outcome <- err
		})
		in := start(t, settings(t, "-s", "-R 0:"+address+"@fake_tdx"), insecure.Fake{}, func(c *router.Config) { c.Now = then })

		nc := dial(t, in.addr(0))
		solveAsDeployed(t, nc, 4)
		c := tls.Client(nc, deployedTLS(t))
		if err := play(c, frames, true); err != nil {
			t.Errorf("%s, outside: %v", name, err)
		}
		deployedEnd(c)
		if err := wait(t, outcome); err != nil {
			t.Errorf("%s, behind our router: %v", name, err)
		}
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: after the end %d bytes, %v", name, n, err)
		}
	}
}

// Programs behind our router go out to the deployed one.
func TestOutToDeployedRouter(t *testing.T) {
	recorded, frames := session(t, "proxy_clients")
	challenge, response := recordedWork(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	outcome := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			outcome <- err
			return
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(patience))
		nc.Write(challenge)
		if got, err := readN(nc, len(response)); err != nil || !bytes.Equal(got, response) {
			outcome <- fmt.Errorf("proof of work %x, %v, want %x as recorded", got, err, response)
			return
		}
		c := tls.Server(nc, deployedTLS(t))
		err = play(c, frames, false)
		if state := c.ConnectionState(); err == nil && (state.NegotiatedProtocol != "" || state.ServerName != "") {
			err = fmt.Errorf("ALPN %q, server name %q, want none", state.NegotiatedProtocol, state.ServerName)
		}
		// It ignores TLS's own end and waits for that of TCP, and may go on.
		if _, rerr := io.Copy(io.Discard, c); err == nil {
			err = rerr
		}
		if n, rerr := nc.Read(make([]byte, 1)); err == nil && rerr != io.EOF {
			err = fmt.Errorf("%d bytes and %v, want the end of TCP", n, rerr)
		}
		io.WriteString(c, "last words")
		deployedEnd(c)
		outcome <- err
	}()

	out := start(t, settings(t, "-s", "-S 0@fake_tdx"), insecure.Fake{}, func(c *router.Config) { c.Now = then })
	nc, err := via(t, out.addr(0), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	record, err := readN(nc, len(recorded))
	if err == nil {
		err = sameBut(record, recorded)
	}
	if err == nil {
		err = play(nc, frames, true)
	}
	if err != nil {
		t.Errorf("behind our router: %v", err)
	}
	nc.CloseWrite()
	if last, err := io.ReadAll(nc); err != nil || string(last) != "last words" {
		t.Errorf("after our end %q, %v", last, err)
	}
	if err := wait(t, outcome); err != nil {
		t.Errorf("outside: %v", err)
	}
}

// Our router with the deployed one's certificate and key files, read anew
// when they change.
func TestDeployedCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	replace := func(name string) {
		for _, end := range []string{"_cert.pem", "_key.pem"} {
			b, err := os.ReadFile("../ratls/testdata/" + name + end)
			if err == nil {
				err = os.WriteFile(dir+"/tdx"+end, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	replace("fake_tdx")
	files, err := ratls.ReadIdentity(dir + "/tdx")
	if err != nil {
		t.Fatal(err)
	}
	in := start(t, settings(t, "-R 0:"+service(t, echo)+"@any"), insecure.Fake{}, func(c *router.Config) { c.Identity, c.Now = files.Identity, then })
	kind := func() string {
		nc := dial(t, in.addr(0))
		solveAsDeployed(t, nc, 4)
		c := tls.Client(nc, deployedTLS(t))
		if err := talk(c); err != nil {
			t.Fatal(err)
		}
		shown, err := ratls.ParseCertificate(c.ConnectionState().PeerCertificates[0].Raw)
		if err != nil {
			t.Fatal(err)
		}
		return string(shown.Evidence.Kind)
	}
	if got := kind(); got != "fake-tdx" {
		t.Errorf("shows %s, want fake-tdx", got)
	}
	if changed, err := files.Reread(); changed || err != nil {
		t.Errorf("files unchanged: %v, %v", changed, err)
	}
	replace("none")
	if changed, err := files.Reread(); !changed || err != nil {
		t.Errorf("files changed: %v, %v", changed, err)
	}
	if got := kind(); got != "none" {
		t.Errorf("shows %s, want none", got)
	}
	if err := os.WriteFile(dir+"/tdx_key.pem", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := files.Reread(); changed || err == nil {
		t.Errorf("a key missing: %v, %v", changed, err)
	}
	if got := kind(); got != "none" {
		t.Errorf("shows %s, want what was before", got)
	}
}

// The first words of TLS may come in one piece with the proof of work.
func TestWorkAndHelloInOnePiece(t *testing.T) {
	in := start(t, settings(t, "-R 0:"+service(t, echo)+"@any"), insecure.Fake{}, func(c *router.Config) { c.Now = then })
	nc := dial(t, in.addr(0))
	challenge, err := readN(nc, 24)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(&joined{Conn: nc, first: solution(challenge)}, deployedTLS(t))
	if err := talk(c); err != nil {
		t.Error(err)
	}
}

// joined puts first in front of the first write.
type joined struct {
	net.Conn
	first []byte
}

func (j *joined) Write(b []byte) (int, error) {
	n := len(j.first)
	m, err := j.Conn.Write(append(j.first, b...))
	j.first = nil
	return m - n, err
}

// solveAsDeployed answers a challenge of the given difficulty, read from its
// bytes and not by our own code.
func solveAsDeployed(t testing.TB, nc net.Conn, difficulty int) {
	t.Helper()
	challenge, err := readN(nc, 24)
	if err != nil {
		t.Fatal(err)
	}
	if head := hex.EncodeToString(challenge[:8]); head != fmt.Sprintf("91128e41%02x000000", difficulty) {
		t.Fatalf("challenge begins %s, want difficulty %d", head, difficulty)
	}
	if _, err := nc.Write(solution(challenge)); err != nil {
		t.Fatal(err)
	}
}

func solution(challenge []byte) []byte {
	block := append(bytes.Clone(challenge[8:]), make([]byte, 8)...)
	for nonce := uint64(0); ; nonce++ {
		binary.LittleEndian.PutUint64(block[16:], nonce)
		d := sha256.Sum256(block)
		if bits.LeadingZeros64(binary.LittleEndian.Uint64(d[:])) >= int(challenge[4]) {
			return append([]byte{0x19, 0x73, 0x82, 0x01}, block[16:]...)
		}
	}
}

// recordedWork is a challenge and what the deployed router answered.
func recordedWork(t testing.TB) (challenge, response []byte) {
	t.Helper()
	b, err := os.ReadFile("../wire/testdata/pow.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Computed []struct{ Challenge, Response, Note string }
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	for _, c := range v.Computed {
		if strings.Contains(c.Note, "sent exactly this response over TCP") {
			challenge, _ = hex.DecodeString(c.Challenge)
			response, _ = hex.DecodeString(c.Response)
		}
	}
	if len(challenge) != 24 || len(response) != 12 {
		t.Fatal("no recorded proof of work")
	}
	return challenge, response
}
