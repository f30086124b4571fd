package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of CPU times in /proc, 1/100 s on every Linux port
// that Go has.
const clockTick = 10 * time.Millisecond

// processCost reads /proc/PID/stat; see proc_pid_stat(5) for the fields.
func processCost(pid int) (Cost, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Cost{}, err
	}
	// The command's name may hold spaces and brackets: the fields begin after
	// the last bracket, with field 3.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	var n [3]int64
	for i, field := range []int{14, 15, 24} { // utime, stime, rss in pages
		if field-3 >= len(fields) {
			return Cost{}, fmt.Errorf("bench: /proc/%d/stat has %d fields after the name, want at least %d", pid, len(fields), field-2)
		}
		if n[i], err = strconv.ParseInt(string(fields[field-3]), 10, 64); err != nil {
			return Cost{}, fmt.Errorf("bench: /proc/%d/stat: %w", pid, err)
		}
	}
	return Cost{CPU: time.Duration(n[0]+n[1]) * clockTick, RSS: n[2] * int64(os.Getpagesize())}, nil
}
