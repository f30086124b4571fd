package main

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/opencocoon/cocoon/client"
)

// series is one figure over time.
type series struct {
	name   string
	values []float64
	text   func(float64) string
}

func (s *series) least() float64 { return slices.Min(s.values) }
func (s *series) most() float64  { return slices.Max(s.values) }

func seriesOf(past []client.Moment) []series {
	price := series{name: "price", text: func(v float64) string { return fmt.Sprintf("x%.3g", v) }}
	load := series{name: "load", text: func(v float64) string { return fmt.Sprintf("%.0f %%", v) }}
	first := series{name: "first", text: secondsText}
	waiting := series{name: "waiting", text: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	for _, m := range past {
		price.values = append(price.values, float64(m.Coefficient)/1000)
		share := 0.0
		if m.Slots > 0 {
			share = 100 * float64(m.Running) / float64(m.Slots)
		}
		load.values = append(load.values, share)
		first.values = append(first.values, m.First)
		waiting.values = append(waiting.values, float64(m.Waiting))
	}
	return []series{price, load, first, waiting}
}

// sparkline draws values as bars, the latest at the right.
func sparkline(values []float64, width int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	columns := min(width, len(values))
	least, most := slices.Min(values), slices.Max(values)
	var b strings.Builder
	for i := range columns {
		part := values[i*len(values)/columns : max((i+1)*len(values)/columns, i*len(values)/columns+1)]
		sum := 0.0
		for _, v := range part {
			sum += v
		}
		at := 0
		if most > least {
			at = int((sum/float64(len(part))-least)/(most-least)*float64(len(bars)-1) + 0.5)
		}
		b.WriteRune(bars[min(max(at, 0), len(bars)-1)])
	}
	return b.String()
}

// The drawing: a strip for each series, a line for each proxy.
const (
	svgWidth, svgStrip  = 760, 120
	svgLeft, svgTop     = 90, 40
	svgRight, svgBottom = 10, 30
)

var svgColours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// drawMarket draws the last hour of a model as SVG.
func drawMarket(out io.Writer, m *client.Market) error {
	type line struct {
		proxy string
		past  []client.Moment
		all   []series
	}
	var lines []line
	from, to, model := int64(0), int64(0), ""
	for _, p := range m.Proxies {
		for _, x := range p.Models {
			if len(x.History) < 2 {
				continue
			}
			lines = append(lines, line{p.Address, x.History, seriesOf(x.History)})
			model = x.Model
			if first := x.History[0].At; from == 0 || first < from {
				from = first
			}
			to = max(to, x.History[len(x.History)-1].At)
		}
	}
	if len(lines) == 0 || to <= from {
		return fmt.Errorf("there is no past to draw yet; proxies note it four times a minute")
	}
	strips := len(lines[0].all)
	height := svgTop + strips*svgStrip + svgBottom + 16*len(lines)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12"><rect width="100%%" height="100%%" fill="white"/>`, svgWidth, height)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="15">%s, the last %d minutes</text>`+"\n", svgLeft, html.EscapeString(model), (to-from+59)/60)
	for s := range strips {
		top, most := float64(svgTop+s*svgStrip), 0.0
		for _, l := range lines {
			most = max(most, l.all[s].most())
		}
		fmt.Fprintf(&b, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#999"/>`, svgLeft, top+svgStrip-20, svgWidth-svgRight, top+svgStrip-20)
		fmt.Fprintf(&b, `<text x="10" y="%.0f">%s</text><text x="10" y="%.0f" fill="#666">%s</text>`+"\n", top+14, lines[0].all[s].name, top+30, html.EscapeString(lines[0].all[s].text(most)))
		for i, l := range lines {
			var points []string
			for k, v := range l.all[s].values {
				x := svgLeft + float64(l.past[k].At-from)/float64(to-from)*(svgWidth-svgLeft-svgRight)
				y := top + (svgStrip - 20)
				if most > 0 {
					y -= v / most * (svgStrip - 30)
				}
				points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
			}
			fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", svgColours[i%len(svgColours)], strings.Join(points, " "))
		}
	}
	for i, l := range lines {
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", svgLeft, svgTop+strips*svgStrip+16*(i+1), svgColours[i%len(svgColours)], html.EscapeString(l.proxy))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(out, b.String())
	return err
}
