package market

import (
	"math"
	"testing"
	"time"
)

func TestFloor(t *testing.T) {
	for _, x := range []struct {
		c    Cost
		want uint32
	}{
		{Cost{}, 0},
		{Cost{Watts: 700, PerKWh: 0.2, HardwareHour: 0.86, TokensHour: 2e6, MillionTokens: 1}, 500}, // 0.14 + 0.86 an hour, of 2
		{Cost{Watts: 1000, PerKWh: 1, TokensHour: 1e6, MillionTokens: 3}, 334},
		{Cost{Watts: 1000, PerKWh: 1, TokensHour: 0, MillionTokens: 3}, 0},
		{Cost{Watts: -1, PerKWh: 1, TokensHour: 1, MillionTokens: 3}, 0},
		{Cost{Watts: math.NaN(), PerKWh: 1, TokensHour: 1, MillionTokens: 3}, 0},
		{Cost{HardwareHour: 1e30, TokensHour: 1, MillionTokens: 1}, math.MaxInt32},
	} {
		if got := x.c.Floor(); got != x.want {
			t.Errorf("floor of %+v is %d, want %d", x.c, got, x.want)
		}
	}
}

// run lets a pricer live with a demand: use is what share of its places is taken at a price.
func priced(p *Pricer, from time.Time, moves int, use func(price float64) float64) (prices []float64, now time.Time) {
	now = from
	for range moves {
		p.Use(int(1000*use(p.price)), 1000, now)
		now = now.Add(p.Every)
		p.Next(now)
		prices = append(prices, p.price)
	}
	return prices, now
}

func TestPricerFollows(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, x := range []struct {
		name string
		use  func(price float64) float64
		low  float64
		high float64
	}{
		{"no demand", func(float64) float64 { return 0 }, 500, 500},
		{"any demand", func(float64) float64 { return 1 }, 4000, 4000},
		{"as is", func(float64) float64 { return 0.8 }, 1000, 1000},
		{"within the slack", func(float64) float64 { return 0.73 }, 1000, 1000},
		{"a step at 2000", func(price float64) float64 {
			if price > 2000 {
				return 0.1
			}
			return 1
		}, 1900, 2100},
		{"a slope", func(price float64) float64 { return min(1, max(0, 1.6-price/2000)) }, 1400, 1800},
	} {
		p := NewPricer(Pricing{Floor: 500}, 1000, start)
		prices, _ := priced(p, start, 200, x.use)
		if last := prices[len(prices)-1]; last < x.low || last > x.high {
			t.Errorf("%s: ends at %.0f, want %.0f to %.0f", x.name, last, x.low, x.high)
		}
		for i := 1; i < len(prices); i++ {
			if r := prices[i] / prices[i-1]; r > 1.13 || r < 1/1.13 {
				t.Errorf("%s: moved from %.0f to %.0f at once", x.name, prices[i-1], prices[i])
			}
		}
		low, high := math.Inf(1), 0.0
		for _, price := range prices[100:] {
			low, high = min(low, price), max(high, price)
		}
		if high > 1.05*low {
			t.Errorf("%s: still swings between %.0f and %.0f", x.name, low, high)
		}
	}
}

// Between moves nothing happens, and use is averaged over the whole time.
func TestPricerAverages(t *testing.T) {
	now := time.Unix(1000, 0)
	p := NewPricer(Pricing{}, 1000, now)
	for range 14 { // busy for four of five moments: the target
		p.Use(10, 10, now)
		now = now.Add(800 * time.Millisecond)
		p.Use(0, 10, now)
		now = now.Add(200 * time.Millisecond)
		if _, changed := p.Next(now); changed {
			t.Fatalf("changed before %s had passed", p.Every)
		}
	}
	now = now.Add(-time.Hour) // a clock that goes back does no harm
	p.Use(5, 10, now)
	if c, changed := p.Next(now.Add(time.Hour + time.Second)); changed || c != 1000 {
		t.Errorf("use at the target moved the price to %d", c)
	}
}

func TestPricerBounds(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, x := range []struct {
		p     Pricing
		start uint32
		want  uint32
	}{{Pricing{}, 0, 1}, {Pricing{Floor: 700}, 100, 700}, {Pricing{}, 1 << 31, 4000}, {Pricing{Floor: 9000}, 100, 9000}, {Pricing{Ceiling: math.MaxUint32}, math.MaxUint32, math.MaxInt32}} {
		if got := NewPricer(x.p, x.start, now).Coefficient(); got != x.want {
			t.Errorf("%+v from %d begins at %d, want %d", x.p, x.start, got, x.want)
		}
	}
}
