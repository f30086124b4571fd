package client

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	tableLimit = 10 * time.Second // for a proxy to say what it serves
	tableFresh = time.Second      // how old a listed answer may be
	maxModels  = 10_000
)

// table is what one proxy serves: its enabled workers by model.
type table struct {
	asking chan struct{} // one question at a time: whoever asks has put something in
	models atomic.Pointer[modelTable]
}

type modelTable struct {
	at      time.Time
	workers map[string][]openai.ModelWorker
	book    map[string]*entry // nil of a proxy that tells nothing of its market
}

// book is what the proxy last told of the model's market; nil if nothing.
func (t *table) book(model string) *entry {
	if m := t.models.Load(); m != nil {
		return m.book[model]
	}
	return nil
}

// has says whether the proxy is known to list the model.
func (t *table) has(model string) bool { return t.rank(model) == 0 }

// rank orders proxies for a model: 0 has workers for it, 1 unknown, 2 has not.
func (t *table) rank(model string) int {
	m := t.models.Load()
	switch {
	case m == nil:
		return 1
	case len(m.workers[model]) > 0:
		return 0
	}
	return 2
}

// refresh asks the proxy what it serves, unless that was asked within maxAge.
// On failure the old table stays. It takes no longer than tableLimit, however
// many wait for their turn.
func (l *link) refresh(ctx context.Context, maxAge time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, tableLimit)
	defer cancel()
	select {
	case l.table.asking <- struct{}{}:
		defer func() { <-l.table.asking }()
	case <-ctx.Done():
		return
	}
	now := l.c.cfg.Now()
	if old := l.table.models.Load(); old != nil && now.Sub(old.at) < maxAge {
		return
	}
	workers, err := l.askTypes(ctx)
	if err != nil {
		l.c.cfg.Log.Debug("model list", "proxy", l.addr, "error", err)
		return
	}
	l.table.models.Store(&modelTable{at: now, workers: workers, book: l.bookByName(ctx)})
}

// askTypes falls back to the legacy question, which only knows counts.
func (l *link) askTypes(ctx context.Context) (map[string][]openai.ModelWorker, error) {
	types, err := ask[tl.ClientWorkerTypesV2](ctx, l, tableLimit, &tl.ClientGetWorkerTypesV2{})
	var refused *wire.QueryError
	if errors.As(err, &refused) {
		return l.askTypesLegacy(ctx)
	}
	if err != nil {
		return nil, err
	}
	models := map[string][]openai.ModelWorker{}
	for _, t := range types.Types {
		if len(models) == maxModels || !isName(t.Name) {
			continue
		}
		for _, w := range t.Workers {
			models[t.Name] = append(models[t.Name], openai.ModelWorker{Coefficient: w.Coefficient, RunningRequests: w.ActiveRequests, MaxRunningRequests: w.MaxActiveRequests})
		}
	}
	return models, nil
}

// bookByName asks how the market is, if the proxy tells.
func (l *link) bookByName(ctx context.Context) map[string]*entry {
	if !l.market {
		return nil
	}
	entries, err := l.askBook(ctx, tableLimit, &tl.CocoonGetBook{})
	if err != nil {
		return nil
	}
	models := make(map[string]*entry, len(entries))
	for i := range entries {
		models[entries[i].Name] = &entries[i]
	}
	return models
}

func (l *link) askTypesLegacy(ctx context.Context) (map[string][]openai.ModelWorker, error) {
	types, err := ask[tl.ClientWorkerTypes](ctx, l, tableLimit, &tl.ClientGetWorkerTypes{})
	if err != nil {
		return nil, err
	}
	models := map[string][]openai.ModelWorker{}
	for _, t := range types.Types {
		if t.ActiveWorkers > 0 && len(models) < maxModels && isName(t.Name) {
			models[t.Name] = []openai.ModelWorker{{Coefficient: t.CoefficientMin}}
		}
	}
	return models, nil
}

// modelClock remembers when a model was first seen: the network does not say
// when it was created.
type modelClock struct {
	mu   sync.Mutex
	seen map[string]int64 // Unix seconds
}

func (m *modelClock) created(model string, now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string]int64{}
	}
	if _, known := m.seen[model]; !known && len(m.seen) < maxModels {
		m.seen[model] = now.Unix()
	}
	return cmp.Or(m.seen[model], now.Unix())
}

// Models lists what the connected proxies serve now, by name, each with its
// workers, cheapest first. Models without a worker are left out. The answer is
// at most a second old.
func (c *Client) Models(ctx context.Context) ([]openai.Model, error) {
	links, err := c.awaitLinks(ctx)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	for _, l := range links {
		wg.Go(func() { l.refresh(ctx, tableFresh) })
	}
	wg.Wait()
	workers, known := map[string][]openai.ModelWorker{}, false
	for _, l := range links {
		if t := l.table.models.Load(); t != nil {
			known = true
			for name, w := range t.workers {
				workers[name] = append(workers[name], w...)
			}
		}
	}
	if !known {
		return nil, openai.BadGateway(openai.CodeBadAnswer, "no proxy says which models it serves")
	}
	return c.list(workers, links), nil
}

func (c *Client) list(workers map[string][]openai.ModelWorker, links []*link) []openai.Model {
	models := make([]openai.Model, 0, len(workers))
	for _, name := range slices.Sorted(maps.Keys(workers)) {
		w := workers[name]
		slices.SortStableFunc(w, func(a, b openai.ModelWorker) int { return cmp.Compare(a.Coefficient, b.Coefficient) })
		m := openai.Model{ID: name, Object: "model", Created: c.models.created(name, c.cfg.Now()), OwnedBy: "cocoon", Workers: w, Market: quote(name, links)}
		describe(&m, links)
		models = append(models, m)
	}
	return models
}

// awaitLinks returns the ready connections, waiting for the first.
func (c *Client) awaitLinks(ctx context.Context) ([]*link, error) {
	wait, cancel := context.WithTimeout(ctx, c.cfg.ProxyWait)
	defer cancel()
	if err := c.Ready(wait); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.noProxy(nil, nil)
	}
	links, _ := c.readyLinks()
	return links, nil
}
