package proxy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
)

// What a proxy has learned about its workers is known after it was started again.
func TestMemoryOutlivesTheProxy(t *testing.T) {
	name := filepath.Join(t.TempDir(), "reputation.json")
	bad, good := "0:"+strings.Repeat("a1", 32), "0:"+strings.Repeat("b2", 32)
	inBubble(t, func(c *Config) { c.MemoryFile = name }, func(r *rig) {
		broken := r.worker(workerOptions{version: 4, owner: bad, coefficient: 500})
		r.worker(workerOptions{version: 4, owner: good}).serve(10)
		c := r.client(4, allFeatures)
		for i := range 4 {
			if i == 3 {
				c.send(question(i))
			} else {
				c.send(wishing(i, tl.CocoonWishes{Only: []string{bad}}))
				given := broken.given()
				broken.send(&tl.ProxyQueryAnswerErrorEx{RequestID: given.RequestID, ErrorCode: 601, Error: "broken"})
				want[*tl.ProxyWorkerRequestPayment](broken)
			}
			c.news()
			c.answer(requestID(i), true)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(saveEvery)
	})
	text, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(text), bad) || !strings.Contains(string(text), good) {
		t.Fatalf("saved %s (%v), want both workers", text, err)
	}
	if strings.Contains(string(text), prompt) || strings.Contains(string(text), "000000000001") {
		t.Errorf("the file says who asked, or what: %s", text)
	}
	later := func() time.Time { return time.Now().Add(2 * time.Minute) } // each bubble's time begins anew
	inBubble(t, func(c *Config) { c.MemoryFile, c.Now = name, later }, func(r *rig) {
		r.worker(workerOptions{version: 4, owner: bad, coefficient: 500})
		r.worker(workerOptions{version: 4, owner: good})
		for _, o := range r.p.market.Models()[0].Offers {
			if known := o.Failures >= 3 && o.Lost > 0; known != (o.Key == bad) {
				t.Errorf("%s: %d failures, %.3f lost", o.Key, o.Failures, o.Lost)
			}
		}
	})
}

// A file that cannot be read is set aside, and the proxy works.
func TestDamagedMemory(t *testing.T) {
	for _, text := range []string{`[{"model":`, `{}`, "[" + strings.Repeat(" ", maxMemoryFile) + "]"} {
		name := filepath.Join(t.TempDir(), "reputation.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		inBubble(t, func(c *Config) { c.MemoryFile = name }, func(r *rig) {
			r.worker(workerOptions{version: 4}).serve(10)
			c := r.client(4, nil)
			c.send(question(1))
			c.answer(requestID(1), true)
		})
		if aside, err := os.ReadFile(name + ".damaged"); err != nil || string(aside) != text {
			t.Errorf("%.20s: not set aside: %v", text, err)
		}
	}
}

// Workers with long names cannot make the file so large that it is not read again.
func TestMemoryIsReadable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "reputation.json")
	inBubble(t, func(c *Config) { c.MemoryFile = name }, func(r *rig) {
		records := make([]market.Record, maxSaved)
		for i := range records {
			records[i] = market.Record{Model: strings.Repeat("<", 300), Key: strings.Repeat("<", 100) + strconv.Itoa(i), Seen: time.Now().Add(time.Duration(i-maxSaved) * time.Second), Lost: 0.5}
		}
		r.p.market.Recall(records)
		if err := r.p.remember(); err != nil {
			t.Fatal(err)
		}
		if again, err := readMemory(name); err != nil || len(again) < maxSaved/4 || again[len(again)-1].Key != records[maxSaved-1].Key {
			t.Errorf("%d records were read: %v", len(again), err)
		}
	})
}
