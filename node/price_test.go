package node

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
)

func TestPrice(t *testing.T) {
	root := &contract.Root{WorkerFeePerToken: 10} // 0.01 TON a million tokens
	for _, x := range []struct {
		s    Price
		want uint32 // begun at 1000
	}{
		{Price{Price: "auto"}, 1000}, {Price{Price: "auto", Floor: 1500}, 1500}, {Price{Price: "auto", Ceiling: 700}, 700},
		// 1 kW at 0.003 TON and 0.012 TON an hour make 0.015 TON, for 1 M tokens that bring 0.01 TON.
		{Price{Price: "auto", Watts: 1000, PerKWh: 0.003, HardwareHour: 0.012, TokensHour: 1e6}, 1500},
	} {
		var p Problems
		x.s.check(&p)
		if err := p.Err(); err != nil {
			t.Errorf("%+v: %v", x.s, err)
		}
		if got, _ := x.s.pricer(root)(1000, time.Time{}).Next(time.Time{}); got != x.want {
			t.Errorf("%+v begins at %d, want %d", x.s, got, x.want)
		}
	}
	if (&Price{}).pricer(root) != nil {
		t.Error("a price set by hand has a pricer")
	}
}

func TestPriceProblems(t *testing.T) {
	for want, s := range map[string]Price{
		"want auto":                 {Price: "high"},
		"mean something with price": {Floor: 7},
		"not above the ceiling":     {Price: "auto", Floor: 8, Ceiling: 7},
		"price_target_use":          {Price: "auto", TargetUse: 1},
		"cannot be negative":        {Price: "auto", Watts: -1},
		"give neither or both":      {Price: "auto", HardwareHour: 1},
	} {
		var p Problems
		s.check(&p)
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
}
