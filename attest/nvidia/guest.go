package nvidia

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoGPU means that this machine has no NVIDIA GPU, or no driver for it.
var ErrNoGPU = errors.New("nvidia: this machine has no NVIDIA GPU with a driver (no /proc/driver/nvidia/version)")

// Helper is the program of this module that asks the driver's library. It is a
// program of its own so that no code of the driver runs inside a node, and so
// that nodes stay static binaries.
const Helper = "cocoon-gpu"

const (
	helperTimeout = 60 * time.Second // each GPU takes about a second
	maxComplaint  = 400              // of what a helper says about its failure
)

// Command gets evidence by running a program with its arguments and, as the
// last one, the nonce in hex. The program must write what [Encode] makes to
// its standard output.
type Command struct {
	Path string
	Args []string
}

var _ Source = (*Command)(nil)

// Find returns how to get evidence on this machine: by the helper beside this
// program or on the PATH. Without a GPU the error is ErrNoGPU.
func Find() (*Command, error) {
	if _, err := os.Stat("/proc/driver/nvidia/version"); err != nil {
		return nil, ErrNoGPU
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), Helper)
		if info, err := os.Stat(beside); err == nil && info.Mode()&0o111 != 0 {
			return &Command{Path: beside}, nil
		}
	}
	path, err := exec.LookPath(Helper)
	if err != nil {
		return nil, fmt.Errorf("nvidia: a GPU, and no %s beside this program or on the PATH to ask it: %w", Helper, err)
	}
	return &Command{Path: path}, nil
}

// Evidence implements [Source]. That every GPU was asked with nonce is checked
// here too: a mistake shows on this side, not as a peer's refusal.
func (c *Command) Evidence(ctx context.Context, nonce [32]byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Path, append(append([]string{}, c.Args...), hex.EncodeToString(nonce[:]))...)
	out, complaint := &limited{most: MaxEvidence}, &limited{most: maxComplaint}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, complaint, time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("nvidia: %s: %w: %s", filepath.Base(c.Path), err, strings.TrimSpace(string(complaint.kept)))
	}
	if out.over {
		return nil, fmt.Errorf("nvidia: %s wrote more than %d bytes", filepath.Base(c.Path), MaxEvidence)
	}
	boards, err := Decode(out.kept)
	if err != nil {
		return nil, fmt.Errorf("nvidia: %s: %w", filepath.Base(c.Path), err)
	}
	for i, b := range boards {
		if len(b.Report) < requestSize || !bytes.Equal(b.Report[4:36], nonce[:]) {
			return nil, fmt.Errorf("nvidia: %s: GPU %d did not answer the nonce", filepath.Base(c.Path), i)
		}
	}
	return out.kept, nil
}

// limited keeps the beginning of what is written. It is no bytes.Buffer, whose
// ReadFrom would take everything.
type limited struct {
	kept []byte
	most int
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	room := max(0, l.most-len(l.kept))
	l.over = l.over || len(b) > room
	l.kept = append(l.kept, b[:min(len(b), room)]...)
	return len(b), nil
}
