package stats

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// cell is a value as the page shows it.
type cell struct {
	// Level colours Word, the badge; both are empty for plain values.
	Level Level
	Word  string
	// Pieces are the text; Title, if any, is what the reader may want to know.
	Pieces []piece
	Title  string
}

// piece is a part of a text. A folded piece is drawn as an ellipsis; it is
// still there when the text is selected and copied.
type piece struct {
	Text   string
	Folded bool
}

func newCell(v any) cell {
	switch v := v.(type) {
	case Badge:
		word, rest, _ := strings.Cut(v.Text, ": ")
		return cell{Level: v.Level, Word: word, Pieces: fold(rest)}
	case string:
		return cell{Pieces: fold(v)}
	case time.Time:
		if v.IsZero() {
			return cell{Pieces: []piece{{Text: "never"}}}
		}
		return cell{Pieces: []piece{{Text: ago(time.Since(v))}}, Title: stamp(v)}
	default:
		return cell{Pieces: []piece{{Text: formatCell(v)}}}
	}
}

// unwieldy are the addresses, keys and hashes that nobody reads to the end.
var unwieldy = regexp.MustCompile(`[0-9A-Za-z_+=-]{40,}`)

// ends is how much of them stays visible on either side.
const ends = 6

// fold takes a text apart so that its unwieldy words can be drawn short.
func fold(text string) (out []piece) {
	done := 0
	for _, at := range unwieldy.FindAllStringIndex(text, -1) {
		from, to := at[0]+ends, at[1]-ends
		out = append(out, piece{Text: text[done:from]}, piece{Text: text[from:to], Folded: true})
		done = to
	}
	return append(out, piece{Text: text[done:]})
}

// Full is the whole text if some of it is folded, for the pointer to show.
func (c cell) Full() string {
	if c.Title != "" || len(c.Pieces) < 2 {
		return c.Title
	}
	var b strings.Builder
	for _, p := range c.Pieces {
		b.WriteString(p.Text)
	}
	return b.String()
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, int32, int64, uint32, uint64, float64, time.Duration:
		return true
	}
	return false
}

// formatCell writes a value the way a person reads it.
func formatCell(v any) string {
	switch v := v.(type) {
	case float64:
		return formatFloat(v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case time.Duration:
		return v.Round(roundTo(v)).String()
	case int, int32, int64, uint32, uint64:
		return group(fmt.Sprint(v))
	default:
		return fmt.Sprint(v)
	}
}

// formatFloat shows three digits, fewer where nobody would miss them.
func formatFloat(v float64) string {
	size := max(v, -v)
	switch {
	case size < 0.0005:
		return "0"
	case v == float64(int64(v)):
		return group(strconv.FormatInt(int64(v), 10))
	case size < 1:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case size < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return group(strconv.FormatFloat(v, 'f', 0, 64))
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

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// ago says how long ago something was, or how far ahead it is.
func ago(d time.Duration) string {
	switch {
	case d <= -time.Second:
		return "in " + span(-d)
	case d < time.Second:
		return "just now"
	default:
		return span(d) + " ago"
	}
}

// span is a duration in its largest unit.
func span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}} {
		if d >= unit.d {
			return fmt.Sprintf("%d %s", d/unit.d, unit.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
