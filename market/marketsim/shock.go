package marketsim

import "math"

// Settling is how the price found its level after demand had changed.
type Settling struct {
	// Demand is it, over that of the day's beginning.
	Demand float64 `json:"demand"`
	// Price is the level of the last third of the phase.
	Price float64 `json:"price"`
	// Settled is after how many seconds the price stayed within a tenth of it, and Turns how
	// often it then turned by more than a twentieth, or before.
	Settled float64 `json:"settled_s"`
	Turns   int     `json:"turns"`
}

// phases of a day with shocks, of equal length.
var phases = [...]float64{1, 2, 1, 0.5}

// Shocks looks at the prices of a scenario with [Scenario.Shocks]. The first phase has
// no shock before it: there workers find the price from what they first asked.
func (f *Figures) Shocks() []Settling {
	out := make([]Settling, len(phases))
	n := len(f.Series) / len(phases)
	for i, demand := range phases {
		out[i] = settling(f.Series[i*n : (i+1)*n])
		out[i].Demand = demand
	}
	return out
}

func settling(phase []Point) Settling {
	last := phase[2*len(phase)/3:]
	x := Settling{}
	for _, p := range last {
		x.Price += p.Price / float64(len(last))
	}
	for _, p := range phase {
		if math.Abs(p.Price/x.Price-1) > 0.1 {
			long := phase[1].At - phase[0].At
			x.Settled = p.At - phase[0].At + long
		}
	}
	x.Turns = turns(phase, x.Price/20)
	return x
}

// turns counts changes of direction after a move of at least so much.
func turns(phase []Point, least float64) (n int) {
	high, low, direction := phase[0].Price, phase[0].Price, 0
	for _, p := range phase {
		high, low = max(high, p.Price), min(low, p.Price)
		switch {
		case direction >= 0 && p.Price < high-least:
			if direction > 0 {
				n++
			}
			direction, low = -1, p.Price
			high = p.Price
		case direction <= 0 && p.Price > low+least:
			if direction < 0 {
				n++
			}
			direction, high = 1, p.Price
			low = p.Price
		}
	}
	return n
}
