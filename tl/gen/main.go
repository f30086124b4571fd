// Command gen turns the schema into Go: one file per family with its types,
// and registry_gen.go, which knows them all.
//
// Run it through go generate in the tl package. schema.go reads, plan.go
// resolves types and sizes, emit.go writes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	schema := flag.String("schema", "schema/cocoon.tl", "schema `file` to read")
	out := flag.String("out", ".", "`folder` to write the Go files to")
	flag.Parse()
	if err := run(*schema, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(schema, out string) error {
	text, err := os.ReadFile(schema)
	if err != nil {
		return err
	}
	files, err := generate(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", schema, err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate maps file names to their contents.
func generate(schema string) (map[string][]byte, error) {
	decls, err := parse(schema)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(decls)
	if err != nil {
		return nil, err
	}
	return emit(p)
}
