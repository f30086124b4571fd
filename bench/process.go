package bench

import "time"

// Process is one process of the measured network.
type Process struct {
	Role string `json:"role"`
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// Cost is what a process has consumed since its start and holds now.
type Cost struct {
	CPU time.Duration
	RSS int64 // bytes of resident memory
}

// Costs reads the cost of each process, by name. Processes that are gone,
// and all of them on systems that do not tell, are left out.
func Costs(ps []Process) map[string]Cost {
	costs := make(map[string]Cost, len(ps))
	for _, p := range ps {
		if c, err := processCost(p.PID); err == nil {
			costs[p.Name] = c
		}
	}
	return costs
}
