package cocoon_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/opencocoon/cocoon"

// arrows lists, for each room, the rooms it may import outside its tests. An
// arrow that is not here is a decision somebody has to take: add it with its
// reason in the same change. Roles never import each other.
var arrows = map[string][]string{
	"atomicfile":         {}, // files that appear whole or not at all
	"tl":                 {},
	"openai":             {},
	"fieldcrypt":         {"openai"},
	"stats":              {},
	"engine":             {"openai"},
	"engine/builtin":     {"openai"},
	"engine/enginetest":  {"engine", "openai"},
	"market":             {"model"}, // which offers a pinned revision fits
	"wire":               {"tl"},
	"attest":             {"atomicfile", "attest/evidence", "attest/tdx"}, // Judge calls the vendors' parsers and verifiers
	"attest/evidence":    {},                                              // what the vendors' findings have in common
	"attest/collateral":  {"atomicfile"},
	"attest/tdx":         {"attest/collateral", "attest/evidence"},
	"attest/snp":         {"attest/collateral", "attest/evidence"},
	"attest/insecure":    {"attest", "attest/evidence", "attest/nvidia", "attest/snp", "attest/tdx"},
	"ratls":              {"attest", "tl", "wire"},                                        // peer-info strings are TL strings; the proof of work is wire's
	"seal":               {"atomicfile", "attest", "attest/evidence", "attest/tdx", "tl"}, // hand-overs are judged; the sealing service speaks TL
	"attest/nvidia":      {"atomicfile", "attest/collateral", "attest/evidence"},
	"attest/nvidia/nvml": {"attest/nvidia"},                          // links dynamically: only cmd/cocoon-gpu may import it
	"router":             {"attest", "attest/tdx", "ratls", "stats"}, // tdx for Intel's root key id, which lists name
	"coin":               {},
	"ton":                {"coin"},
	"ton/localnet":       {},                                            // a chain knows nothing of what runs on it
	"contract":           {"atomicfile", "coin", "ledger", "tl", "ton"}, // a root names the ledger's multipliers
	"wallet":             {"atomicfile", "coin", "contract", "ton"},     // the queue of orders of a node's wallet, people's wallets
	"ledger":             {"coin", "tl"},
	"ledger/disk":        {"ledger"},
	"ledger/postgres":    {"ledger"},
	"ledger/storetest":   {"coin", "ledger"},                                            // the suite that every store passes
	"settlement":         {"atomicfile", "coin", "contract", "ledger", "ton", "wallet"}, // the roles' side of the chain; node brings it to them
	"client":             {"attest", "coin", "contract", "fieldcrypt", "ledger", "model", "openai", "ratls", "stats", "tl", "wire"},
	"proxy":              {"atomicfile", "attest", "coin", "contract", "ledger", "market", "openai", "ratls", "stats", "tl", "wire"},
	"worker":             {"attest", "contract", "engine", "fieldcrypt", "ledger", "openai", "ratls", "stats", "tl", "wire"},
	"keys":               {"atomicfile", "attest", "coin", "contract", "fieldcrypt", "ratls", "stats", "tl", "wallet", "wire"}, // the key manager, and who asks it
	"model":              {},
	"attest/measure":     {"attest/evidence"},

	// Whoever imports it is linked dynamically: only cmd/cocoon-gpu may.

	// Whoever imports it is linked dynamically: only cmd/cocoon-gpu may.
	"market/marketsim": {"market"}, // rules of selection against each other
}

// Wiring and tools may import everything: that is what they are for.
var wiring = []string{"cmd/", "node", "devnet", "bench", "sim", "tl/gen", "engine/builtin/"}

func isWiring(room string) bool {
	return slices.ContainsFunc(wiring, func(w string) bool {
		return room == w || strings.HasSuffix(w, "/") && strings.HasPrefix(room, w) || strings.HasPrefix(room, w+"/")
	})
}

// sources parses every non-test Go file of the module, by room.
func sources(t *testing.T) map[string][]*ast.File {
	t.Helper()
	rooms := map[string][]*ast.File{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := p != "." && strings.HasPrefix(d.Name(), ".")
			_, otherModule := os.Stat(filepath.Join(p, "go.mod"))
			if hidden || d.Name() == "testdata" || d.Name() == "node_modules" || p != "." && otherModule == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		room := path.Dir(filepath.ToSlash(p))
		rooms[room] = append(rooms[room], f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

func TestEveryRoomHasAPackageComment(t *testing.T) {
	for room, files := range sources(t) {
		if !slices.ContainsFunc(files, func(f *ast.File) bool { return f.Doc != nil && len(f.Doc.Text()) > 40 }) {
			t.Errorf("%s: no package comment: say what the room is for, where to start, what it leaves to others", room)
		}
	}
}

func TestArrowsPointDown(t *testing.T) {
	for room, files := range sources(t) {
		if isWiring(room) {
			continue
		}
		allowed, known := arrows[room]
		if !known {
			t.Errorf("%s: a new room: add it to the table of arrows with what it may import", room)
		}
		for _, f := range files {
			for _, imp := range f.Imports {
				dep, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module+"/")
				if ours && !slices.Contains(allowed, dep) {
					t.Errorf("%s imports %s: not an arrow of this house", room, dep)
				}
			}
		}
	}
}

// A link that leads nowhere is a promise not kept.
func TestDocumentLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	docs, _ := filepath.Glob("docs/*.md")
	more, _ := filepath.Glob("docs/*/*.md")
	tops, _ := filepath.Glob("*.md")
	for _, doc := range slices.Concat(docs, more, tops) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			}
		}
	}
}

// Every direct module has its line, every room its row.
func TestListsAreComplete(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	direct, _, _ := strings.Cut(read("go.mod"), "// indirect")
	dependencies, architecture := read("DEPENDENCIES.md"), read("docs/architecture.md")
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v`).FindAllStringSubmatch(direct[:strings.LastIndex(direct, "require")], -1) {
		if !strings.Contains(dependencies, "| "+m[1]+" |") {
			t.Errorf("DEPENDENCIES.md lacks %s", m[1])
		}
	}
	for room := range sources(t) {
		if !strings.Contains(architecture, "`"+room+"`") && strings.Count(room, "/") == 0 && room != "." {
			t.Errorf("the table of rooms in docs/architecture.md lacks %s", room)
		}
	}
}
