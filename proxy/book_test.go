package proxy

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// A client sees what every worker asks for and does, and how the market went.
func TestBook(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.worker(workerOptions{version: 4, coefficient: 1500, limit: 4})
		r.worker(workerOptions{version: 4, coefficient: 500, disabled: true})
		c := r.client(4, allFeatures)
		c.send(question(1))
		given := w.given()
		time.Sleep(2 * time.Second)
		w.head(given.RequestID)
		w.part(given.RequestID, strings.Repeat("x", 100))
		time.Sleep(2 * time.Second)
		w.end(given.RequestID, 42)
		c.answer(requestID(1), true)
		want[*tl.ProxyWorkerRequestPayment](w)
		c.send(question(2))
		given = w.given()
		time.Sleep(time.Minute - 5*time.Second)
		b := mustAsk[*tl.CocoonBook](c, &tl.CocoonGetBook{Offers: 10, History: 3})
		if len(b.Models) != 1 || b.Models[0].Name != "m" {
			t.Fatalf("%+v", b)
		}
		m := b.Models[0]
		if now := m.Now; now.Coefficient != 1500 || now.Running != 1 || now.Slots != 4 || now.Waiting != 0 || now.Workers != 1 || now.FirstSeconds != 2 {
			t.Errorf("now %+v", now)
		}
		if len(m.Offers) != 1 || m.Offers[0].Worker != friendly(t, ownerText) || m.Offers[0].Coefficient != 1500 || m.Offers[0].Running != 1 || m.Offers[0].Limit != 4 {
			t.Errorf("offers %+v", m.Offers)
		}
		if len(m.History) != 3 || m.History[2].At-m.History[0].At != 30 || m.History[2].Running != 1 || m.WaitSeconds != 1 {
			t.Errorf("history %+v, wait %v", m.History, m.WaitSeconds)
		}
		if b := mustAsk[*tl.CocoonBook](c, &tl.CocoonGetBook{Model: "other", Offers: 10}); len(b.Models) != 0 {
			t.Errorf("another model: %+v", b)
		}
		if b := mustAsk[*tl.CocoonBook](c, &tl.CocoonGetBook{Model: "m", Offers: -1, History: -1}); len(b.Models[0].Offers)+len(b.Models[0].History) != 0 {
			t.Errorf("asked for nothing: %+v", b)
		}
		w.send(&tl.WorkerNewCoefficient{NewCoefficient: 900}) // a change is seen at once
		synctest.Wait()
		if m := mustAsk[*tl.CocoonBook](c, &tl.CocoonGetBook{Offers: 1}).Models[0]; m.Offers[0].Coefficient != 900 {
			t.Errorf("after a new price: %+v", m.Offers)
		}
		w.head(given.RequestID)
		w.end(given.RequestID, 0)
		c.answer(requestID(2), true)
		if _, err := r.client(4, []string{tl.FeatureCancel}).ask(&tl.CocoonGetBook{}); !refused(err) {
			t.Errorf("without the feature: %v", err)
		}
	})
}

func refused(err error) bool {
	var e *wire.QueryError
	return errors.As(err, &e) && e.Message == "Lost promise"
}

// A worker without work hears the reason, with what would help.
func TestWhyIdle(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		plain := r.worker(workerOptions{version: 4, disabled: true})
		dear := r.worker(workerOptions{version: 4, coefficient: 9000, owner: "0:" + strings.Repeat("b2", 32), features: allFeatures})
		if why := mustAsk[*tl.CocoonReasons](dear, &tl.CocoonWhyIdle{}); why.Cause != "no demand" || why.Price != 9000 {
			t.Errorf("before any request: %+v", why)
		}
		r.worker(workerOptions{version: 4}).serve(10)
		c := r.client(4, nil)
		for i := range 3 {
			c.send(question(i))
			c.answer(requestID(i), true)
		}
		if why := mustAsk[*tl.CocoonReasons](dear, &tl.CocoonWhyIdle{}); why.Cause != "too dear" || why.Requests != 3 || why.Won != 0 || why.UsualPrice != 1000 {
			t.Errorf("after three requests: %+v", why)
		}
		r.p.SetEnabled(false)
		if why := mustAsk[*tl.CocoonReasons](dear, &tl.CocoonWhyIdle{}); why.Cause != "proxy" || why.Text != "proxy is disabled" {
			t.Errorf("of a proxy that is disabled: %+v", why)
		}
		if _, err := plain.ask(&tl.CocoonWhyIdle{}); !refused(err) {
			t.Errorf("without the feature: %v", err)
		}
	})
}
