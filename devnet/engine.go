package devnet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencocoon/cocoon/bench"
	"github.com/opencocoon/cocoon/engine"
	"github.com/opencocoon/cocoon/engine/builtin"
	"github.com/opencocoon/cocoon/node"
)

// engine finds the engine to use, or plans one of our own.
func (n *Network) engine(ctx context.Context, p *plan) (*EngineInfo, error) {
	switch n.config.Engine {
	case EngineBuiltin, EngineBench:
		return n.planEngine(p, n.config.Engine)
	case "":
		info, err := engine.Detect(ctx)
		if err == nil && len(info.Models) > 0 {
			n.config.Progress("found an engine on this machine; --engine builtin chooses the built-in one instead")
			return n.useEngine(info)
		}
		if err == nil {
			n.config.Progress(fmt.Sprintf("found %s at %s, which serves no model; taking the built-in engine", info.Kind, info.BaseURL))
		} else if !errors.Is(err, engine.ErrNoneFound) {
			return nil, err
		}
		return n.planEngine(p, EngineBuiltin)
	default:
		info, err := engine.Probe(ctx, n.config.Engine, nil)
		if err != nil {
			return nil, fmt.Errorf("devnet: %w; start it, or leave --engine out for the built-in engine", err)
		}
		return n.useEngine(info)
	}
}

func (n *Network) useEngine(info *engine.Info) (*EngineInfo, error) {
	if n.info.Model = n.config.Model; n.info.Model == "" && len(info.Models) > 0 {
		n.info.Model = info.Models[0]
	}
	if !slices.Contains(info.Models, n.info.Model) {
		return nil, fmt.Errorf("devnet: the engine at %s serves [%s], not %q; choose with --model", info.BaseURL, strings.Join(info.Models, ", "), n.info.Model)
	}
	n.info.FullModel = unpinned(n.info.Model)
	n.config.Progress(fmt.Sprintf("engine: %s at %s, model %s", info.Kind, info.BaseURL, n.info.Model))
	return &EngineInfo{URL: info.BaseURL, Kind: info.Kind}, nil
}

// planEngine makes an engine of ours one of the nodes.
func (n *Network) planEngine(p *plan, kind string) (*EngineInfo, error) {
	var ports portPicker
	s := &node.Engine{Listen: ports.pick(), Bench: kind == EngineBench}
	n.info.Model, n.info.FullModel = bench.EngineModel, unpinned(bench.EngineModel)
	if !s.Bench {
		model, err := builtin.Default()
		if err != nil {
			return nil, err
		}
		n.info.Model, n.info.FullModel = model.Name(), pinned(model.Name(), builtin.DefaultSum())
	}
	if n.config.Model != "" && n.config.Model != n.info.Model {
		return nil, fmt.Errorf("devnet: the %s engine serves %q, not %q", kind, n.info.Model, n.config.Model)
	}
	p.nodes = append(p.nodes, &spec{settings: s, info: NodeInfo{Role: RoleEngine, Name: "engine", HTTP: "http://" + s.Listen}})
	n.config.Progress(fmt.Sprintf("engine: %s, model %s", kind, n.info.Model))
	return &EngineInfo{URL: "http://" + s.Listen, Kind: kind}, ports.err
}

// pinned is the full name of a model whose file we have: the commit is the
// beginning of the file's SHA-256, because the file has no other history.
func pinned(name string, sum [32]byte) string { return fmt.Sprintf("%s@%x:%x", name, sum[:6], sum) }

// unpinned is the full name of a model of which only the name is known: its
// engine is somebody else's, and nobody here has seen the weights.
func unpinned(name string) string { return name + "@unpinned:" + strings.Repeat("0", 64) }
