package nvidia_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".hex") {
		if b, err = hex.DecodeString(string(b)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func encode(t testing.TB, boards ...nvidia.Board) []byte {
	t.Helper()
	b, err := nvidia.Encode(boards)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, blob []byte) []nvidia.Board {
	t.Helper()
	boards, err := nvidia.Decode(blob)
	if err != nil {
		t.Fatal(err)
	}
	return boards
}

func newGPUAuthority(t testing.TB) *insecure.GPUAuthority {
	t.Helper()
	a, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ask(t testing.TB, source nvidia.Source, nonce [32]byte) []byte {
	t.Helper()
	b, err := source.Evidence(t.Context(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// failed lists the checks that failed.
func failed(f *evidence.Finding) (names []string) {
	for _, c := range f.Checks {
		if !c.OK {
			names = append(names, c.Name)
		}
	}
	return names
}

func check(t testing.TB, f *evidence.Finding, name string) evidence.Check {
	t.Helper()
	for _, c := range f.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %q was made: %v", name, f.Checks)
	return evidence.Check{}
}
