package client

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

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
