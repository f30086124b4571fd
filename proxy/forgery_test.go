package proxy

import (
	"fmt"
	"math"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// A worker's headers cannot speak in the proxy's name, nor split an answer in two.
func TestForgedHeaders(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, allFeatures)
		c.send(question(1))
		id := w.given().RequestID
		w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Flags: 1, FinalInfo: final(1), Answer: response(400, "{}", "x-cocoon-error", "602", "X-Cocoon-Proxy-Start", "1", "X-Cocoon-Client-End", "2",
			"x-cocoon-worker", "somebody", "X-Cocoon-Why", "chosen", "X-Cocoon-Worker-Start", "3", "X-Other", "kept")})
		a := c.answer(requestID(1), true)
		for _, name := range []string{"X-Cocoon-Error", "X-Cocoon-Client-End", "X-Cocoon-Why"} {
			if v := a.header(name); v != "" {
				t.Errorf("%s: %s has passed", name, v)
			}
		}
		if n := headersNamed(a, "X-Cocoon-Proxy-Start"); n != 1 || a.header("X-Cocoon-Proxy-Start") == "1" {
			t.Errorf("%d times X-Cocoon-Proxy-Start, %s", n, a.header("X-Cocoon-Proxy-Start"))
		}
		if a.header("X-Other") != "kept" || a.header("X-Cocoon-Worker-Start") != "3" || a.header(headerWorker) == "somebody" {
			t.Errorf("headers %v", a.head.Headers)
		}
	})
	for _, bad := range [][2]string{{"X-A", "1\r\nSet-Cookie: a=b"}, {"X-A\r\nSet-Cookie", "a"}, {"X-A", "1\n"}, {"X-A", "a\x00b"}, {"", "a"}, {"X A", "a"}, {"X-A:", "a"}} {
		inBubble(t, nil, func(r *rig) {
			evil, w := r.worker(workerOptions{version: 4, coefficient: 10}), r.worker(workerOptions{version: 4, coefficient: 3000, owner: "0:" + strings.Repeat("b2", 32)})
			c := r.client(4, nil)
			c.send(question(1))
			evil.send(&tl.ProxyQueryAnswerEx{RequestID: evil.given().RequestID, Flags: 1, FinalInfo: final(1), Answer: response(200, "{}", bad[0], bad[1])})
			id := w.given().RequestID
			w.head(id)
			w.end(id, 5)
			if a := c.answer(requestID(1), true); a.paid.RequestTokens != 5 {
				t.Errorf("%q: the answer costs %d", bad, a.paid.RequestTokens)
			}
		})
	}
	if _, err := parseHead(tl.Marshal(&tl.HTTPResponse{HTTPVersion: "HTTP/1.1", StatusCode: 200, Reason: "OK\r\nSet-Cookie: a=b"})); err == nil {
		t.Error("a reason of two lines was taken")
	}
}

func headersNamed(a *answered, name string) (n int) {
	for _, h := range a.head.Headers {
		if strings.EqualFold(h.Name, name) {
			n++
		}
	}
	return n
}

// A flood of wishes is refused before it has cost much memory.
func TestFloodOfWishes(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for i := range 8 { // all begin alike, so that a short name means all of them
			r.p.names.add("0:" + strings.Repeat("0", 63) + fmt.Sprint(i))
		}
		c := r.client(4, allFeatures)
		names := make([]string, 200_000)
		for i := range names {
			names[i] = "00000000"
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, why := r.p.names.keys(names); why == nil {
			t.Error("a flood of names was taken")
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
			t.Errorf("the names took %d bytes", grown)
		}
		c.send(wishing(1, tl.CocoonWishes{Only: names, Order: names, Ignore: names}))
		c.answer(requestID(1), false).refusedWith(t, 400, "621", "invalid_value")
	})
}

// Absurd limits and prices neither wrap nor reach the books as nonsense.
func TestAbsurdOffers(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for i := range 3 {
			r.worker(workerOptions{version: 4, limit: math.MaxInt32, coefficient: maxCoefficient - 1, owner: fmt.Sprintf("0:%064x", i+1)})
		}
		c := r.client(4, allFeatures)
		book := mustAsk[*tl.CocoonBook](c, &tl.CocoonGetBook{Offers: 10, History: 10})
		if len(book.Models) != 1 || book.Models[0].Now.Slots != math.MaxInt32 || book.Models[0].Now.Coefficient < 0 {
			t.Errorf("the book: %+v", book.Models)
		}
		for _, o := range book.Models[0].Offers {
			if o.Limit <= 0 || o.Coefficient <= 0 || o.Running < 0 {
				t.Errorf("an offer %+v", o)
			}
		}
		c.send(question(1)) // at most 4000
		c.answer(requestID(1), false).refusedWith(t, 409, "651", "price_above_ceiling")
		time.Sleep(time.Second)
		for _, o := range []tl.Object{&tl.CocoonGetBook{Offers: -1, History: -1}, &tl.CocoonGetBook{Offers: math.MaxInt32, History: math.MaxInt32, Model: strings.Repeat("m", 1<<20)}} {
			mustAsk[*tl.CocoonBook](c, o)
		}
	})
}

// A model's name reaches pages, metrics and terminals: no worker may bring one that spoils them.
func TestModelNames(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for _, name := range []string{"\xff@c:h", "a\x00b@c:h", "a\nb@c:h", "\x1b[2J@c:h", "a\x7f@c:h", "m@c\r\n:h"} {
			w := r.dial(r.workers, image)
			q := workerHello()
			q.Params.Model = name
			_, err := w.ask(q)
			w.refusedAndClosed(name, err, 621, "invalid worker hash or worker type")
		}
		r.worker(workerOptions{version: 4, model: "<script>alert('x')</script>\"@c:h"})
		for _, page := range []string{"/stats", "/jsonstats", "/metrics"} {
			rec := httptest.NewRecorder()
			r.p.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "http://127.0.0.1"+page, nil))
			if rec.Code != 200 || strings.Contains(rec.Body.String(), "<script>alert") && page == "/stats" {
				t.Errorf("%s: status %d: %.300s", page, rec.Code, rec.Body)
			}
		}
	})
}
