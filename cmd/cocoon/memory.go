package main

import "os"

// ballast is memory that is never touched, so it costs no RAM, and that the
// garbage collector counts all the same. A role's heap is a few MiB; without
// ballast it would be collected a hundred times a second under load, for a
// fifth of the CPU. With it the collector waits for some 30 MiB of garbage,
// and a heap that has grown large is still collected when it doubles.
var ballast []byte

const ballastSize = 24 << 20

// calmCollector is for verbs that serve. Whoever sets the runtime's own
// variables knows better.
func calmCollector() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		ballast = make([]byte, ballastSize)
	}
}
