package ratls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

// The reference speaks TLS through OpenSSL and knows nothing of our sessions.
// These tests hold the library's own programs against both ends.

func openssl(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	return path
}

// pemFiles writes a certificate and its key.
func pemFiles(t *testing.T, cert *tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// workFor stands between a program that knows only TLS and the proof of work:
// it does the work on one side.
func workFor(t *testing.T, address string, work func(down, up net.Conn) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer down.Close()
				up, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer up.Close()
				if work(down, up) != nil {
					return
				}
				go func() { io.Copy(up, down); up.Close() }()
				io.Copy(down, up)
			}()
		}
	}()
	return l.Addr().String()
}

// A client of OpenSSL gets the certificate that we mean to show, in the
// network's profile, and no word about sessions unless it asks for them.
func TestOpenSSLClient(t *testing.T) {
	program := openssl(t)
	cfg := node(t, authority(t).Machine("proxy"), &attest.Policy{AllowNone: true})
	l := listen(t, cfg)
	echo(t, l)
	address := workFor(t, l.Addr().String(), func(_, up net.Conn) error { return wire.Solve(context.Background(), up, 28) })
	certFile, keyFile := pemFiles(t, node(t, insecure.Fake{}, nil).Identity.Certificate())
	for _, c := range []struct {
		name   string
		alpn   []string
		expect string // what it says about ALPN
		served bool
	}{
		{"like the reference", nil, "No ALPN negotiated", true},
		{"offering sessions", []string{"-alpn", ratls.SessionProtocol}, "ALPN protocol: " + ratls.SessionProtocol, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			args := append([]string{"s_client", "-connect", address, "-cert", certFile, "-key", keyFile, "-showcerts", "-ign_eof", "-noservername"}, c.alpn...)
			cmd := exec.CommandContext(ctx, program, args...)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out := &lockedBuffer{}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			io.WriteString(in, "hello from outside\n")
			has := func(text string) func() bool { return func() bool { return strings.Contains(out.String(), text) } }
			await(t, "the handshake", has("ALPN"))
			if c.served {
				await(t, "the echo", has("hello from outside"))
			}
			in.Close()
			cancel()
			cmd.Wait()
			text := out.String()
			block, _ := pem.Decode([]byte(text[max(strings.Index(text, "-----BEGIN"), 0):]))
			if block == nil || !bytes.Equal(block.Bytes, cfg.Identity.Certificate().Certificate[0]) {
				t.Error("the certificate is not ours")
			}
			for _, want := range []string{"New, TLSv1.3", "TLS_AES_", c.expect} {
				if !strings.Contains(text, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if n := strings.Count(text, "-----BEGIN CERTIFICATE"); n != 1 {
				t.Errorf("%d certificates shown, want one", n)
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

// A server of OpenSSL ignores what our dialer offers, and we take it for a
// peer of the reference.
func TestOpenSSLServer(t *testing.T) {
	program := openssl(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	shown := node(t, authority(t).Machine("proxy"), nil).Identity.Certificate()
	certFile, keyFile := pemFiles(t, shown)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	cmd := exec.CommandContext(ctx, program, "s_server", "-accept", server, "-cert", certFile, "-key", keyFile, "-Verify", "1", "-tls1_3", "-rev")
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	await(t, "the server", func() bool { return strings.Contains(out.String(), "ACCEPT") })
	address := workFor(t, server, func(down, _ net.Conn) error { return wire.Challenge(context.Background(), down, 0) })

	dialer := node(t, authority(t).Machine("worker"), trusting(t, "proxy"))
	c, err := ratls.Dial(t.Context(), address, dialer)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	defer c.Close()
	if got := check(c.Peer.Verdict, attest.CheckSession); got == nil || !got.OK || c.Peer.Verdict.ImageHash != insecure.ImageHash("proxy") {
		t.Errorf("session %+v", got)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "hello\n")
	line := make([]byte, 6)
	if _, err := io.ReadFull(c, line); err != nil || string(line) != "olleh\n" {
		t.Errorf("%q, %v\n%s", line, err, out.String())
	}
	c.Close() // it serves one after the other
	// A policy that insists is another matter.
	dialer.Policy.RequireFresh = true
	dialRefused(t, address, dialer, attest.CheckSession)
}

// await polls, because what it waits for happens in another process.
func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}
