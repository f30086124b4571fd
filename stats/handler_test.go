package stats

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const token = "correct-horse-token"

func testHandler(did *[]string) http.Handler {
	act := func(err error) func(context.Context, url.Values) (string, error) {
		return func(_ context.Context, args url.Values) (string, error) {
			if err == nil {
				*did = append(*did, args.Get("worker"))
			}
			return "paid", err
		}
	}
	return Handler(Config{
		Page: func() *Page {
			return &Page{
				Title: "cocoon test", State: Badge{OK, "serving"},
				Facts: []Fact{{"uptime", 90 * time.Second}, {"peer", "<script>alert(1)</script>"}, {"root", Badge{Warn, "old"}}},
				Tables: []Table{
					Rates("Counters", RateRow{"requests", Values{1234567, 0.25}}),
					{Title: "Peers", Columns: []string{"name"}, Empty: "no peers"},
				},
			}
		},
		JSON:    func() any { return map[string]any{"name": `quo"te`, "queries": &Counter{}} },
		Metrics: NewRegistry(func() []Metric { return []Metric{CounterMetric("cocoon_test_requests_total", "Requests.", 7)} }),
		Token:   token,
		Actions: []Action{
			{Path: "/request/payout", Title: "pay out", Params: []string{"worker"}, Do: act(nil)},
			{Path: "/request/busy", Title: "busy", Do: act(&RefusedError{"already running"})},
			{Path: "/request/broken", Title: "broken", Do: act(errors.New("secret detail"))},
		},
	})
}

func ask(h http.Handler, method, target, auth string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandlerAnswers(t *testing.T) {
	var did []string
	h := testHandler(&did)
	for _, c := range []struct {
		name, method, target, auth string
		status                     int
		want                       string
	}{
		{"page", "GET", "/stats", "", 200, "cocoon test"},
		{"root", "GET", "/", "", 302, ""},
		{"json", "GET", "/jsonstats", "", 200, `"quo\"te"`},
		{"metrics", "GET", "/metrics", "", 200, "cocoon_test_requests_total 7"},
		{"process metrics", "GET", "/metrics", "", 200, "go_goroutines"},
		{"post to a page", "POST", "/stats", "", 405, "method_not_allowed"},
		{"unknown", "GET", "/perf", "", 404, "not_found"},
		{"control by GET", "GET", "/request/payout?worker=a", "Bearer " + token, 405, "method_not_allowed"},
		{"no token", "POST", "/request/payout?worker=a", "", 401, "invalid_token"},
		{"wrong token", "POST", "/request/payout?worker=a", "Bearer " + token + "x", 401, "invalid_token"},
		{"token in the wrong scheme", "POST", "/request/payout?worker=a", "Basic " + token, 401, "invalid_token"},
		{"token alone", "POST", "/request/payout?worker=a", token, 401, "invalid_token"},
		{"missing argument", "POST", "/request/payout", "Bearer " + token, 400, "missing: worker"},
		{"refused", "POST", "/request/busy", "Bearer " + token, 409, "already running"},
		{"broken", "POST", "/request/broken", "Bearer " + token, 500, "log says why"},
		{"done", "POST", "/request/payout?worker=w1", "bearer " + token, 200, `"paid"`},
	} {
		w := ask(h, c.method, c.target, c.auth)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %q, want %d with %q", c.name, w.Code, w.Body, c.status, c.want)
		}
		if strings.Contains(w.Body.String(), token) || strings.Contains(w.Body.String(), "secret detail") {
			t.Errorf("%s: the answer gives away a secret", c.name)
		}
		if c.status >= 400 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: the error is not JSON: %s", c.name, w.Body)
		}
	}
	if len(did) != 1 || did[0] != "w1" {
		t.Errorf("the action ran with %q, want once with w1", did)
	}
}

func TestNoTokenMeansNoControl(t *testing.T) {
	h := RequireToken("", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the action ran") }))
	for _, auth := range []string{"", "Bearer ", "Bearer x"} {
		if w := ask(h, "POST", "/", auth); w.Code != http.StatusForbidden {
			t.Errorf("auth %q: %d, want 403", auth, w.Code)
		}
	}
}

func TestPage(t *testing.T) {
	h := testHandler(new([]string))
	w := ask(h, "GET", "/stats?refresh=5", "")
	page := w.Body.String()
	for _, want := range []string{
		"&lt;script&gt;alert(1)", "1m30s", "1\u2009234\u2009567", "0.250", "no peers", `class="badge warn"`,
		`class="over">per second`, `<th scope="col" class="n">total`, `<th scope="col"></th>`,
		`http-equiv="refresh" content="5"`, `data-action="/request/payout"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, tag := range []string{"style", "script"} {
		_, rest, _ := strings.Cut(page, "<"+tag+">")
		body, _, ok := strings.Cut(rest, "</"+tag+">")
		if !ok || !strings.Contains(policy, sourceHash(body)) {
			t.Errorf("the browser would refuse the page's own %s: its hash is not in %s", tag, policy)
		}
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		t.Error("the page loads something from elsewhere")
	}
}

func TestMetricWithWrongLabelsIsReported(t *testing.T) {
	r := NewRegistry(func() []Metric {
		return []Metric{{Name: "cocoon_x", Help: "x", Gauge: true, Labels: []string{"a"}, Samples: []Sample{{Value: 1}}}}
	})
	if _, err := r.Gather(); err == nil {
		t.Error("a metric with a missing label value was gathered")
	}
}

func TestFormatCell(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{1234, "1\u2009234"}, {int64(-1234567), "-1\u2009234\u2009567"}, {uint64(999), "999"}, {0.001234, "0.001"}, {123.6, "124"}, {-1.234, "-1.23"}, {12.34, "12.3"}, {123456.7, "123\u2009457"},
		{0.0004, "0"}, {1e-13, "0"}, {0.0, "0"}, {true, "yes"}, {false, "no"},
		{1500 * time.Microsecond, "1.5ms"}, {3*time.Hour + 500*time.Millisecond, "3h0m1s"}, {"x", "x"},
	} {
		if got := formatCell(c.v); got != c.want {
			t.Errorf("formatCell(%v) = %q, want %q", c.v, got, c.want)
		}
	}
}

func TestAgo(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "just now"}, {-time.Millisecond, "just now"}, {59 * time.Second, "59 s ago"}, {3*time.Minute + 59*time.Second, "3 min ago"},
		{25 * time.Hour, "1 d ago"}, {-90 * time.Minute, "in 1 h"},
	} {
		if got := ago(c.d); got != c.want {
			t.Errorf("ago(%v) = %q, want %q", c.d, got, c.want)
		}
	}
}

// Long words are drawn by their ends, and nothing of the text is lost.
func TestCellsFold(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct{ text, drawn, full string }{
		{"short", "short", ""},
		{strings.Repeat("two words ", 9), strings.Repeat("two words ", 9), ""},
		{hash, "012345…abcdef", hash},
		{"org/model@main:" + hash, "org/model@main:012345…abcdef", "org/model@main:" + hash},
		{"from " + hash + " to " + hash + ".", "from 012345…abcdef to 012345…abcdef.", "from " + hash + " to " + hash + "."},
	} {
		drawn, whole := "", ""
		cell := newCell(c.text)
		for _, p := range cell.Pieces {
			if whole += p.Text; p.Folded {
				p.Text = "…"
			}
			drawn += p.Text
		}
		if drawn != c.drawn || whole != c.text || cell.Full() != c.full {
			t.Errorf("%q is drawn %q of %q with title %q; want %q with %q", c.text, drawn, whole, cell.Full(), c.drawn, c.full)
		}
	}
	if c := newCell(time.Unix(0, 0)); c.Full() != "1970-01-01 00:00:00 UTC" || !strings.HasSuffix(c.Pieces[0].Text, " d ago") {
		t.Errorf("a time is %+v", c)
	}
	if c := newCell(time.Time{}); c.Pieces[0].Text != "never" {
		t.Errorf("no time is %+v", c)
	}
	if c := newCell(Badge{Bad, "INSECURE: simulated"}); c.Word != "INSECURE" || c.Pieces[0].Text != "simulated" {
		t.Errorf("a badge is %+v", c)
	}
}
