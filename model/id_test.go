package model_test

import (
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/model"
)

const (
	commit = "9b0cf1e5a1a0e4a4c1f4b0f0d7a6a5b4c3d2e1f0"
	root   = "b5a1f6e3c20d4b59a5d7c6e8f9012345678901234567890abcdef0123456789a"
)

func TestParse(t *testing.T) {
	for _, text := range []string{
		"Qwen/Qwen3-8B@" + commit + ":" + root,
		"cocoon-demo@unpinned:" + strings.Repeat("0", 64),
		"qwen3:0.6b@refs/pr/1:" + root,
		"a@b:" + root,
	} {
		id, err := model.Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
		} else if id.String() != text {
			t.Errorf("Parse(%q) is written as %q", text, id)
		}
	}
	id, _ := model.Parse("Qwen/Qwen3-8B@" + commit + ":" + root)
	if id.Name != "Qwen/Qwen3-8B" || id.Commit != commit || id.Hash.String() != root || id.Revision() != "Qwen/Qwen3-8B@"+commit {
		t.Errorf("parts are %+v", id)
	}
}

// What does not name one model for everybody is no identity.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "want name@commit:hash"},
		{"Qwen/Qwen3-8B", "want name@commit:hash"},
		{"Qwen/Qwen3-8B@" + commit, "want name@commit:hash"},
		{"qwen3:0.6b", "want name@commit:hash"},
		{"@" + commit + ":" + root, "name \"\" has 0 bytes"},
		{"a@:" + root, "commit \"\" has 0 bytes"},
		{"a@b:", "64 digits of lower-case hexadecimal"},
		{"a@b:" + root[:62], "64 digits"},
		{"a@b:" + root + "00", "64 digits"},
		{"a@b:" + strings.ToUpper(root), "lower-case"},
		{"a@b:" + root + "\n", "64 digits"},
		{"a@b:" + root[:63] + "g", "64 digits"},
		{"a@b:c:" + root, "64 digits"},
		{"a@b@c:" + root, "commit \"b@c\""},
		{" a@b:" + root, "name \" a\""},
		{"a b@b:" + root, "name \"a b\""},
		{"-a@b:" + root, "beginning with a letter or digit"},
		{"a@-b:" + root, "beginning with a letter or digit"},
		{"a/../b@c:" + root, "two dots"},
		{"a//b@c:" + root, "no empty part"},
		{"a/@c:" + root, "no empty part"},
		{"/a@c:" + root, "beginning with a letter or digit"},
		{"a\x00@b:" + root, "letters, digits"},
		{"é@b:" + root, "letters, digits"},
		{"a\u202e@b:" + root, "letters, digits"},
		{strings.Repeat("a", 201) + "@b:" + root, "want 1 to 200"},
		{"a@" + strings.Repeat("b", 129) + ":" + root, "want 1 to 128"},
	} {
		if id, err := model.Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%q) = %v, %v, want an error with %q", c.text, id, err, c.want)
		}
	}
}

func TestPins(t *testing.T) {
	full := "Qwen/Qwen3-8B@" + commit + ":" + root
	for _, c := range []struct {
		asked, text string
		want        bool
	}{
		{"Qwen/Qwen3-8B", full, true},
		{"Qwen/Qwen3-8B@" + commit, full, true},
		{full, full, true},
		{"Qwen/Qwen3-8", full, false},
		{"Qwen/Qwen3-8B@", full, false},
		{"Qwen/Qwen3-8B@" + commit[:39], full, false},
		{"Qwen/Qwen3-8B@" + commit + ":", full, false},
		{full[:len(full)-1], full, false},
		{full + "0", full, false},
		{"Qwen/Qwen3-8B@" + commit, "Qwen/Qwen3-8B", false},
		{"Qwen/Qwen3-8B@" + commit, "Qwen/Qwen3-8B@" + commit, true},
		{"Qwen/Qwen3-8B", "Qwen/Qwen3-8B", true},
		{"", full, false},
		{"a@b:c", "a@b:c:d", false}, // the hash is not pinned by half of it
	} {
		if got := model.Pins(c.asked, c.text); got != c.want {
			t.Errorf("Pins(%q, %q) = %v, want %v", c.asked, c.text, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Qwen/Qwen3-8B@" + commit + ":" + root)
	f.Add("a@b:" + root)
	f.Add("@:")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := model.Parse(s)
		if err != nil {
			return
		}
		if id.String() != s {
			t.Fatalf("Parse(%q) is written as %q", s, id)
		}
		if !model.Pins(id.Revision(), s) || !model.Pins(s, s) || !model.Pins(id.Name, s) || model.Base(s) != id.Name {
			t.Fatalf("%q does not fulfil its own parts", s)
		}
	})
}
