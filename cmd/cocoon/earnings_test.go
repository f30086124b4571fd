package main

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/settlement"
)

func TestWriteEarnings(t *testing.T) {
	r := &settlement.EarningsReport{Earned: 5 * coin.TON, Signed: 4 * coin.TON, Paid: 3 * coin.TON, Pending: 2 * coin.TON, Days: []settlement.EarnedDay{
		{Day: "2030-01-01", Model: "a", Requests: 1, Tokens: 10, Earned: coin.TON},
		{Day: "2030-01-02", Model: "a", Requests: 2, Tokens: 20, Earned: 2 * coin.TON},
		{Day: "2030-01-02", Model: "b", Requests: 3, Tokens: 30, Earned: 2 * coin.TON},
	}}
	var b strings.Builder
	if err := writeEarnings(&b, r, time.Date(2030, 1, 3, 5, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(b.String()) {
		if f := strings.Fields(line); len(f) > 0 {
			lines[f[0]] = strings.Join(f[1:], " ")
		}
	}
	for name, want := range map[string]string{
		"earned": "5 TON", "paid": "3 TON", "pending": "2 TON", "of": "it signed 1 TON", "a": "3 30 3", "b": "3 30 2",
		"2030-01-01": "1 " + strings.Repeat("█", 10), "2030-01-02": "4 " + strings.Repeat("█", 40), "2030-01-03": "0",
	} {
		if lines[name] != want {
			t.Errorf("%s: %q, want %q\n%s", name, lines[name], want, &b)
		}
	}
	if strings.Count(b.String(), "20") < chartDays {
		t.Error("want a line for each of 14 days")
	}
}
