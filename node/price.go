package node

import (
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/worker"
)

// PriceAuto makes a worker's price follow demand.
const PriceAuto = "auto"

// Price is how a worker asks for more or less by itself. Money is in TON.
type Price struct {
	// Price is "auto", or empty for the coefficient as it is set. Auto begins at the
	// coefficient, or at the price before the last stop, and moves so that
	// the share TargetUse of the places is taken.
	Price string `json:"price,omitempty"`
	// Floor is the lowest coefficient that auto asks for; 0 means what the work costs,
	// as far as the next four say. Ceiling is the highest; 0 means 4000.
	Floor   int32 `json:"price_floor,omitempty"`
	Ceiling int32 `json:"price_ceiling,omitempty"`
	// TargetUse is the share of places that should be taken; 0 means 0.7.
	TargetUse float64 `json:"price_target_use,omitempty"`
	// Watts is what the machine draws at work, PerKWh what a kilowatt-hour costs,
	// HardwareHour what an hour of the machine itself does, and TokensHour how many tokens it
	// can write in an hour.
	Watts        float64 `json:"cost_watts,omitempty"`
	PerKWh       float64 `json:"cost_per_kwh,omitempty"`
	HardwareHour float64 `json:"cost_hardware_hour,omitempty"`
	TokensHour   float64 `json:"tokens_per_hour,omitempty"`
}

func (s *Price) check(p *Problems) {
	auto := s.Price == PriceAuto
	if s.Price != "" && !auto {
		p.Add("price %q: want auto; a fixed price is the coefficient's", s.Price)
	}
	given := s.Floor != 0 || s.Ceiling != 0 || s.TargetUse != 0 || s.Watts != 0 || s.PerKWh != 0 || s.HardwareHour != 0 || s.TokensHour != 0
	switch {
	case !auto && given:
		p.Add("price_floor, price_ceiling, price_target_use, cost_… and tokens_per_hour: they mean something with price auto")
	case s.Floor < 0 || s.Ceiling < 0 || s.Ceiling > 0 && s.Floor > s.Ceiling:
		p.Add("price_floor %d and price_ceiling %d: want 0 or more, the floor not above the ceiling", s.Floor, s.Ceiling)
	case !(s.TargetUse >= 0 && s.TargetUse < 1):
		p.Add("price_target_use %g: want 0 to 1", s.TargetUse)
	case !(s.Watts >= 0) || !(s.PerKWh >= 0) || !(s.HardwareHour >= 0) || !(s.TokensHour >= 0):
		p.Add("cost_watts, cost_per_kwh, cost_hardware_hour and tokens_per_hour cannot be negative")
	case (s.Watts > 0 && s.PerKWh > 0 || s.HardwareHour > 0) != (s.TokensHour > 0):
		p.Add("cost_… and tokens_per_hour: what work costs follows from both, give neither or both")
	}
}

// pricer is what the worker is to follow, nil for a price set by hand.
func (s *Price) pricer(root *contract.Root) func(int32, time.Time) worker.Pricer {
	if s.Price != PriceAuto {
		return nil
	}
	floor := uint32(s.Floor)
	if floor == 0 {
		cost := market.Cost{Watts: s.Watts, PerKWh: s.PerKWh, HardwareHour: s.HardwareHour, TokensHour: s.TokensHour,
			MillionTokens: float64(root.WorkerFeePerToken) / 1000} // n nanoTON a token are n thousandths of a TON a million
		floor = cost.Floor()
	}
	pricing := market.Pricing{Floor: floor, Ceiling: uint32(s.Ceiling), Target: s.TargetUse}
	return func(coefficient int32, now time.Time) worker.Pricer {
		return market.NewPricer(pricing, uint32(max(coefficient, 0)), now)
	}
}

// floorText is for the log.
func (s *Price) floorText(root *contract.Root) string {
	if p := s.pricer(root); p != nil {
		return strconv.Itoa(int(p(0, time.Time{}).(*market.Pricer).Floor))
	}
	return ""
}
