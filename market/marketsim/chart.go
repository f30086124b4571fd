package marketsim

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Charts draws the report as SVG, by file name. What was not studied is not drawn.
func (r *Report) Charts() map[string]string {
	out := map[string]string{}
	if len(r.Sweep) > 0 {
		out["ttft-p99.svg"] = r.overLoad("Time to first token, p99 (failed requests count as the deadline)", "ms", true, func(_ []Figures, f *Figures) float64 { return f.TTFT99 })
		out["goodput.svg"] = r.overLoad("Goodput", "%", false, func(_ []Figures, f *Figures) float64 { return 100 * f.Goodput })
		out["surplus.svg"] = r.overLoad("Callers' surplus, of the clairvoyant's", "%", false, func(list []Figures, f *Figures) float64 {
			if best := find(list, "clairvoyant"); best != nil && best.Surplus > 0 {
				return 100 * f.Surplus / best.Surplus
			}
			return math.NaN()
		})
	}
	if r.Shock != nil {
		out["prices.svg"] = r.Shock.chart()
	}
	return out
}

func (r *Report) overLoad(title, unit string, logarithmic bool, value func([]Figures, *Figures) float64) string {
	c := chart{title: title, x: "load, %", y: unit, logarithmic: logarithmic}
	for k := range r.Sweep[0].Policies {
		l := curve{name: r.Sweep[0].Policies[k].Name, dots: true}
		for _, at := range r.Sweep {
			l.x = append(l.x, 100*at.Load)
			l.y = append(l.y, value(at.Policies, &at.Policies[k]))
		}
		c.curves = append(c.curves, l)
	}
	return c.svg()
}

func (s *ShockStudy) chart() string {
	c := chart{title: "Price paid while demand doubles, falls back and halves", x: "minutes", y: "coefficient"}
	follow, fixed, demand := curve{name: "prices follow demand"}, curve{name: "fixed prices"}, curve{name: "demand × 1000"}
	for i, p := range s.Follow.Series {
		x := p.At / 60
		follow.x, follow.y = append(follow.x, x), append(follow.y, p.Price)
		fixed.x, fixed.y = append(fixed.x, x), append(fixed.y, s.Fixed.Series[i].Price)
		demand.x, demand.y = append(demand.x, x), append(demand.y, 1000*phases[len(phases)*i/len(s.Follow.Series)])
	}
	c.curves = []curve{follow, fixed, demand}
	return c.svg()
}

// chart is a picture of curves over one axis.
type chart struct {
	title, x, y string
	logarithmic bool // upwards
	curves      []curve
}

type curve struct {
	name string
	x, y []float64
	dots bool
}

const (
	chartWide, chartHigh              = 760, 400
	leftOf, rightOf, aboveIt, belowIt = 70, 150, 40, 50
	plotWide                          = chartWide - leftOf - rightOf
	plotHigh                          = chartHigh - aboveIt - belowIt
	white, black, grey                = "#ffffff", "#222222", "#dddddd"
)

// Colours that people of any sight can tell apart.
var colours = []string{"#0072b2", "#d55e00", "#999999", "#cc79a7", "#009e73", "#e69f00", "#000000"}

// axis maps values to the picture.
type axis struct {
	low, high   float64
	logarithmic bool
}

func (a axis) at(v float64) float64 {
	if a.logarithmic {
		return (math.Log(v) - math.Log(a.low)) / (math.Log(a.high) - math.Log(a.low))
	}
	return (v - a.low) / (a.high - a.low)
}

// ticks are round values on the axis.
func (a axis) ticks() (list []float64) {
	if a.logarithmic {
		for v := math.Pow(10, math.Floor(math.Log10(a.low))); v <= a.high*1.001; v *= 10 {
			for _, k := range []float64{1, 3} {
				if k*v >= a.low*0.999 && k*v <= a.high*1.001 {
					list = append(list, k*v)
				}
			}
		}
		return list
	}
	step := math.Pow(10, math.Floor(math.Log10(a.high-a.low)))
	for _, k := range []float64{0.2, 0.5, 1} {
		if (a.high-a.low)/(step*k) <= 8 {
			step *= k
			break
		}
	}
	for v := math.Ceil(a.low/step) * step; v <= a.high+step/1000; v += step {
		list = append(list, v)
	}
	return list
}

// axes fit all curves.
func (c *chart) axes() (x, y axis) {
	x, y = axis{low: math.Inf(1), high: math.Inf(-1)}, axis{low: math.Inf(1), high: math.Inf(-1), logarithmic: c.logarithmic}
	for _, l := range c.curves {
		for i := range l.x {
			x.low, x.high = min(x.low, l.x[i]), max(x.high, l.x[i])
			if !math.IsNaN(l.y[i]) {
				y.low, y.high = min(y.low, l.y[i]), max(y.high, l.y[i])
			}
		}
	}
	if c.logarithmic {
		y.low, y.high = y.low*0.8, y.high*1.2
		return x, y
	}
	room := max(y.high-y.low, 1e-9) * 0.05
	y.low, y.high = y.low-room, y.high+room
	return x, y
}

func (c *chart) svg() string {
	var b strings.Builder
	x, y := c.axes()
	px := func(v float64) float64 { return leftOf + plotWide*x.at(v) }
	py := func(v float64) float64 { return aboveIt + plotHigh*(1-y.at(v)) }
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">`+"\n", chartWide, chartHigh, black)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`+"\n", chartWide, chartHigh, white)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15">%s</text>`+"\n", leftOf, html.EscapeString(c.title))
	for _, v := range y.ticks() {
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="%s"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", leftOf, py(v), plotWide, grey, leftOf-6, py(v)+4, number(v))
	}
	for _, v := range x.ticks() {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", px(v), aboveIt+plotHigh+18, number(v))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text><text x="%d" y="%d">%s</text>`+"\n", leftOf+plotWide/2, chartHigh-12, html.EscapeString(c.x), 8, aboveIt-4, html.EscapeString(c.y))
	for i, l := range c.curves {
		l.draw(&b, colours[i%len(colours)], px, py)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", leftOf+plotWide+10, aboveIt+14+18*i, colours[i%len(colours)], html.EscapeString(l.name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (l *curve) draw(b *strings.Builder, colour string, px, py func(float64) float64) {
	var path, dots strings.Builder
	pen := "M"
	for i := range l.x {
		if math.IsNaN(l.y[i]) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", pen, px(l.x[i]), py(l.y[i]))
		if pen = "L"; l.dots {
			fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, px(l.x[i]), py(l.y[i]), colour)
		}
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>%s`+"\n", path.String(), colour, dots.String())
}

func number(v float64) string {
	if math.Abs(v) >= 10_000 {
		return fmt.Sprintf("%gk", math.Round(v/100)/10)
	}
	return fmt.Sprintf("%g", math.Round(v*100)/100)
}
