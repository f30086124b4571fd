package stats

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Level colours a [Badge].
type Level string

// The levels, from calm to alarming.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Bad  Level = "bad"
)

// Badge is a word with a colour, for a state that should catch the eye. What
// follows ": " in its text stands beside the coloured word.
type Badge struct {
	Level Level
	Text  string
}

// Page is what /stats shows.
type Page struct {
	// Title names the node, such as "cocoon proxy".
	Title string
	// State is the one thing to know, such as "serving".
	State Badge
	// Facts stand right below the title.
	Facts []Fact
	// Tables follow in order; one without rows shows its Empty text.
	Tables []Table
}

// Fact is one line: a name and its value.
type Fact struct {
	Name  string
	Value any
}

// Table is a titled table. A cell is a string, a number, a bool, a
// time.Duration, a time.Time or a [Badge]. Numbers are aligned right, grouped
// by thousands, and 0 below 0.0005; long addresses and hashes are shown by
// their two ends; a time is how long ago it was.
type Table struct {
	Title   string
	Columns []string
	// Over, if any, are headings above Columns.
	Over []Heading
	Rows [][]any
	// Empty is shown in place of a table without rows.
	Empty string
}

// Heading is a heading over several columns.
type Heading struct {
	Text    string
	Columns int
}

// Rates is a table of counters, one per row: the total, then what happened
// per second in each of [Windows].
func Rates(title string, rows ...RateRow) Table {
	t := Table{
		Title: title, Columns: []string{"", "total", "1 s", "10 s", "1 min", "10 min", "1 h", "1 day"},
		Over: []Heading{{"", 2}, {"per second, on average over the last", len(Windows)}},
	}
	for _, r := range rows {
		cells := []any{r.Name}
		for _, v := range r.Values {
			cells = append(cells, v)
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// RateRow is one counter of [Rates]; its Name should tell the unit.
type RateRow struct {
	Name   string
	Values Values
}

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
		"cell": newCell, "numeric": isNumber, "numbers": Table.numbers,
	}).Parse(pageHTML))

	// contentPolicy lets exactly the page's own style and script run, so that
	// nothing a peer calls itself can ever become code.
	contentPolicy = "default-src 'none'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; " +
		"style-src " + sourceHash(pageCSS) + "; script-src " + sourceHash(pageJS)
)

func sourceHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// numbers says whether a column holds numbers, so that its heading stands
// where they do.
func (t Table) numbers(column int) bool {
	for _, row := range t.Rows {
		if column < len(row) && isNumber(row[column]) {
			return true
		}
	}
	return false
}

func (p *Page) render(w io.Writer, actions []Action, refresh int) error {
	return pageTemplate.Execute(w, struct {
		*Page
		Actions []Action
		Refresh int
		AsOf    string
		Style   template.CSS
		Script  template.JS
	}{p, actions, refresh, stamp(time.Now()), template.CSS(pageCSS), template.JS(pageJS)})
}

// refreshSeconds reads ?refresh=N, 1 to 3600; anything else means never.
func refreshSeconds(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("refresh"))
	if err != nil || n < 1 || n > 3600 {
		return 0
	}
	return n
}
