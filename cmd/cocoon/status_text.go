package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencocoon/cocoon/devnet"
)

// statusWidth is what every terminal shows without breaking lines.
const statusWidth = 100

func (r *statusReport) write(w io.Writer) error {
	fmt.Fprintln(w, r.BaseURL)
	if r.Engine != nil {
		fmt.Fprintf(w, "model        %s\nengine       %s at %s\n", short(r.FullModel), r.Engine.Kind, r.Engine.URL)
		writeWrapped(w, "attestation  ", r.Attestation)
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "node\tstate\trunning\trequests\tfailed\tper s\ttokens\tpages")
	for _, n := range r.Nodes {
		if n.OK {
			s := &n.figures.Stats
			fmt.Fprintf(tw, "%s\t%s\t%d\t%.0f\t%.0f\t%.1f\t%.0f\t%s/stats\n", n.Name, n.State, n.figures.running(), s.Queries[0], s.Failed[0],
				s.Queries[3], n.figures.tokens(), n.HTTP)
		} else {
			fmt.Fprintf(tw, "%s\t%s\t\t\t\t\t\t%s/stats\n", n.Name, n.State, n.HTTP)
		}
	}
	err := tw.Flush()
	r.writeAway(w)
	r.writeKeysKept(w)
	r.writePeers(w)
	r.writeContracts(w)
	r.writeSheet(w)
	return err
}

// served says what goes on at a node while the chain is away.
var served = map[string]string{
	devnet.RoleClient: "; asking the proxies that it knows, within what is paid in there",
	devnet.RoleWorker: "; working on, within what a proxy may owe",
}

// writeAway says which nodes do not see the chain, since when, and what goes on.
func (r *statusReport) writeAway(w io.Writer) {
	begun := false
	line := func(who, text string) {
		if !begun {
			fmt.Fprintln(w, "\nchain")
		}
		begun = true
		writeWrapped(w, "  ", who+": "+text)
	}
	for _, n := range r.Nodes {
		if v := n.Chain; v.Away() {
			line(n.Name, v.Text()+served[n.Role]+"; what it knows of the registry is good until "+time.Unix(v.GoodUntil, 0).UTC().Format(time.DateTime)+" UTC")
		}
	}
	if r.chainAway != nil {
		line("here", "contracts and money cannot be looked at: "+r.chainAway.Error())
	}
}

// writeKeysKept says how secrets lie on disk, and at which nodes.
func (r *statusReport) writeKeysKept(w io.Writer) {
	nodes := map[string][]string{}
	for _, n := range r.Nodes {
		if n.KeysKept != "" {
			nodes[n.KeysKept] = append(nodes[n.KeysKept], n.Name)
		}
	}
	if len(nodes) > 0 {
		fmt.Fprintln(w, "\nkeys")
	}
	for _, kept := range slices.Sorted(maps.Keys(nodes)) {
		writeWrapped(w, "  ", strings.Join(nodes[kept], ", ")+": "+kept)
	}
}

func (r *statusReport) writeSheet(w io.Writer) {
	if r.Sheet == nil {
		return
	}
	fmt.Fprintln(w, "\nmoney")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range sheetLines(r.Sheet) {
		fmt.Fprintf(tw, "  %s\t%s\n", l.what, l.amount)
	}
	_ = tw.Flush()
}

// writePeers lists the peers by what their proof is worth, the ones without
// first: those are what to look at.
func (r *statusReport) writePeers(w io.Writer) {
	groups := map[string][]peerStatus{}
	var titles []string
	for _, p := range r.Peers {
		title := p.Verdict + " peers: " + p.Level
		if p.Verdict == "none" {
			title = "peers that are not connected"
		}
		title = strings.TrimSuffix(title, ": ")
		if groups[title] == nil {
			titles = append(titles, title)
		}
		groups[title] = append(groups[title], p)
	}
	slices.SortFunc(titles, func(a, b string) int { return cmp.Compare(a[:1], b[:1]) })
	for _, title := range titles {
		fmt.Fprintln(w)
		writeWrapped(w, "", title)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, p := range groups[title] {
			fmt.Fprintf(tw, "  %s\tto %s\t%s\t%s", p.Node, cmp.Or(p.Peer, p.Role), p.Address, p.State)
			if p.Image != "" {
				fmt.Fprint(tw, "\timage ", short(p.Image))
			}
			fmt.Fprintln(tw)
		}
		_ = tw.Flush()
		for _, p := range groups[title] {
			if p.Error != "" {
				writeWrapped(w, "  "+p.Address+": ", p.Error)
			}
		}
	}
}

func (r *statusReport) writeContracts(w io.Writer) {
	if len(r.Contracts) == 0 {
		return
	}
	fmt.Fprintln(w, "\ncontracts")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Contracts {
		name := c.Name
		if c.At != "" {
			name += " at " + c.At
		}
		fmt.Fprintf(tw, "  %s\t%s\n", name, c.Address)
		for _, line := range c.lines() {
			fmt.Fprintf(tw, "\t%s\n", line)
		}
	}
	_ = tw.Flush()
}

// writeWrapped writes text behind a label, and its further lines below it.
func writeWrapped(w io.Writer, label, text string) {
	column := len(label)
	fmt.Fprint(w, label)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > statusWidth:
			fmt.Fprint(w, "\n"+strings.Repeat(" ", len(label)))
			column = len(label)
		default:
			fmt.Fprint(w, " ")
			column++
		}
		fmt.Fprint(w, word)
		column += len(word)
	}
	fmt.Fprintln(w)
}

// short shows a long hexadecimal text by its ends.
func short(text string) string {
	name, hash := "", text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		name, hash = text[:i+1], text[i+1:]
	}
	if len(hash) < 40 {
		return text
	}
	return name + hash[:12] + "…" + hash[len(hash)-6:]
}
