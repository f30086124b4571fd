package client

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

func getJSON(t *testing.T, c *Client, path string, status int, v any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://cocoon"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body := read(t, res)
	if res.StatusCode != status {
		t.Fatalf("GET %s: status %d, want %d: %s", path, res.StatusCode, status, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, body)
	}
}

// tells answers questions for the market with one model.
func tells(mu *sync.Mutex, asked *[]*tl.CocoonGetBook, rate int32) func(*session, *wire.Query, tl.Object) bool {
	return func(s *session, q *wire.Query, fn tl.Object) bool {
		get, ok := fn.(*tl.CocoonGetBook)
		if !ok {
			return false
		}
		if get.Offers > 0 {
			mu.Lock()
			*asked = append(*asked, get)
			mu.Unlock()
		}
		if get.Model != "" && get.Model != "m" {
			q.Answer(&tl.CocoonBook{})
			return true
		}
		now := tl.CocoonBookMoment{At: 7, Coefficient: rate, Running: 3, Slots: 8, Workers: 2, FirstSeconds: 0.5}
		q.Answer(&tl.CocoonBook{Models: []tl.CocoonBookModel{{Name: "m", Now: now, WaitSeconds: 2, TokenSeconds: 0.02,
			Offers: []tl.CocoonBookOffer{{Worker: "w", Coefficient: rate, Limit: 8}}, History: []tl.CocoonBookMoment{now}}}})
		return true
	}
}

// The market of every proxy is told, in money too; what the reference does not
// tell is left open.
func TestMarket(t *testing.T) {
	var mu sync.Mutex
	var asked []*tl.CocoonGetBook
	dear, cheap, reference := ours(), ours(), &scriptedProxy{version: 4}
	dear.onAsk, cheap.onAsk = tells(&mu, &asked, 2000), tells(&mu, &asked, 500)
	n := newNetwork(t, dear, cheap, reference)
	cfg := n.config()
	cfg.Connections = 3
	c := n.startReady(cfg)
	n.awaitReady(c, 3)
	var m Market
	getJSON(t, c, "/v1/market/m", 200, &m)
	if len(m.Proxies) != 3 || !m.Proxies[0].Tells || m.Proxies[2].Tells || m.Proxies[0].Address != dear.addr {
		t.Fatalf("%+v", m)
	}
	// 10 nanoTON a token are 0.01 TON a million, at 2 times that.
	if x := m.Proxies[0].Models[0]; x.Coefficient != 2000 || x.Prompt != 0.02 || x.Completion != 0.02 || x.Wait != 2 || len(x.Offers) != 1 || len(x.History) != 1 || x.First != 0.5 {
		t.Errorf("%+v", x)
	}
	if x := m.Proxies[2].Models[0]; x.Model != "m" || x.Workers != 2 || x.Slots != 90 || x.Coefficient != 0 || x.Prompt != 0.01*float64(x.Offers[0].Coefficient)/1000 {
		t.Errorf("of the reference: %+v", x)
	}
	if len(asked) != 2 || asked[0].History != wholePast || asked[0].Model != "m" {
		t.Errorf("asked %+v", asked)
	}
	var list openai.ModelList
	getJSON(t, c, "/v1/models", 200, &list)
	if q := list.Data[0].Market; q == nil || q.GoingRate != 500 || q.PromptTON != 0.005 || q.TokensPerSecond != 50 || q.Wait != 0 {
		t.Errorf("quote %+v, want the cheaper proxy's", q)
	}
	var e struct{ Error struct{ Code string } }
	if getJSON(t, c, "/v1/market/other", 404, &e); e.Error.Code != openai.CodeModelNotFound {
		t.Errorf("another model: %+v", e)
	}
}

// A proxy whose book is nonsense spoils neither the others' nor the list of models.
func TestHostileBook(t *testing.T) {
	var mu sync.Mutex
	var asked []*tl.CocoonGetBook
	honest, evil := ours(), ours()
	honest.onAsk = tells(&mu, &asked, 500)
	evil.onAsk = func(s *session, q *wire.Query, fn tl.Object) bool {
		if _, ok := fn.(*tl.CocoonGetBook); !ok {
			return false
		}
		moment := func(x float64) tl.CocoonBookMoment {
			return tl.CocoonBookMoment{At: math.MinInt32, Coefficient: math.MinInt32, Running: -1, Slots: math.MinInt32, Waiting: -1, Workers: 5, FirstSeconds: x}
		}
		book := &tl.CocoonBook{}
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64} {
			book.Models = append(book.Models, tl.CocoonBookModel{Name: "m", Now: moment(x), WaitSeconds: x, TokenSeconds: x, ServiceSeconds: x,
				Offers:  []tl.CocoonBookOffer{{Worker: "\x1b[2J\r\nmodel\xff", Coefficient: -1, Running: math.MinInt32, Limit: -1, Failures: -1, Lost: x, FirstSeconds: x, TokenSeconds: x}},
				History: []tl.CocoonBookMoment{moment(x)}})
		}
		q.Answer(book)
		return true
	}
	n := newNetwork(t, honest, evil)
	cfg := n.config()
	cfg.Connections = 2
	c := n.startReady(cfg)
	n.awaitReady(c, 2)
	var m Market
	getJSON(t, c, "/v1/market", 200, &m)
	for _, p := range m.Proxies {
		for _, x := range p.Models {
			if p.Address == evil.addr && (x.Coefficient < 0 || x.Running < 0 || x.Slots < 0 || x.Wait < 0 || x.Token < 0 || x.First < 0 || x.Prompt < 0 || x.Wait > 1e9) {
				t.Errorf("%+v", x)
			}
			for _, o := range x.Offers {
				if o.Coefficient < 0 || o.Limit < 0 || o.Running < 0 || o.Lost < 0 || o.Lost > 1 || o.First < 0 || strings.ContainsAny(o.Worker, "\x1b\r\n") {
					t.Errorf("%+v", o)
				}
			}
		}
	}
	if len(m.Proxies) != 2 || len(m.Proxies[0].Models) == 0 || m.Proxies[0].Models[0].Coefficient != 500 && m.Proxies[1].Models[0].Coefficient != 500 {
		t.Errorf("the honest proxy's book is lost: %+v", m)
	}
	var list openai.ModelList
	getJSON(t, c, "/v1/models", 200, &list)
	if q := list.Data[0].Market; q == nil || q.GoingRate != 500 {
		t.Errorf("quote %+v, want the honest proxy's", q)
	}
}

// Absurd numbers of places do not wrap when they are added up.
func TestListedMarketDoesNotWrap(t *testing.T) {
	c := &Client{cfg: Config{Now: time.Now}}
	w := openai.ModelWorker{Coefficient: math.MaxInt32, RunningRequests: math.MaxInt32, MaxRunningRequests: math.MaxInt32}
	l := &link{c: c, root: &contract.Root{PricePerToken: 10, Multipliers: ledger.Plain}}
	if m := listedMarket("m", []openai.ModelWorker{w, w, w}, l); m.Slots != math.MaxInt32 || m.Running != math.MaxInt32 {
		t.Errorf("%+v", m.Moment)
	}
}
