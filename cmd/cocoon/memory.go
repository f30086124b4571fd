package main

import "os"

// ballastSize is memory that is never touched, so it costs no RAM, and that
// the garbage collector counts all the same. A role's heap is a few MiB;
// without ballast it would be collected many times a second under load, for a
// fifth of the CPU. With it the collector waits for some 30 MiB of garbage, and
// a heap that has grown large is still collected when it doubles.
const ballastSize = 24 << 20

// ballast is for verbs that serve; keep it alive while they do. Whoever sets
// the runtime's own variables knows better and gets none.
func ballast() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, ballastSize)
}
