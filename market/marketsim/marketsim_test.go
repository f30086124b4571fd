package marketsim

import (
	"fmt"
	"testing"
)

func TestLook(t *testing.T) {
	for _, name := range Rules {
		f, err := Run(t.Context(), Scenario{Workers: 100, Requests: 50000, Load: .8, Failing: .1, Cheating: .02}, name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%-13s good %.3f surplus %7.1f ttft %5.0f %6.0f %6.0f total %6.0f %6.0f cost %.3f failed %.3f (ref %.3f brk %.3f late %.3f) gini %.2f idle %.2f worst %.2f %v\n", f.Name, f.Goodput, f.Surplus, f.TTFT50, f.TTFT95, f.TTFT99, f.Total50, f.Total99, f.Cost, f.Failed, f.Refused, f.Broken, f.Late, f.Gini, f.Idle, f.WorstShare, f.Income)
	}
}

func TestDeviate(t *testing.T) {
	for _, rule := range []string{"ours", "least-loaded", "reference"} {
		for _, strategy := range Strategies {
			r, err := Deviate(t.Context(), Scenario{Workers: 200, Requests: 60000, Load: .8}, rule, strategy)
			fmt.Println(rule, strategy, r, err)
		}
	}
}
