package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCommittedFiles fails when the schema or the generator has changed and
// go generate was not run.
func TestCommittedFiles(t *testing.T) {
	files, err := generate(string(read(t, "../schema/cocoon.tl")))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got := read(t, filepath.Join("..", name)); !bytes.Equal(got, want) {
			t.Errorf("tl/%s is not what the schema gives; run go generate ./tl", name)
		}
	}
	committed, err := filepath.Glob("../*_gen.go")
	if err != nil || len(committed) != len(files) {
		t.Errorf("%d generated files in tl, want %d: %v", len(committed), len(files), committed)
	}
}

// TestIDs compares the ids with those of the reference's compiled schema, and
// the text they are computed from, where that is known.
func TestIDs(t *testing.T) {
	decls, err := parse(string(read(t, "../schema/cocoon.tl")))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, d := range decls {
		have[fmt.Sprintf("%s %#08x", d.name, d.id)] = true
		have[d.text] = !d.explicit
	}
	var base struct {
		Entries []struct {
			Name, ID string
			Text     string `json:"crc32_input"`
		}
	}
	if err := json.Unmarshal(read(t, "../testdata/tl_ids.json"), &base); err != nil {
		t.Fatal(err)
	}
	for _, e := range base.Entries {
		if !have[e.Name+" "+e.ID] {
			t.Errorf("%s with id %s is not in the schema", e.Name, e.ID)
		}
		if grown := strings.HasSuffix(e.Name, ".runQueryEx"); e.Text != "" && !have[e.Text] && !grown {
			t.Errorf("no declaration reads %q", e.Text)
		}
	}
	if len(base.Entries) == 0 {
		t.Error("no ids to compare with")
	}
}

func TestSchemaRefusals(t *testing.T) {
	for _, test := range []struct{ name, schema, want string }{
		{"unknown type", "a.b x:c.d = a.B;", "a.b.x: type c.d is unknown"},
		{"boxed with one constructor", "a.b = a.B;\na.c x:a.B = a.C;", "a.c.x: type a.B is unknown, or boxed with a single"},
		{"contains itself", "a.b x:a.B = a.B;\na.c = a.B;", "a.B contains itself"},
		{"optional without flags", "a.b x:flags.0?int = a.B;", "a.b.x: optional without flags"},
		{"flags come later", "a.b x:flags.0?int flags:# = a.B;", "a.b.x: optional without flags"},
		{"flag 31", "a.b flags:# x:flags.31?int = a.B;", "a.b.x: optional without flags"},
		{"elements without bytes", "a.b = a.B;\na.c x:(vector a.b) = a.C;", "a.c.x: elements without bytes"},
		{"same name twice", "a.b = a.B;\na.b x:int = a.B;", "a.b: declared twice"},
		{"same id twice", "a.b#1 = a.B;\na.c#1 = a.C;", "a.c: declared twice, or its id 00000001 is taken"},
		{"id no number", "a.b#xyz = a.B;", `line 1: a.b: id "xyz" is not hexadecimal`},
		{"no result", "a.b x:int;", "line 1: a.b: no result type"},
		{"no end", "a.b = a.B", `no ; after "a.b = a.B"`},
		{"unknown directive", "//@famly x", `line 1: unknown directive "@famly x"`},
	} {
		if _, err := generate(test.schema); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestGoName(t *testing.T) {
	for name, want := range map[string]string{
		"client.runQueryEx": "ClientRunQueryEx",
		"request_id":        "RequestID",
		"proxy_sc_address":  "ProxyScAddress",
		"tcp.queryAnswer":   "TCPQueryAnswer",
		"http.request":      "HTTPRequest",
		"http_version":      "HTTPVersion",
		"url":               "URL",
		"ton.blockIdExt":    "TonBlockIDExt",
		"tokensUsed":        "TokensUsed",
		"http_access_hash":  "HTTPAccessHash",
	} {
		if got := goName(name); got != want {
			t.Errorf("goName(%q) = %q, want %q", name, got, want)
		}
	}
}
