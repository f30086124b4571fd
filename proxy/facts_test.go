package proxy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// The market and the API must mean the same bits.
func TestAbilitiesAreTheMarkets(t *testing.T) {
	for a, c := range map[openai.Abilities]market.Capability{openai.Told: market.Known, openai.Tools: market.Tools, openai.Vision: market.Vision,
		openai.Structured: market.Schema, openai.Audio: market.Audio, openai.Reasoning: market.Reasoning} {
		if uint32(a) != uint32(c) {
			t.Errorf("%v is bit %d of the API and %d of the market", a, a, c)
		}
	}
}

func needing(n int, context int32, can openai.Abilities, w tl.CocoonWishes) *tl.CocoonRunNeeding {
	return &tl.CocoonRunNeeding{Needs: tl.CocoonFacts{Context: context, Capabilities: int32(can)}, Query: *wishing(n, w)}
}

func says(context int32, can openai.Abilities, region string) *tl.CocoonFacts {
	return &tl.CocoonFacts{Context: context, Capabilities: int32(can), Region: region}
}

// Who says that he cannot is not asked; who says nothing is, if nobody says that he can.
func TestNeeds(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		short, able, silent := "0:"+strings.Repeat("a1", 32), "0:"+strings.Repeat("b2", 32), "0:"+strings.Repeat("c3", 32)
		for _, x := range []struct {
			owner    string
			price    int32
			features []string
			says     *tl.CocoonFacts
		}{
			{short, 500, allFeatures, says(8192, openai.Told, "us")},
			{able, 1200, allFeatures, says(32_768, openai.Told|openai.Tools|openai.Vision, "eu-west")},
			{silent, 1000, nil, nil}, // of the reference
		} {
			w := r.worker(workerOptions{version: 4, owner: x.owner, coefficient: x.price, features: x.features})
			if x.says != nil {
				w.send(x.says)
			}
			w.serve(10)
		}
		synctest.Wait()
		c := r.client(4, allFeatures)
		for i, x := range []struct {
			name    string
			context int32
			can     openai.Abilities
			wish    tl.CocoonWishes
			want    string
			why     string
		}{
			{"anything", 100, 0, tl.CocoonWishes{Sort: 1}, short, "takes 8192 tokens"},
			{"long", 20_000, 0, tl.CocoonWishes{Sort: 1}, able, "takes 32768 tokens"},
			{"tools", 100, openai.Tools, tl.CocoonWishes{Sort: 1}, able, ""},
			{"longer than any says", 40_000, 0, tl.CocoonWishes{Sort: 1}, silent, "price 1000"},
			{"sound, which nobody says", 100, openai.Audio, tl.CocoonWishes{Sort: 1}, silent, ""},
			{"not the able", 20_000, openai.Tools, tl.CocoonWishes{Ignore: []string{able}}, silent, ""},
		} {
			c.send(needing(i, x.context, x.can, x.wish))
			a := c.answer(requestID(i), true)
			if a.head.StatusCode != 200 || a.header(headerWorker) != friendly(t, x.want) || !strings.Contains(a.header(headerWhy), x.why) {
				t.Errorf("%s: status %d by %s: %s %s", x.name, a.head.StatusCode, a.header(headerWorker), a.header(headerWhy), a.body)
			}
		}
	})
}

// A refusal says what is missing, and at once: waiting does not make workers more able.
func TestNeedsRefused(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for i, s := range []*tl.CocoonFacts{says(32_768, openai.Told|openai.Tools, ""), says(8192, openai.Told|openai.Vision, "")} {
			r.worker(workerOptions{version: 4, owner: "0:" + strings.Repeat([]string{"a1", "b2"}[i], 32), features: allFeatures}).send(s)
		}
		synctest.Wait()
		c := r.client(4, allFeatures)
		for i, x := range []struct {
			context int32
			can     openai.Abilities
			status  int32
			text    string
		}{
			{40_000, 0, 400, "no worker of this model takes 40,000 tokens; the longest is 32,768"},
			{10, openai.Audio, 400, "no worker of this model does what the request takes (audio); they do tools, vision"},
			{20_000, openai.Vision, 400, "no worker of this model that takes 20,000 tokens does what the request takes (vision)"},
			{-1, 0, 400, "a context of -1 tokens"},
			{openai.MaxContext + 1, 0, 400, "want 0 to"},
		} {
			c.send(needing(i, x.context, x.can, tl.CocoonWishes{}))
			began := time.Now()
			a := c.answer(requestID(i), false)
			if time.Since(began) > 0 || a.head.StatusCode != x.status || !strings.Contains(a.body, x.text) {
				t.Errorf("%d, %v: after %s status %d, %s", x.context, x.can, time.Since(began), a.head.StatusCode, a.body)
			}
		}
	})
}

// What cannot be is not believed, and what comes unasked is ignored.
func TestLiarsAreNotBelieved(t *testing.T) {
	for _, x := range []struct {
		name     string
		features []string
		says     tl.Object
		context  int
		has      openai.Abilities
		region   string
	}{
		{"honest", allFeatures, says(8192, openai.Told|openai.Tools, "eu"), 8192, openai.Told | openai.Tools, "eu"},
		{"abilities without a name", allFeatures, says(8192, openai.Told|1<<20, ""), 8192, openai.Told, ""},
		{"endless", allFeatures, says(1<<30, openai.AllAbilities, "eu"), 0, 0, ""},
		{"less than nothing", allFeatures, says(-5, openai.AllAbilities, "eu"), 0, 0, ""},
		{"abilities that are not told", allFeatures, says(8192, openai.Tools, "eu"), 0, 0, ""},
		{"a region that moves the cursor", allFeatures, says(8192, openai.Told, "eu\x1b[2J"), 0, 0, ""},
		{"a long region", allFeatures, says(8192, openai.Told, strings.Repeat("x", 1<<16)), 0, 0, ""},
		{"not agreed on", []string{tl.FeatureMarket}, says(8192, openai.Told, "eu"), 0, 0, ""},
		{"an old worker", nil, says(8192, openai.Told, "eu"), 0, 0, ""},
	} {
		inBubble(t, nil, func(r *rig) {
			w := r.worker(workerOptions{version: 4, features: x.features})
			w.send(says(100, openai.Told, "before"))
			w.send(x.says)
			synctest.Wait()
			o := r.p.market.Models()[0].Offers[0]
			if o.Context != x.context || o.Has != market.Capability(x.has) || o.Region != x.region {
				t.Errorf("%s: %d, %b, %q", x.name, o.Context, o.Has, o.Region)
			}
			if o.RTT <= 0 {
				t.Errorf("%s: the round trip is not measured", x.name)
			}
			w.serve(1)
			c := r.client(4, nil)
			c.send(question(1))
			if a := c.answer(requestID(1), true); a.head.StatusCode != 200 {
				t.Errorf("%s: status %d", x.name, a.head.StatusCode)
			}
		})
	}
}

// Who waits is served as soon as a worker says that it can.
func TestFactsEndAWait(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		busy := r.worker(workerOptions{version: 4, limit: 1, features: allFeatures})
		other := r.worker(workerOptions{version: 4, owner: "0:" + strings.Repeat("a1", 32), features: allFeatures})
		other.send(says(1000, 0, ""))
		synctest.Wait()
		c := r.client(4, []string{tl.FeatureFacts})
		c.send(needing(1, 5000, 0, tl.CocoonWishes{}))
		first := busy.given()
		c.send(needing(2, 5000, 0, tl.CocoonWishes{}))
		synctest.Wait()
		other.send(says(10_000, 0, ""))
		second := other.given()
		for i, x := range []struct {
			w  *peer
			id tl.Int256
		}{{busy, first.RequestID}, {other, second.RequestID}} {
			x.w.head(x.id)
			x.w.end(x.id, 1)
			if a := c.answer(requestID(i+1), true); a.head.StatusCode != 200 {
				t.Errorf("request %d: status %d", i+1, a.head.StatusCode)
			}
		}
	})
}

// The book tells what workers say; a client without the extension gets the book as it was.
func TestBookHasFacts(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.worker(workerOptions{version: 4, coefficient: 500, features: allFeatures}).send(says(8192, openai.Told|openai.Tools, "us"))
		r.worker(workerOptions{version: 4, coefficient: 900, owner: "0:" + strings.Repeat("a1", 32)})
		synctest.Wait()
		b := mustAsk[*tl.CocoonBookWithFacts](r.client(4, allFeatures), &tl.CocoonGetBookWithFacts{Offers: 10})
		if len(b.Book.Models) != 1 || len(b.Facts) != 1 || len(b.Facts[0].Offers) != len(b.Book.Models[0].Offers) || len(b.Facts[0].Offers) != 2 {
			t.Fatalf("%+v", b)
		}
		f := b.Facts[0]
		if f.Context != 8192 || f.Capabilities != int32(openai.Told|openai.Tools) || len(f.Regions) != 1 || f.Regions[0] != "us" || f.Offers[0].Context != 8192 || f.Offers[1] != (tl.CocoonFacts{}) {
			t.Errorf("%+v", f)
		}
		old := r.client(4, []string{tl.FeatureMarket})
		if _, err := old.ask(&tl.CocoonGetBookWithFacts{}); !refused(err) {
			t.Errorf("an answer that was not agreed on: %v", err)
		}
		mustAsk[*tl.CocoonBook](old, &tl.CocoonGetBook{})
		old.send(needing(1, 0, 0, tl.CocoonWishes{}))
		old.quiet()
	})
}
