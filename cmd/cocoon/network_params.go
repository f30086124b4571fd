package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/wallet"
)

// params are the flags for a registry's parameters. They are texts, so that
// one that was not given can be told from zero.
type params []paramFlag

type paramFlag struct {
	name, fallback string
	text           *string
	set            func(r *contract.Root, text string) error
}

// paramFlags adds the flags. With defaults they are for a new registry.
func paramFlags(f *pflag.FlagSet, defaults bool) params {
	var list params
	add := func(name, fallback, usage string, set func(r *contract.Root, text string) error) {
		if !defaults {
			fallback = ""
		} else {
			usage += " (default " + fallback + ")"
		}
		list = append(list, paramFlag{name, fallback, f.String(name, "", usage), set})
	}
	add("price", "20", "what clients pay for a token, in `nanoTON`", func(r *contract.Root, s string) error { return parseNano(s, &r.PricePerToken) })
	add("worker-fee", "18", "what the worker gets of it, in `nanoTON`", func(r *contract.Root, s string) error { return parseNano(s, &r.WorkerFeePerToken) })
	add("proxy-delay", "24h", "`time` before a proxy's contract closes", func(r *contract.Root, s string) error { return parseDelay(s, &r.ProxyDelay) })
	add("client-delay", "12h", "`time` before a client's contract closes", func(r *contract.Root, s string) error { return parseDelay(s, &r.ClientDelay) })
	add("min-proxy-stake", "1", "least stake of a proxy, in `TON`", func(r *contract.Root, s string) error { return parseCoins(s, &r.MinProxyStake) })
	add("min-client-stake", "15", "stake that a client begins with, in `TON`", func(r *contract.Root, s string) error { return parseCoins(s, &r.MinClientStake) })
	for _, m := range multiplierFlags {
		add(m.kind+"-multiplier", m.fallback, "`weight` of "+m.kind+" tokens, 10000 is one", func(r *contract.Root, s string) error {
			return parseUint32(s, m.of(&r.Multipliers))
		})
	}
	return list
}

var multiplierFlags = []struct {
	kind, fallback string
	of             func(*ledger.Multipliers) *uint32
}{
	{"prompt", "10000", func(m *ledger.Multipliers) *uint32 { return &m.Prompt }},
	{"cached", "1000", func(m *ledger.Multipliers) *uint32 { return &m.Cached }},
	{"completion", "80000", func(m *ledger.Multipliers) *uint32 { return &m.Completion }},
	{"reasoning", "80000", func(m *ledger.Multipliers) *uint32 { return &m.Reasoning }},
}

// apply sets what was given, and the defaults otherwise. It says whether
// anything was given.
func (list params) apply(r *contract.Root, p *problems) (given bool) {
	for _, f := range list {
		text := *f.text
		given = given || text != ""
		if text == "" {
			text = f.fallback
		}
		if text == "" {
			continue
		}
		if err := f.set(r, text); err != nil {
			p.add("%s: %v", f.name, err)
		}
	}
	return given
}

func parseNano(text string, to *coin.Nano) error {
	v, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return fmt.Errorf("got %q, want a whole number of nanoTON", printable(text, 40))
	}
	*to = coin.Nano(v)
	return nil
}

func parseCoins(text string, to *coin.Nano) (err error) {
	*to, err = coin.Parse(text)
	return err
}

func parseUint32(text string, to *uint32) error {
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return fmt.Errorf("got %q, want a whole number up to %d", printable(text, 40), uint32(math.MaxUint32))
	}
	*to = uint32(v)
	return nil
}

// parseDelay reads 24h or a number of seconds.
func parseDelay(text string, to *uint32) error {
	if parseUint32(text, to) == nil {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d%time.Second != 0 || d/time.Second > math.MaxUint32 {
		return fmt.Errorf("got %q, want whole seconds or a time such as 24h", printable(text, 40))
	}
	*to = uint32(d / time.Second)
	return nil
}

func setPriceVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set-price PRICE WORKER-FEE", Short: "what a token costs, and what the worker gets of it", Args: positional("PRICE", "WORKER-FEE"),
		Long: "Both in whole nanoTON per token. New prices are a new generation of parameters: every node's contracts are created anew, and " +
			"the old ones are settled at the old price.",
		Example: "  cocoon network set-price 3 2 --data ./net --dry-run",
	}
	d := newDesk(cmd, withKey, withSpend)
	var body contract.ChangePrice
	d.change(func(p *problems, args []string) {
		for i, to := range []*coin.Nano{&body.Price, &body.Fee} {
			if err := parseNano(args[i], to); err != nil {
				p.add("%s: %v", []string{"price", "worker fee"}[i], err)
			}
		}
	}, func(*book, *wallet.Wallet, []string) (*change, error) {
		return &change{
			title: fmt.Sprintf("set the price to %d and the worker's fee to %d nanoTON per token", int64(body.Price), int64(body.Fee)), bodies: []contract.Body{&body},
		}, nil
	})
	return cmd
}

func setParamsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set-params", Short: "prices, delays, stakes and multipliers", Args: cobra.NoArgs,
		Long: "What is not named stays. They are a new generation of parameters: every node's contracts are created anew. Multipliers can be " +
			"changed at our root contract only.",
		Example: "  cocoon network set-params --proxy-delay 48h --min-client-stake 5 --data ./net --dry-run",
	}
	d := newDesk(cmd, withKey, withSpend)
	list := paramFlags(cmd.Flags(), false)
	d.change(func(p *problems, _ []string) {
		if !list.apply(&contract.Root{}, p) {
			p.add("want at least one parameter, such as --proxy-delay 48h")
		}
	}, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		var p problems
		want := *b.Root
		list.apply(&want, &p)
		if b.StructVersion < 3 {
			return nil, fmt.Errorf("the registry has struct version %d, which fixes these: bring it up with `cocoon network upgrade full`", b.StructVersion)
		}
		limits := contract.Limits{ProxyDelay: want.ProxyDelay, ClientDelay: want.ClientDelay, MinProxyStake: want.MinProxyStake, MinClientStake: want.MinClientStake}
		var body contract.Body = &contract.ChangeParams{Price: want.PricePerToken, Fee: want.WorkerFeePerToken, Limits: limits}
		if want.Multipliers != b.Multipliers {
			body = &contract.ChangeAllParams{Price: want.PricePerToken, Fee: want.WorkerFeePerToken, Multipliers: want.Multipliers, Limits: limits}
		}
		return &change{title: "set parameters", bodies: []contract.Body{body}}, p.err()
	})
	return cmd
}

func resetVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reset", Short: "empty all lists: nothing is allowed, no proxy registered", Args: cobra.NoArgs,
		Long:    "Parameters and owner stay, and an offer of the registry is taken back. Until the lists are filled again the network stands still.",
		Example: "  cocoon network reset --data ./net --dry-run",
	}
	d := newDesk(cmd, withKey, withSpend)
	d.change(nil, func(*book, *wallet.Wallet, []string) (*change, error) {
		return &change{title: "empty all lists", bodies: []contract.Body{&contract.ResetLists{}}}, nil
	})
	return cmd
}

// errOne is for verbs that want one of two flags.
var errOne = errors.New("proxy and worker: say which list, --proxy or --worker, or both")
