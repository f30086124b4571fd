//go:build !linux

package bench

import (
	"errors"
	"fmt"
	"runtime"
)

func processCost(int) (Cost, error) {
	return Cost{}, fmt.Errorf("bench: the cost of a process on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
