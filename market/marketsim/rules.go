package marketsim

import (
	"time"

	"github.com/opencocoon/cocoon/market"
)

// rule decides who serves a request. place must give it, keep it waiting or
// refuse it; done is called once for each attempt.
type rule interface {
	join(*worker)
	leave(*worker)
	priced(*worker) // it has another price
	place(*flight)
	withdraw(*flight) // a request that waits has run out of time
	done(*attempt, market.Outcome)
	retries() bool
}

// ours is package market, used as a proxy uses it.
type ours struct {
	s *sim
	m *market.Market
}

func newOurs(s *sim) *ours {
	return &ours{s, market.New(market.Config{Seed: s.sc.Seed, Now: s.clock, QueueLimit: queueLimit, Without: s.sc.Without})}
}

const (
	queueLimit = 256              // requests that may wait for one model
	queueWait  = 10 * time.Second // for so long, as a proxy's configuration has it
)

func (o *ours) join(w *worker) {
	w.offer = o.m.Add(market.Terms{Model: modelName(w.model), Coefficient: w.price, Limit: w.claims, Key: workerName(w.id), Enabled: true, Ref: w})
	o.granted(o.m.Match(modelName(w.model)))
}

func (o *ours) leave(w *worker) { o.m.Remove(w.offer.(*market.Offer)) }

func (o *ours) priced(w *worker) {
	o.m.SetCoefficient(w.offer.(*market.Offer), w.price)
	o.granted(o.m.Match(modelName(w.model)))
}

func (o *ours) retries() bool { return true }

// bytesPerToken of a prompt, about.
const bytesPerToken = 4

func (o *ours) want(f *flight) market.Want {
	j := f.job
	w := market.Want{Model: modelName(j.model), MaxCoefficient: j.ceiling, Client: clientName(j.client),
		PromptBytes: bytesPerToken * j.prompt, MaxTokens: j.longest, Deadline: start.Add(j.at + j.deadline)}
	for i := range 4 {
		w.Affinity[i] = byte(j.talk >> (8 * i))
	}
	for _, t := range f.tried {
		w.Exclude = append(w.Exclude, t.offer.(*market.Offer))
	}
	return w
}

func (o *ours) place(f *flight) {
	offer, d := o.m.Pick(o.want(f))
	if offer != nil {
		o.give(f, offer)
		return
	}
	if d.Verdict != market.Busy && d.Verdict != market.NoWorker {
		o.s.refuse(f)
		return
	}
	wait := &market.Waiter{Want: o.want(f), Ref: f, Patience: queueWait}
	dropped, err := o.m.Enqueue(wait)
	if err != nil {
		o.s.refuse(f)
		return
	}
	f.wait = wait
	if dropped != nil {
		o.s.refuse(dropped.Ref.(*flight))
	}
	o.s.plan(queueWait, func() {
		if f.wait == wait && o.m.Cancel(wait) {
			o.s.refuse(f)
		}
	})
}

// give hands a request over and watches whether the first token is late.
func (o *ours) give(f *flight, offer *market.Offer) {
	a := o.s.give(f, offer.Ref.(*worker), offer)
	if !o.s.sc.Hedging {
		return
	}
	if after := o.m.HedgeAfter(offer, o.want(f)); after > 0 {
		o.s.plan(after, func() { o.hedge(a) })
	}
}

func (o *ours) hedge(a *attempt) {
	if a.over || a.f.firstAt > 0 || len(a.f.tried) >= maxTries || len(a.f.live) > 1 {
		return
	}
	if offer, _ := o.m.Hedge(o.want(a.f), a.offer.(*market.Offer)); offer != nil {
		o.s.tally.hedges++
		o.s.give(a.f, offer.Ref.(*worker), offer)
	}
}

func (o *ours) withdraw(f *flight) { o.m.Cancel(f.wait.(*market.Waiter)) }

func (o *ours) done(a *attempt, how market.Outcome) {
	f := a.f
	took := market.Took{First: o.s.now - a.sentAt, Total: o.s.now - a.sentAt, Tokens: int64(f.job.output), Prompt: bytesPerToken * f.job.prompt}
	if f.firstAt > a.sentAt && how != market.Overtaken {
		took.First = f.firstAt - a.sentAt
	}
	o.granted(o.m.Done(a.offer.(*market.Offer), how, took))
}

func (o *ours) granted(grants []market.Grant) {
	for _, g := range grants {
		f := g.Waiter.Ref.(*flight)
		f.wait = nil
		o.give(f, g.Offer)
	}
}
