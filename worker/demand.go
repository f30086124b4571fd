package worker

import (
	"context"
	"sync"
	"time"
)

// Pricer says what a worker should ask for, from how busy it is. Calls come
// one at a time.
type Pricer interface {
	// Use notes how many requests run from now on, and how many could.
	Use(running, limit int, now time.Time)
	// Next is the price in thousandths, and whether it is another than before.
	Next(now time.Time) (coefficient uint32, changed bool)
}

// demand follows the worker's use with its price.
type demand struct {
	mu     sync.Mutex // guards the pricer; no other lock is taken under it
	pricer Pricer
}

// use notes a change of load. Called with the slots' lock held.
func (d *demand) use(running, limit int, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pricer.Use(running, limit, now)
}

func (d *demand) next(now time.Time) (coefficient uint32, changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pricer.Next(now)
}

// lookEvery is how often the pricer is asked; it knows itself when to move.
const lookEvery = time.Second

// followDemand changes the price with demand until ctx ends. While the worker
// does not offer itself nobody can ask for it, and that says nothing about its price.
func (w *Worker) followDemand(ctx context.Context) {
	if w.demand == nil {
		return
	}
	for sleep(ctx, lookEvery) {
		if !w.offered() {
			continue
		}
		if c, changed := w.demand.next(w.cfg.Now()); changed {
			if err := w.SetCoefficient(int32(min(c, maxCoefficient))); err != nil {
				w.cfg.Log.Error("worker: price", "error", err)
				continue
			}
			w.cfg.Log.Info("worker: the price follows demand", "coefficient", c)
		}
	}
}

// offered says whether any proxy may give this worker requests.
func (w *Worker) offered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle == 0 && len(w.sessions) > 0
}
