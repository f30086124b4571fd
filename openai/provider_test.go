package openai

import (
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func parseProvider(t *testing.T, object string) (*Provider, *Error) {
	t.Helper()
	o, forward, err := ParseOptions(nil, []byte(`{"model":"m", "provider": `+object+`, "messages":[]}`))
	if err == nil && string(forward) != `{"model":"m", "messages":[]}` {
		t.Errorf("%s: forward = %s", object, forward)
	}
	return o.Provider, err
}

func TestParseProvider(t *testing.T) {
	free := Provider{MaxPrompt: math.Inf(1), MaxCompletion: math.Inf(1)}
	with := func(bend func(*Provider)) *Provider { p := free; bend(&p); return &p }
	for object, want := range map[string]*Provider{
		`{}`:   &free,
		`null`: nil,
		`{"order":["a","b"],"only":["c"],"ignore":[],"allow_fallbacks":false}`: with(func(p *Provider) {
			p.Order, p.Only, p.Ignore, p.NoFallbacks = []string{"a", "b"}, []string{"c"}, []string{}, true
		}),
		`{"sort":"throughput","preferred_max_latency":1.5,"allow_fallbacks":true}`: with(func(p *Provider) { p.Sort, p.MaxLatency = "throughput", 1500*time.Millisecond }),
		`{"sort":"balanced","max_price":0.5}`:                                      with(func(p *Provider) { p.MaxPrompt, p.MaxCompletion, p.HasMaxPrice = 0.5, 0.5, true }),
		`{"max_price":{"completion":2}}`:                                           with(func(p *Provider) { p.MaxCompletion, p.HasMaxPrice = 2, true }),
		`{"resume":true}`:                                                          with(func(p *Provider) { p.Resume, p.HasResume = true, true }),
		`{"resume":false}`:                                                         with(func(p *Provider) { p.HasResume = true }),
		`{"order":null,"sort":null}`:                                               &free,
	} {
		if got, err := parseProvider(t, object); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %+v (%v), want %+v", object, got, err, want)
		}
	}
}

func TestParseProviderRefuses(t *testing.T) {
	many := `["` + strings.Repeat(`a","`, 32) + `a"]`
	for object, want := range map[string]string{
		`7`:                               "provider: want a JSON object",
		`{"quantizations":["fp8"]}`:       "provider.quantizations: unknown parameter",
		`{"order":["a"],"Only":["b"]}`:    "provider.Only: unknown parameter",
		`{"order":"a"}`:                   "provider.order: want a list",
		`{"order":[1]}`:                   "provider.order: want a list",
		`{"only":` + many + `}`:           "provider.only: want at most 32",
		`{"only":[""]}`:                   "provider.only: want names",
		`{"sort":"fastest"}`:              "provider.sort: want price",
		`{"sort":1}`:                      "provider.sort: want a string",
		`{"max_price":-1}`:                "provider.max_price: want TON",
		`{"max_price":"1"}`:               "provider.max_price: want TON",
		`{"max_price":{}}`:                "provider.max_price: want members",
		`{"max_price":{"image":1}}`:       "provider.max_price: want members",
		`{"max_price":{"prompt":"1"}}`:    "provider.max_price.prompt: want TON",
		`{"preferred_max_latency":0}`:     "provider.preferred_max_latency: want seconds",
		`{"preferred_max_latency":"1"}`:   "provider.preferred_max_latency: want a number",
		`{"allow_fallbacks":1}`:           "provider.allow_fallbacks: want true",
		`{"sort":"price","sort":"price"}`: "provider: want a JSON object",
	} {
		_, err := parseProvider(t, object)
		param, text, _ := strings.Cut(want, ": ")
		if err == nil || err.Status != 400 || err.Param != param || !strings.Contains(err.Message, text) {
			t.Errorf("%s: %+v, want 400 that blames %s: %s", object, err, param, text)
		}
	}
}

// SDKs that refuse unknown members send headers, and forms have parts.
func TestProviderElsewhere(t *testing.T) {
	h := http.Header{HeaderProvider: {`{"sort":"price"}`}, HeaderExplain: {"1"}}
	o, forward, err := ParseOptions(h, []byte(`{"model":"m"}`))
	if err != nil || o.Provider.Sort != "price" || !o.Explain || string(forward) != `{"model":"m"}` {
		t.Errorf("%+v, %s, %v", o, forward, err)
	}
	form := "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B\r\nContent-Disposition: form-data; name=\"provider\"\r\n\r\n{\"sort\":\"latency\"}\r\n--B--\r\n"
	o, forward, err = ParseOptions(http.Header{"Content-Type": {"multipart/form-data; boundary=B"}}, []byte(form))
	if err != nil || o.Provider.Sort != "latency" || strings.Contains(string(forward), "latency") {
		t.Errorf("%+v, %s, %v", o, forward, err)
	}
}
