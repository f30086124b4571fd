package wallet

import (
	"github.com/xssnick/tonutils-go/address"
)

// Forms are the ways to write an address. All name the same account.
type Forms struct {
	Raw string `json:"raw"`
	// Bounceable is for contracts, NonBounceable for people.
	Bounceable    string `json:"bounceable"`
	NonBounceable string `json:"non_bounceable"`
	// The same with the mark that keeps careful wallets from using them on the
	// main network.
	TestBounceable    string `json:"test_bounceable"`
	TestNonBounceable string `json:"test_non_bounceable"`
}

// FormsOf writes an address in all forms.
func FormsOf(a *address.Address) Forms {
	main, test := a.Testnet(false), a.Testnet(true)
	return Forms{
		Raw:        a.StringRaw(),
		Bounceable: main.Bounce(true).String(), NonBounceable: main.Bounce(false).String(),
		TestBounceable: test.Bounce(true).String(), TestNonBounceable: test.Bounce(false).String(),
	}
}
