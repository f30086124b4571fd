package client

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// turns is a conversation of a system prompt and so many turns of the user.
func turns(system string, words ...string) []byte {
	list := []map[string]string{{"role": "system", "content": system}}
	for i, w := range words {
		if i > 0 {
			list = append(list, map[string]string{"role": "assistant", "content": "well"})
		}
		list = append(list, map[string]string{"role": "user", "content": w})
	}
	body, _ := json.Marshal(map[string]any{"model": "m", "max_tokens": 9, "messages": list})
	return body
}

// What begins alike has one digest, to one proxy, of one gateway; all else differs.
func TestAffinity(t *testing.T) {
	long := strings.Repeat("You are helpful. ", 200)
	sum := func(path, model string, body []byte) string {
		s, ok := beginning(path, model, body)
		if !ok {
			t.Fatalf("no beginning in %.80s", body)
		}
		return string(s[:])
	}
	first := sum(pathChat, "m", turns(long, "hello"))
	if later := sum(pathChat, "m", turns(long, "hello", "and then?", "really?")); later != first {
		t.Error("a later turn of the conversation begins otherwise")
	}
	for name, other := range map[string]string{
		"another question": sum(pathChat, "m", turns(long, "hello!")),
		"another system":   sum(pathChat, "m", turns(long+".", "hello")),
		"another model":    sum(pathChat, "m@1", turns(long, "hello")),
		"other tools":      sum(pathChat, "m", bytes.Replace(turns(long, "hello"), []byte("{"), []byte(`{"tools":[],`), 1)),
		"a prompt":         sum(pathCompletions, "m", []byte(`{"prompt":"`+long+`"}`)),
	} {
		if other == first {
			t.Errorf("%s begins alike", name)
		}
	}
	if sum(pathCompletions, "m", []byte(`{"prompt":"`+long+`a"}`)) != sum(pathCompletions, "m", []byte(`{"prompt":"`+long+`b"}`)) {
		t.Error("a prompt's end counts")
	}
	document := strings.Repeat("x", mostPrefix)
	if sum(pathChat, "m", turns(long, document+" Sum up.")) != sum(pathChat, "m", turns(long, document+" Translate.")) {
		t.Error("the end of a long document counts")
	}
	for name, body := range map[string][]byte{"no object in the list": []byte(`{"messages":["` + long + `"]}`), "short": turns("x", "hello"), "nobody asks": turns(long), "no list": []byte(`{"messages":7,"x":"` + long + `"}`), "no object": []byte(long)} {
		if _, ok := beginning(pathChat, "m", body); ok {
			t.Errorf("%s: has a beginning", name)
		}
	}
	k, other := newAffinityKey(), newAffinityKey()
	s, _ := beginning(pathChat, "m", turns(long, "hello"))
	d := string(k.digest([]byte("proxy"), &s))
	if len(d) != 16 || d != string(k.digest([]byte("proxy"), &s)) || d == string(k.digest([]byte("proxy 2"), &s)) || d == string(other.digest([]byte("proxy"), &s)) {
		t.Error("a digest must be the same for one proxy and gateway, and another for others")
	}
}

// The digest travels to proxies that know it, unless it is switched off.
func TestAffinityTravels(t *testing.T) {
	long := strings.Repeat("You are helpful. ", 200)
	for _, off := range []bool{false, true} {
		p := ours()
		cfg := newNetwork(t, p).config()
		cfg.NoAffinity = off
		c := p.net.startReady(cfg)
		for _, body := range [][]byte{turns(long, "hello"), turns(long, "hello", "more"), turns(long, "bye"), turns("x", "short")} {
			if res, text := chat(t, c, string(body)); res.StatusCode != 200 {
				t.Fatalf("status %d: %s", res.StatusCode, text)
			}
		}
		if off {
			if len(p.wishes) != 0 {
				t.Error("a digest was sent although that is off")
			}
			continue
		}
		if len(p.wishes) != 3 {
			t.Fatalf("%d requests with a digest, want 3", len(p.wishes))
		}
		a, b, other := p.wishes[0].Affinity, p.wishes[1].Affinity, p.wishes[2].Affinity
		if len(a) != 16 || !bytes.Equal(a, b) || bytes.Equal(a, other) {
			t.Errorf("digests %x, %x and %x", a, b, other)
		}
	}
}
