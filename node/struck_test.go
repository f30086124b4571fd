package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
)

// A machine that is written into the file loses the connection that it has,
// and gets no other; what is no list changes nothing.
func TestListOfStruckMachines(t *testing.T) {
	authority, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "struck")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# none yet\n")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	sessions := ratls.NewSessions(ratls.SessionsOptions{Grace: time.Millisecond, Log: log})
	list := &struck{file: file, sessions: sessions, log: log, policy: &attest.Policy{
		AnyImage: true, Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: authority.Verifier()},
	}}
	policy, err := list.begin()
	if err != nil {
		t.Fatal(err)
	}
	door, err := ratls.Listen("127.0.0.1:0", &ratls.Config{Identity: identity(t, authority.Machine("proxy")), Policy: policy, Sessions: sessions, Difficulty: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- list.run(ctx, time.Millisecond) }()
	defer func() { cancel(); <-ended }()

	peer := &ratls.Config{Identity: identity(t, authority.Machine("worker")), Policy: &attest.Policy{AllowNone: true}}
	there, err := ratls.Dial(t.Context(), door.Addr().String(), peer)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	nc, err := door.Accept()
	if err != nil {
		t.Fatal(err)
	}
	here := nc.(*ratls.Conn)
	defer here.Close()
	refused := make(chan error, 1)
	here.Peer.OnRefused(func(reason error) { refused <- reason })

	id := here.Peer.Verdict.Platform
	write("no list\n")
	write("# struck off on Monday\n" + strings.ToUpper(id) + " # a lab's\n")
	var why *attest.RefusedError
	if reason := <-refused; !errors.As(reason, &why) || why.Check.Name != "platform" {
		t.Errorf("reason %v, want the platform", reason)
	}
	there.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(there); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("still connected")
	}
	if c, err := ratls.Dial(t.Context(), door.Addr().String(), peer); err == nil {
		c.Close()
		t.Error("connected again")
	}
}

func identity(t *testing.T, p attest.Platform) *ratls.Identity {
	t.Helper()
	id, err := ratls.NewIdentity(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestListsThatCannotBeRead(t *testing.T) {
	for text, ok := range map[string]bool{
		"": true, "# c\n\n": true, "00\n": true, " 00ff # c": true, "AB\nCD\n": true,
		"x\n": false, "0\n": false, "00 11\n": false, "00,11\n": false,
	} {
		if _, err := readStruck([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v, want read %v", text, err, ok)
		}
	}
	s := &struck{file: filepath.Join(t.TempDir(), "none"), policy: &attest.Policy{}}
	if _, err := s.begin(); err == nil {
		t.Error("a list that is not there was read")
	}
}
