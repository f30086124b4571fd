package coin

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Nano{
		"0": 0, "1": TON, "1.5": 1_500_000_000, "0.000000001": 1, ".5": TON / 2, "007": 7 * TON, "1.500000000": 1_500_000_000,
		" 2 TON ": 2 * TON, "2ton": 2 * TON, "9223372036.854775807": Max,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "TON", ".", "1.", "-1", "+1", "1e9", "1,5", "0x10", "1_000", "1 000", "1.0000000001", "9223372036.854775808",
		"99999999999999999999", "1.5 GBP", "1.5.0", "١", "NaN", "1 TON TON",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %d, want an error", text, got)
		}
	}
}

func TestString(t *testing.T) {
	for n, want := range map[Nano]string{
		0: "0", 1: "0.000000001", TON: "1", 1_500_000_000: "1.5", -1: "-0.000000001", -TON: "-1", -1_500_000_000: "-1.5",
		Max: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		if got := n.String(); got != want {
			t.Errorf("%d is written %s, want %s", int64(n), got, want)
		}
	}
	if got := (3 * TON).Text(); got != "3 TON" {
		t.Errorf("Text = %q, want 3 TON", got)
	}
}

func TestArithmetic(t *testing.T) {
	for _, test := range []struct {
		name      string
		got, want int64
	}{
		{"sum", int64(TON.Add(1)), 1_000_000_001},
		{"sum beyond", int64(Max.Add(1)), int64(Max)},
		{"sum below", int64(Nano(math.MinInt64).Add(-1)), math.MinInt64},
		{"least and least", int64(Nano(math.MinInt64).Add(math.MinInt64)), math.MinInt64},
		{"both signs", int64(Max.Add(math.MinInt64)), -1},
		{"product", int64(Nano(7).Times(3)), 21},
		{"product beyond", int64(Max.Times(2)), int64(Max)},
		{"product far beyond", int64(Max.Times(math.MaxInt64)), int64(Max)},
		{"product at the end", int64(Max.Times(1)), int64(Max)},
		{"how many for 7 at 3", Nano(7).PerFloor(3), 2},
		{"how many for 6 at 3", Nano(6).PerFloor(3), 2},
		{"how many it takes to 7 at 3", Nano(7).PerCeil(3), 3},
		{"how many it takes to 6 at 3", Nano(6).PerCeil(3), 2},
		{"for nothing", Nano(7).PerFloor(0), math.MaxInt64},
		{"it takes, for nothing", Nano(7).PerCeil(0), math.MaxInt64},
		{"big", int64(FromBig(big.NewInt(5))), 5},
		{"no number", int64(FromBig(nil)), 0},
		{"beyond", int64(FromBig(new(big.Int).Lsh(big.NewInt(1), 119))), int64(Max)},
		{"below", int64(FromBig(new(big.Int).Lsh(big.NewInt(-1), 119))), math.MinInt64},
		{"there and back", int64(FromBig(Max.Big())), int64(Max)},
	} {
		if test.got != test.want {
			t.Errorf("%s = %d, want %d", test.name, test.got, test.want)
		}
	}
}

func TestJSON(t *testing.T) {
	b, err := json.Marshal(map[string]Nano{"a": Max})
	if err != nil || string(b) != `{"a":"9223372036854775807"}` {
		t.Errorf("written as %s, %v", b, err)
	}
	for text, want := range map[string]Nano{`"5"`: 5, `5`: 5, `"-5"`: -5, `"9223372036854775807"`: Max} {
		var n Nano
		if err := json.Unmarshal([]byte(text), &n); err != nil || n != want {
			t.Errorf("%s read as %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{`"1.5"`, `1.5`, `""`, `"9223372036854775808"`, `1e3`, `true`, `null`, `{}`, `"5`, `"\"5\""`} {
		n := Nano(-7)
		if err := json.Unmarshal([]byte(text), &n); err == nil {
			t.Errorf("%s read as %d, want an error", text, n)
		}
	}
}

// Whatever is written is read as the same, and whatever is read is written so
// that it is read as the same again.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"0", "1.5", ".000000001", "9223372036.854775807", "2 TON", "-1", "1..2", "9e9"} {
		f.Add(text, int64(0))
	}
	f.Add("", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, text string, value int64) {
		if n, err := Parse(text); err == nil {
			again, err := Parse(n.Text())
			if err != nil || again != n || n < 0 {
				t.Errorf("%q is %d, written %q, read as %d, %v", text, n, n.Text(), again, err)
			}
		}
		n := Nano(value)
		switch got, err := Parse(n.String()); {
		case value >= 0 && (err != nil || got != n):
			t.Errorf("%d is written %s, read as %d, %v", value, n, got, err)
		case value < 0 && err == nil:
			t.Errorf("%s is read as %d: amounts are not negative", n, got)
		}
	})
}
