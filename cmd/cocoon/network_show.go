package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

func networkShowVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "everything that a registry says", Args: cobra.NoArgs,
		Long: "It reads registries of every struct version, 0 to 5, the live network's included. With --json the members that the nodes' " +
			"statistics have keep their names.",
		Example: "  cocoon network show --data ./net\n" +
			"  cocoon network show --root-contract-address EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ --ton-config global.config.json --json",
	}
	d := newDesk(cmd)
	d.run(nil, func(ctx context.Context, _ []string) error {
		c, err := d.open(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := d.read(ctx, c)
		if err != nil {
			return err
		}
		r := newShown(c, b)
		if d.json {
			return r.writeJSON(d.cmd.OutOrStdout())
		}
		return r.write(d.cmd.OutOrStdout())
	})
	return cmd
}

// shown is a registry as `cocoon network show` tells it.
type shown struct {
	Address string    `json:"root_contract_address"`
	Network string    `json:"network"`
	Block   uint32    `json:"block"`
	AsOf    time.Time `json:"as_of"`
	Balance coin.Nano `json:"balance"`
	// Trouble is why nodes would not join, "" if they would.
	Trouble string `json:"trouble,omitempty"`
	Offered string `json:"offered_to,omitempty"`
	// Codes are the hashes of the registry's own code and those it names, and
	// which of them are ours.
	Codes      map[string]shownCode `json:"codes"`
	KeyManager *shownManager        `json:"key_manager,omitempty"`
	PublicKeys []shownKey           `json:"public_keys,omitempty"`
	Verified   map[string][]string  `json:"verified,omitempty"`
	Skipped    []shownSkipped       `json:"skipped_entries,omitempty"`
	root       *contract.Root
}

type shownCode struct {
	Hash string `json:"hash"`
	Ours bool   `json:"ours"`
}

type shownManager struct {
	Address string `json:"address"`
	Key     string `json:"key"`
	Image   string `json:"image_hash"`
}

type shownKey struct {
	Key     string    `json:"key"`
	Type    uint8     `json:"type"`
	Expires time.Time `json:"expires"`
}

type shownSkipped struct {
	Number uint32 `json:"seqno"`
	Error  string `json:"error"`
}

func newShown(c *chain, b *book) *shown {
	r := &shown{
		Address: c.show(b.account.Address, true), Network: c.String(), Block: b.account.At.Seqno, AsOf: b.account.At.Time.UTC(), Balance: b.account.Balance,
		root: b.Root, Codes: map[string]shownCode{},
	}
	if err := b.CheckContracts(); err != nil {
		r.Trouble = err.Error()
	}
	if b.Offered != nil {
		r.Offered = b.Offered.String()
	}
	ours := contract.OurCodes()
	for name, codes := range map[string][2]*cell.Cell{
		"root": {b.account.Code, ours.Root}, "proxy": {b.ProxyCode, ours.Proxy}, "worker": {b.WorkerCode, ours.Worker}, "client": {b.ClientCode, ours.Client},
	} {
		if codes[0] != nil {
			r.Codes[name] = shownCode{hex.EncodeToString(codes[0].Hash()), codes[0].HashKey() == codes[1].HashKey()}
		}
	}
	r.keys()
	for _, s := range b.Skipped {
		r.Skipped = append(r.Skipped, shownSkipped{s.Seqno, s.Err.Error()})
	}
	return r
}

func (r *shown) keys() {
	root := r.root
	if root.KeyManager != "" || root.KeyManagerKey != nil || root.KeyManagerImage != [32]byte{} {
		r.KeyManager = &shownManager{root.KeyManager, hex.EncodeToString(root.KeyManagerKey), hex.EncodeToString(root.KeyManagerImage[:])}
	}
	for _, k := range root.PublicKeys {
		r.PublicKeys = append(r.PublicKeys, shownKey{hex.EncodeToString(k.Key), k.Type, time.Unix(int64(k.ExpireAt), 0).UTC()})
	}
	for role, set := range map[string]map[[32]byte]struct{}{"proxies": root.VerifiedProxies, "workers": root.VerifiedWorkers, "key managers": root.VerifiedKeyManagers} {
		if len(set) > 0 {
			if r.Verified == nil {
				r.Verified = map[string][]string{}
			}
			r.Verified[role] = hexes(set)
		}
	}
}

func hexes(set map[[32]byte]struct{}) (list []string) {
	for _, h := range slices.SortedFunc(maps.Keys(set), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		list = append(list, hex.EncodeToString(h[:]))
	}
	return list
}

// writeJSON puts the registry's own members and ours into one object.
func (r *shown) writeJSON(w io.Writer) error {
	members := map[string]any{}
	for _, v := range []any{r.root, r} {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&members); err != nil {
			return err
		}
	}
	return writeJSON(w, members)
}

func (r *shown) write(w io.Writer) error {
	root := r.root
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("registry", "%s on %s", r.Address, r.Network)
	line("as of", "block %d, %s; it holds %s", r.Block, r.AsOf.Format(time.RFC3339), r.Balance.Text())
	if r.Trouble != "" {
		line("TROUBLE", "no node would join: %s", r.Trouble)
	}
	line("owner", "%s", root.Owner)
	if r.Offered != "" {
		line("offered to", "%s, who has not accepted yet", r.Offered)
	}
	line("version", "%d; parameters %d; struct version %d; id %d; %s", root.Version, root.ParamsVersion, root.StructVersion, root.UniqueID, kind(root.IsTest))
	line("price", "%s", price(root.PricePerToken))
	line("worker fee", "%s", price(root.WorkerFeePerToken))
	m := root.Multipliers
	line("multipliers", "prompt %s, cached %s, completion %s, reasoning %s", times(m.Prompt), times(m.Cached), times(m.Completion), times(m.Reasoning))
	line("delays", "proxy %s, client %s", seconds(root.ProxyDelay), seconds(root.ClientDelay))
	line("stakes", "proxy %s, client %s", root.MinProxyStake.Text(), root.MinClientStake.Text())
	for _, name := range []string{"root", "proxy", "worker", "client"} {
		switch code, ok := r.Codes[name]; {
		case !ok:
			line(name+" code", "none")
		case code.Ours:
			line(name+" code", "%s, ours", code.Hash)
		default:
			line(name+" code", "%s, not ours", code.Hash)
		}
	}
	r.lines(line)
	return tw.Flush()
}

func (r *shown) lines(line func(name, format string, args ...any)) {
	root := r.root
	list := func(name string, items []string) {
		for i, item := range items {
			if i > 0 {
				name = ""
			}
			line(name, "%s", item)
		}
		if len(items) == 0 {
			line(name, "none")
		}
	}
	list("proxy images", hexes(root.ProxyImages))
	list("worker images", hexes(root.WorkerImages))
	list("models", hexes(root.Models))
	var proxies []string
	for _, p := range root.Proxies {
		text := fmt.Sprintf("%d at %s", p.Seqno, p.Workers)
		if p.Workers != p.Clients {
			text = fmt.Sprintf("%d at %s for workers, %s for clients", p.Seqno, p.Workers, p.Clients)
		}
		proxies = append(proxies, text)
	}
	list("proxies", proxies)
	line("last proxy", "%d", root.LastProxySeqno)
	for _, s := range r.Skipped {
		line("unreadable", "proxy entry %d: %s", s.Number, s.Error)
	}
	if r.KeyManager != nil {
		line("key manager", "%s", r.KeyManager.Address)
		line("  its key", "%s", r.KeyManager.Key)
		line("  its image", "%s", r.KeyManager.Image)
	}
	for _, k := range r.PublicKeys {
		line("key", "%s type %d until %s", k.Key, k.Type, k.Expires.Format("2006-01-02 15:04"))
	}
	for _, role := range slices.Sorted(maps.Keys(r.Verified)) {
		list("verified "+role, r.Verified[role])
	}
}

func kind(test bool) string {
	if test {
		return "a test network"
	}
	return "not a test network"
}

func price(n coin.Nano) string {
	return fmt.Sprintf("%d nanoTON per token, %s for a million", int64(n), n.Times(1_000_000).Text())
}

// times shows a multiplier, of which 10000 is one.
func times(m uint32) string { return fmt.Sprintf("×%g", float64(m)/10000) }

func seconds(s uint32) string { return (time.Duration(s) * time.Second).String() }
