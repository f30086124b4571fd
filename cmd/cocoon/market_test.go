package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/worker"
)

func someMarket() *client.Market {
	var past []client.Moment
	for i := range 8 {
		past = append(past, client.Moment{At: int64(1_000_000 + 15*i), Coefficient: int32(1000 + 100*i), Running: int32(i), Slots: 10, First: 0.5})
	}
	x := client.ModelMarket{Model: "m", Moment: past[7], Completion: 0.0123, Token: 0.02, History: past,
		Abilities: client.Abilities{ContextLength: 32_768, Capabilities: []string{"tools", "vision"}}, Regions: []string{"eu"},
		Offers: []client.MarketOffer{{Worker: "UQworker", Coefficient: 900, Running: 1, Limit: 4, Lost: 0.021, First: 0.25, Region: "eu"}}}
	return &client.Market{Proxies: []client.ProxyMarket{{Address: "192.0.2.1:11002", Tells: true, Models: []client.ModelMarket{x}},
		{Address: "192.0.2.2:11002", Models: []client.ModelMarket{{Model: "m", Offers: []client.MarketOffer{{Coefficient: 1500, Limit: 2}}}}}}}
}

func TestWriteMarket(t *testing.T) {
	var b strings.Builder
	if err := writeMarket(&b, someMarket(), true); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"m 192.0.2.1:11002 0 x1.7 0.0123 500ms 50 7/10 (70 %) 0 none 32768 tools,vision eu",
		"m 192.0.2.2:11002 0 from x1.5 0 - - - 0 - - - -",
		"UQworker x0.9 250ms - 1/4 (25 %) 2.1 % - - eu",
		"price ▁▂▃▄▅▆▇█ x1 to x1.7", "load ▁▂▃▄▅▆▇█ 0 % to 70 %", "first ▁▁▁▁▁▁▁▁ 500ms to 500ms",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// The drawing is well-formed whatever names come from the network.
func TestDrawMarket(t *testing.T) {
	m := someMarket()
	m.Proxies[0].Models[0].Model = `<"&m>`
	var b strings.Builder
	if err := drawMarket(&b, m); err != nil {
		t.Fatal(err)
	}
	lines, d := 0, xml.NewDecoder(strings.NewReader(b.String()))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, &b)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 4 {
		t.Errorf("%d lines, want 4", lines)
	}
	if err := drawMarket(io.Discard, &client.Market{}); err == nil {
		t.Error("nothing was drawn without a word")
	}
}

func TestWriteWhy(t *testing.T) {
	var b strings.Builder
	r := &whyReport{NotBecause: []string{"engine does not answer"}, Proxies: []whyProxy{
		{Address: "a", Error: "refused"}, {Address: "b", Connected: true, Owes: "it is behind"}, {Address: "c", Connected: true},
		{Address: "d", Connected: true, Why: &worker.Reasons{Text: "outbid: it would win at 900"}}}}
	if err := writeWhy(&b, r); err != nil {
		t.Fatal(err)
	}
	want := "this worker takes no requests: engine does not answer\na  not connected: refused\nb  gets no more work: it is behind\nc  does not tell why\nd  outbid: it would win at 900\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}
