package devnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// Process is a role that runs as a process of its own.
type Process struct {
	Role string `json:"role"`
	Name string `json:"name"`
	// PID is that of the running process, 0 while it is being restarted.
	PID int `json:"pid"`
	// Restarts counts how often it died and came back.
	Restarts int `json:"restarts"`
}

// supervisor runs processes, and starts each one again when it dies.
type supervisor struct {
	// program and its arguments for one process.
	command func(name string) (program string, args []string)
	logs    string // directory of the processes' own output
	cores   int    // that each role may use at once; the engine computes, and gets all
	log     *slog.Logger
	changed func() // after every start and end

	mu        sync.Mutex // guards processes
	processes []*Process
}

const (
	// A process that lived this long is forgiven its earlier deaths.
	steady      = 10 * time.Second
	minPause    = 100 * time.Millisecond
	maxPause    = 5 * time.Second
	stopTimeout = 15 * time.Second
)

// list returns the processes as they are now.
func (s *supervisor) list() []Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Process, len(s.processes))
	for i, p := range s.processes {
		out[i] = *p
	}
	return out
}

func (s *supervisor) add(role, name string) *Process {
	p := &Process{Role: role, Name: name}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes = append(s.processes, p)
	return p
}

func (s *supervisor) set(p *Process, change func(*Process)) {
	s.mu.Lock()
	change(p)
	s.mu.Unlock()
	s.changed()
}

// run keeps one process alive until ctx ends, then stops it and returns nil.
// An error means that it could not be started at all.
func (s *supervisor) run(ctx context.Context, p *Process) error {
	pause := minPause
	for {
		began := time.Now()
		err := s.once(ctx, p)
		if ctx.Err() != nil {
			return nil
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("devnet: %s: %w", p.Name, err)
		}
		if time.Since(began) > steady {
			pause = minPause
		}
		s.log.Warn("process died; starting it again", "name", p.Name, "reason", reason(err), "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, maxPause)
		s.set(p, func(p *Process) { p.Restarts++ })
	}
}

func reason(err error) string {
	if err == nil {
		return "it ended by itself"
	}
	return err.Error()
}

// once runs the process to its end. When ctx ends its standard input is
// closed, which asks it to finish; so does the end of this process, however
// that comes about. What does not finish in time is killed.
func (s *supervisor) once(ctx context.Context, p *Process) error {
	program, args := s.command(p.Name)
	out, err := os.OpenFile(filepath.Join(s.logs, p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if p.Role != RoleEngine && os.Getenv(coresVariable) == "" {
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", coresVariable, s.cores))
	}
	cmd.SysProcAttr = dieWithParent()
	leash, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.set(p, func(p *Process) { p.PID = cmd.Process.Pid })
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = stop(cmd.Process, leash, ended)
	}
	s.set(p, func(p *Process) { p.PID = 0 })
	return err
}

// coresVariable tells the Go runtime how many cores to use at once.
const coresVariable = "GOMAXPROCS"

// shareOfCores divides this machine among roles. A Go process wakes an idle
// core whenever it has two things to do; where the next process needs that
// core, this only costs: a third of all CPU on two cores.
func shareOfCores(roles int) int { return max(1, runtime.GOMAXPROCS(0)/max(1, roles)) }

func stop(p *os.Process, leash io.Closer, ended <-chan error) error {
	_ = leash.Close() // the process may be gone already
	select {
	case err := <-ended:
		return err
	case <-time.After(stopTimeout):
		_ = p.Kill()
		return <-ended
	}
}
