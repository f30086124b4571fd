package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine"
	"github.com/opencocoon/cocoon/openai"
)

// reasons is the set of reasons not to take requests. Requests that run go on.
type reasons uint8

const (
	switchedOff reasons = 1 << iota
	engineDown
	modelUnlisted
	shuttingDown
	registryOld
)

var reasonNames = []string{"switched off", "engine does not answer", "model is not in the registry", "shutting down", "the registry is too old: look at the connection to the chain"}

func (r reasons) names() []string {
	names := []string{}
	for i, name := range reasonNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func (r reasons) String() string { return strings.Join(r.names(), ", ") }

// Enable takes requests again, unless something else speaks against it. Like
// the price it is remembered where there is a Book.
func (w *Worker) Enable() { w.setIdle(switchedOff, false); w.remember() }

// Disable takes no more requests. Those that run go on.
func (w *Worker) Disable() { w.setIdle(switchedOff, true); w.remember() }

func (w *Worker) remember() {
	if w.cfg.Book == nil {
		return
	}
	w.mu.Lock()
	coefficient, paused := w.coefficient, w.idle&switchedOff != 0
	w.mu.Unlock()
	if err := w.cfg.Book.Remember(w.cfg.Coefficient, coefficient, paused); err != nil {
		w.cfg.Log.Error("worker: price and pause will be forgotten at the next start", "error", err)
	}
}

// SetCoefficient changes the price, in thousandths, for requests that proxies
// choose a worker for from now on.
func (w *Worker) SetCoefficient(c int32) error {
	if c < 0 || c > maxCoefficient {
		return fmt.Errorf("worker: coefficient is %d, want 0 to %d", c, maxCoefficient)
	}
	w.mu.Lock()
	w.coefficient = c
	w.announce()
	w.mu.Unlock()
	w.remember()
	return nil
}

// refusing says that requests which still arrive, because news travels, are
// to go elsewhere. An engine that is down says so itself.
func (w *Worker) refusing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle&(switchedOff|shuttingDown|registryOld) != 0
}

// setIdle adds or removes a reason and tells all proxies what follows.
func (w *Worker) setIdle(r reasons, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.idle
	if w.idle &^= r; on {
		w.idle |= r
	}
	if w.idle == before {
		return
	}
	w.cfg.Log.Info("worker: state", "serving", w.idle == 0, "not because", w.idle.String())
	w.announce()
}

// announce brings every proxy up to date. The caller holds w.mu, so that
// news reaches each of them in the order it happened.
func (w *Worker) announce() {
	for s := range w.sessions {
		s.tell(w.idle != 0, w.coefficient)
	}
}

func (w *Worker) checkModel(root *contract.Root) {
	w.setIdle(modelUnlisted, w.cfg.CheckImages && !root.AllowsModel(w.cfg.Model))
}

// watchEngine probes the engine until ctx ends. A worker offers itself only
// while its engine answers; one bad probe is enough to stop, one good to go on.
func (w *Worker) watchEngine(ctx context.Context) {
	for ctx.Err() == nil {
		facts, err := engine.Learn(ctx, w.engine, w.model, w.http)
		if ctx.Err() == nil {
			if err == nil {
				w.learn(facts)
			}
			w.engineIs(err)
			w.setIdle(registryOld, contract.Stale(w.cfg.Registry, w.cfg.Now()) != nil)
		}
		if !sleep(ctx, w.probeDelay()) {
			return
		}
	}
}

// learn takes what the engine says that it can do, where the operator does not say it.
func (w *Worker) learn(f openai.Facts) {
	own := w.cfg.Facts
	if own.Context > 0 {
		f.Context = own.Context
	}
	if own.Can != 0 {
		f.Can = own.Can
	}
	f.Region = own.Region
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.facts != f {
		w.facts = f
		w.announce()
	}
}

func (w *Worker) engineIs(err error) {
	w.mu.Lock()
	w.engineErr = err
	w.mu.Unlock()
	w.setIdle(engineDown, err != nil)
}

func (w *Worker) probeDelay() time.Duration {
	if w.cfg.ProbeInterval > 0 {
		return w.cfg.ProbeInterval
	}
	return time.Second + rand.N(time.Second)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
