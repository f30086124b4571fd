package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
)

// lookAtList is how often the list of machines that are struck off is read.
const lookAtList = 5 * time.Second

// readStruck reads ids of machines, one a line; # begins a comment.
func readStruck(b []byte) (ids []string, err error) {
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			ids = append(ids, line)
		}
	}
	rules := attest.Rules{DenyPlatforms: ids}
	if problems := rules.Problems(); len(problems) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	return ids, nil
}

// struck follows a file of machines that are struck off, and ends the trust in
// those that are connected. It is read again when it changes; one that cannot
// be read, or holds something else, leaves the list as it was, because a slip
// in an editor must neither let machines back in nor drop everybody.
type struck struct {
	file     string
	policy   *attest.Policy // without the list
	sessions *ratls.Sessions
	log      *slog.Logger

	read []byte // last, good or bad
}

// begin reads the list for the first time, which must succeed, and returns the
// policy with it.
func (s *struck) begin() (*attest.Policy, error) {
	b, err := os.ReadFile(s.file)
	if err != nil {
		return nil, fmt.Errorf("deny_platforms_file: %w", err)
	}
	ids, err := readStruck(b)
	if err != nil {
		return nil, fmt.Errorf("deny_platforms_file %s: %w", s.file, err)
	}
	s.read = b
	return s.with(ids), nil
}

func (s *struck) with(ids []string) *attest.Policy {
	p := *s.policy
	p.DenyPlatforms = slices.Concat(p.DenyPlatforms, ids)
	return &p
}

// run looks at the file until ctx ends.
func (s *struck) run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		b, err := os.ReadFile(s.file)
		if err != nil || bytes.Equal(b, s.read) {
			continue // editors take a file away for a moment
		}
		s.read = b
		ids, err := readStruck(b)
		if err != nil {
			s.log.Error("list of machines that are struck off: not read, the last one holds", "file", s.file, "err", err)
			continue
		}
		s.sessions.Replace(s.with(ids))
		refused := s.sessions.Revalidate(ctx)
		s.log.Info("list of machines that are struck off has changed", "file", s.file, "machines", len(ids), "refused", refused)
	}
}
