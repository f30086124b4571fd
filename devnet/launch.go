package devnet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencocoon/cocoon/node"

	"github.com/opencocoon/cocoon/atomicfile"
)

// running is a role that was started, here or as a process.
type running struct {
	name string
	stop context.CancelFunc
	done chan struct{}
	err  error // why it ended by itself, once done is closed
}

// launch starts a role in the background.
func (n *Network) launch(ctx context.Context, p *plan, s *spec) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{name: s.info.Name, stop: cancel, done: make(chan struct{})}
	run := func() error { return s.settings.Run(ctx, node.Env{Log: n.log.With("node", s.info.Name)}) }
	if n.supervisor != nil {
		if err := p.writeConfig(s); err != nil {
			cancel()
			return err
		}
		process := n.supervisor.add(s.info.Role, s.info.Name)
		run = func() error { return n.supervisor.run(ctx, process) }
	}
	n.nodes = append(n.nodes, r)
	go func() {
		defer close(r.done)
		defer cancel()
		err := run()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = fmt.Errorf("devnet: %s ended by itself; its log says why", s.info.Name)
		}
		r.err = err
		select {
		case n.failed <- err:
		default: // the first failure ends the devnet, the others follow from it
		}
	}()
	return nil
}

// writeConfig writes the settings of a role for its process.
func (p *plan) writeConfig(s *spec) error {
	b, err := json.MarshalIndent(s.settings, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(p.configFile(s.info.Name), append(b, '\n'), 0o600)
}

func (p *plan) configFile(name string) string { return p.path(configDir, name+".json") }

// command is how to run the process of that name.
func (p *plan) command(name string) (program string, args []string) {
	for _, s := range slices.Concat(p.nodes, []*spec{p.chain}) {
		if s.info.Name == name {
			return p.program, []string{s.info.Role, "--config", p.configFile(name), "--supervised"}
		}
	}
	panic("devnet: no role is called " + name) // launch only names what is planned
}
