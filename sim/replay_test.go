package sim

import (
	"fmt"
	"testing"
)

// The same seed is the same story, word for word.
func TestReplay(t *testing.T) {
	for seed := uint64(1); seed <= uint64(number("SIM_REPLAYS", 4)); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			first := play(t, seed, 1000, true)
			again := play(t, seed, 1000, true)
			if first.print == again.print {
				return
			}
			for i := range first.story {
				if i >= len(again.story) || first.story[i] != again.story[i] {
					for j := max(0, i-12); j < i; j++ {
						t.Log(first.story[j])
					}
					t.Fatalf("two runs differ at line %d:\n%s\n%s", i, first.story[i], again.story[min(i, len(again.story)-1)])
				}
			}
			t.Fatalf("the second run goes on: %s", again.story[len(first.story)])
		})
	}
}
