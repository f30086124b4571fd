//go:build unix

package storetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Postgres is a PostgreSQL of the tests' own, in a temporary directory, reached
// by a socket there. It never runs as root: then it runs as the user postgres.
type Postgres struct {
	bin, dir string
	as       *syscall.Credential
}

// ErrNotInstalled means that there is no PostgreSQL on this machine: skip the test.
var ErrNotInstalled = errors.New("PostgreSQL is not installed here: the store in it is not tested")

// StartPostgres starts one; it must be stopped.
func StartPostgres() (*Postgres, error) {
	s := &Postgres{}
	if path, err := exec.LookPath("initdb"); err == nil {
		s.bin = filepath.Dir(path)
	} else if list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(list) > 0 {
		s.bin = filepath.Dir(list[len(list)-1])
	} else {
		return nil, ErrNotInstalled
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "ledger-pg"); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, ErrNotInstalled
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

func (s *Postgres) data() string { return filepath.Join(s.dir, "data") }

// Connection is the connection string, Socket the file behind it.
func (s *Postgres) Connection() string {
	return fmt.Sprintf("host=%s user=postgres dbname=postgres", s.dir)
}
func (s *Postgres) Socket() string { return filepath.Join(s.dir, socketName) }

const socketName = ".s.PGSQL.5432"

// Stop ends the server and removes what it kept.
func (s *Postgres) Stop() {
	_ = s.ctl("stop", "-m", "immediate") // of a server that is gone all the same
	_ = os.RemoveAll(s.dir)
}

func (s *Postgres) run(name string, args ...string) error {
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

func (s *Postgres) ctl(args ...string) error {
	return s.run("pg_ctl", append([]string{"-w", "-D", s.data(), "-l", filepath.Join(s.dir, "log")}, args...)...)
}

func (s *Postgres) start() error {
	return s.ctl("start", "-o", fmt.Sprintf("-k %s -c listen_addresses=''", s.dir))
}

// Crash ends the server as a power cut would end its processes, and starts it again.
func (s *Postgres) Crash() error {
	if err := s.ctl("stop", "-m", "immediate"); err != nil {
		return err
	}
	return s.start()
}
