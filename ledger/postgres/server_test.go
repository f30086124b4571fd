//go:build unix

package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// server is a PostgreSQL of the tests' own, in a temporary directory, reached
// by a socket there. It never runs as root: then it runs as the user postgres.
type server struct {
	bin, dir string
	as       *syscall.Credential
}

var (
	started    sync.Once
	running    *server
	notRunning error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if running != nil {
		running.ctl("stop", "-m", "immediate")
		os.RemoveAll(running.dir)
	}
	os.Exit(code)
}

// theServer starts it once, or skips the test where PostgreSQL is not installed.
func theServer(t testing.TB) *server {
	t.Helper()
	started.Do(func() { running, notRunning = startServer() })
	if errors.Is(notRunning, errNotInstalled) {
		t.Skip(notRunning)
	}
	if notRunning != nil {
		t.Fatal(notRunning)
	}
	return running
}

var errNotInstalled = errors.New("PostgreSQL is not installed here: the store in it is not tested")

func startServer() (*server, error) {
	s := &server{}
	if path, err := exec.LookPath("initdb"); err == nil {
		s.bin = filepath.Dir(path)
	} else if list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(list) > 0 {
		s.bin = filepath.Dir(list[len(list)-1])
	} else {
		return nil, errNotInstalled
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "ledger-pg"); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, errNotInstalled
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return nil, err
		}
	}
	if err := s.run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", s.data()); err != nil {
		return nil, err
	}
	return s, s.start()
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }
func (s *server) connection() string {
	return fmt.Sprintf("host=%s user=postgres dbname=postgres", s.dir)
}

func (s *server) run(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	out, err := os.CreateTemp("", "ledger-pg-out") // not a pipe: the server inherits it and would keep it open
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return nil
}

func (s *server) ctl(args ...string) error {
	return s.run("pg_ctl", append([]string{"-w", "-D", s.data(), "-l", filepath.Join(s.dir, "log")}, args...)...)
}

func (s *server) start() error {
	return s.ctl("start", "-o", fmt.Sprintf("-k %s -c listen_addresses=''", s.dir))
}

// crash ends the server as a power cut would end its processes, and starts it again.
func (s *server) crash(t *testing.T) {
	t.Helper()
	if err := s.ctl("stop", "-m", "immediate"); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}
