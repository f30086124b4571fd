package proxy

import "testing"

// A question that names a revision reaches a worker of that revision, and none other.
func TestPinnedRevision(t *testing.T) {
	inBubble(t, func(cfg *Config) { cfg.CheckImages = false }, func(r *rig) {
		r.worker(workerOptions{version: 4, model: "m@old:00", features: allFeatures})
		r.worker(workerOptions{version: 4, model: "m@new:11"}) // a deployed one, which would not say what it served
		w, c := r.worker(workerOptions{version: 4, model: "m@new:11", coefficient: 3000, features: allFeatures}), r.client(4, nil)
		for n, pin := range []string{"m@new", "m@new:11"} {
			q := question(n + 1)
			q.ModelName = pin
			c.send(q)
			w.serve(5)
			if a := c.answer(q.RequestID, true); a.head.StatusCode != 200 {
				t.Errorf("%s: %+v", pin, a)
			}
		}
		q := question(3)
		q.ModelName = "m@absent"
		c.send(q)
		c.answer(q.RequestID, false).refusedWith(t, 404, "621", "model_not_found")
	})
}
