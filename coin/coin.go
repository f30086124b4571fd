// Package coin is money: amounts of the network's coin, counted in nanoTON.
//
// [Nano] is the only type for it. What contracts store may be far beyond any
// money there is ([FromBig]); sums of what exists never overflow an int64, as
// all coins together are about 5·10¹⁸ nanoTON.
package coin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Unit is what people are shown behind amounts.
const Unit = "TON"

// Nano is an amount in nanoTON, 10⁻⁹ TON. Differences may be negative;
// balances, prices and fees are not.
type Nano int64

// Max is more than there is; it stands for every larger number that a foreign
// contract may hold.
const Max Nano = math.MaxInt64

// TON is one whole coin.
const TON Nano = 1_000_000_000

// FromBig takes an amount as contracts store it, up to 120 bits; more than
// [Max] becomes Max, nil zero.
func FromBig(v *big.Int) Nano {
	switch {
	case v == nil:
		return 0
	case v.IsInt64():
		return Nano(v.Int64())
	case v.Sign() < 0:
		return math.MinInt64
	}
	return Max
}

// Big is the amount for those who compute in big integers.
func (n Nano) Big() *big.Int { return big.NewInt(int64(n)) }

// Add is n+m, held at the ends of the range.
func (n Nano) Add(m Nano) Nano {
	sum := n + m
	switch {
	case n > 0 && m > 0 && sum < 0:
		return Max
	case n < 0 && m < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

// Times is count units at the price n, held at Max. Both must not be negative.
func (n Nano) Times(count int64) Nano {
	hi, lo := bits.Mul64(uint64(n), uint64(count))
	if hi != 0 || lo > math.MaxInt64 {
		return Max
	}
	return Nano(lo)
}

// PerFloor is how many whole units at this price the amount buys: rounded
// down, so the buyer never owes a fraction. It is Max if the price is zero.
func (n Nano) PerFloor(price Nano) int64 {
	if price == 0 {
		return math.MaxInt64
	}
	return int64(n / price)
}

// PerCeil is how many units at this price it takes to reach the amount.
func (n Nano) PerCeil(price Nano) int64 {
	if price == 0 {
		return math.MaxInt64
	}
	units := n / price
	if n%price != 0 {
		units++
	}
	return int64(units)
}

// String is the amount in coins without the unit, exact: "1.5", "0.000000001".
func (n Nano) String() string {
	sign, v := "", uint64(n)
	if n < 0 {
		sign, v = "-", -v
	}
	whole, part := v/uint64(TON), v%uint64(TON)
	text := sign + strconv.FormatUint(whole, 10)
	if part != 0 {
		text += "." + strings.TrimRight(fmt.Sprintf("%09d", part), "0")
	}
	return text
}

// Text is the amount with its unit, for people: "1.5 TON".
func (n Nano) Text() string { return n.String() + " " + Unit }

// Parse reads an amount in coins: digits, perhaps a point and up to nine more,
// perhaps the unit. It refuses what would have to be rounded.
func Parse(text string) (Nano, error) {
	bad := func(why string) (Nano, error) {
		return 0, fmt.Errorf("amount %q: %s; want coins such as 1.5", clip(text), why)
	}
	t := strings.TrimSpace(text)
	if len(t) > len(Unit) && strings.EqualFold(t[len(t)-len(Unit):], Unit) {
		t = strings.TrimSpace(t[:len(t)-len(Unit)])
	}
	whole, part, point := strings.Cut(t, ".")
	if whole == "" && part == "" || point && part == "" || !digits(whole) || !digits(part) {
		return bad("not a number")
	}
	if len(part) > 9 {
		return bad("more than nine digits after the point")
	}
	v, err := strconv.ParseUint("0"+whole+part+strings.Repeat("0", 9-len(part)), 10, 63)
	if err != nil {
		return bad("more than there is")
	}
	return Nano(v), nil
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// MarshalJSON writes nanoTON as a decimal string: other languages read
// numbers as floats.
func (n Nano) MarshalJSON() ([]byte, error) { return json.Marshal(strconv.FormatInt(int64(n), 10)) }

// UnmarshalJSON reads nanoTON, as a decimal string or an integer.
func (n *Nano) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		return errors.New("amount: want nanoTON as a decimal string")
	}
	*n = Nano(v)
	return nil
}
