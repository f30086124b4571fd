package stats

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"
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

// Badge is a word with a colour, for a state that should catch the eye.
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

// Table is a titled table. A cell is a string, a number, a time.Duration, a
// time.Time or a [Badge]; numbers are aligned right and grouped by thousands.
type Table struct {
	Title   string
	Columns []string
	Rows    [][]any
	// Empty is shown in place of a table without rows.
	Empty string
}

// Rates is a table of counters, one per row: the total, then what happened
// per second in each of [Windows].
func Rates(title string, rows ...RateRow) Table {
	t := Table{Title: title, Columns: []string{"", "total", "1 s", "10 s", "1 min", "10 min", "1 h", "1 d"}}
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
		"cell": formatCell, "numeric": isNumber, "badge": asBadge,
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

func (p *Page) render(w io.Writer, actions []Action, refresh int) error {
	return pageTemplate.Execute(w, struct {
		*Page
		Actions []Action
		Refresh int
		Style   template.CSS
		Script  template.JS
	}{p, actions, refresh, template.CSS(pageCSS), template.JS(pageJS)})
}

// refreshSeconds reads ?refresh=N, 1 to 3600; anything else means never.
func refreshSeconds(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("refresh"))
	if err != nil || n < 1 || n > 3600 {
		return 0
	}
	return n
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, int32, int64, uint32, uint64, float64, time.Duration:
		return true
	}
	return false
}

func asBadge(v any) *Badge {
	if b, ok := v.(Badge); ok {
		return &b
	}
	return nil
}

// formatCell writes a value the way a person reads it.
func formatCell(v any) string {
	switch v := v.(type) {
	case float64:
		return formatFloat(v)
	case time.Duration:
		return v.Round(roundTo(v)).String()
	case time.Time:
		if v.IsZero() {
			return "never"
		}
		return v.UTC().Format("2006-01-02 15:04:05 UTC")
	case int, int32, int64, uint32, uint64:
		return group(fmt.Sprint(v))
	default:
		return fmt.Sprint(v)
	}
}

func formatFloat(v float64) string {
	switch {
	case v == float64(int64(v)):
		return group(strconv.FormatInt(int64(v), 10))
	case v >= 100 || v <= -100:
		return group(strconv.FormatInt(int64(v+0.5), 10))
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

// group puts a thin space between thousands.
func group(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u2009" + digits[i:]
	}
	return sign + digits
}

func roundTo(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return time.Second
	case d >= time.Second:
		return 10 * time.Millisecond
	default:
		return 10 * time.Microsecond
	}
}
