package worker

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// Reasons are a proxy's own words on why it gives work, or none. Prices are in
// thousandths.
type Reasons struct {
	// Cause is one word, such as "outbid"; Text is for people and says what would help.
	Cause string `json:"cause"`
	Text  string `json:"text"`
	// Requests is how many for the model the proxy looked at, Won how many it gave to this worker.
	Requests int32 `json:"requests"`
	Won      int32 `json:"won"`
	// Price is the worker's as the proxy knows it, Usual what requests went for, WouldWinAt
	// the highest that would bring work now; 0 is none or unknown.
	Price      int32     `json:"price"`
	Usual      int32     `json:"usual_price"`
	WouldWinAt int32     `json:"would_win_at"`
	At         time.Time `json:"at"`
}

// askWhy asks the proxy why this worker has no work, if it tells.
func (s *session) askWhy(ctx context.Context) {
	if !s.explains {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	r, err := wire.Ask[tl.CocoonReasons](ctx, s.c, &tl.CocoonWhyIdle{})
	if err != nil {
		return // the connection's own end says more
	}
	why := &Reasons{Cause: printable(r.Cause, 40), Text: printable(r.Text, 400), Requests: r.Requests, Won: r.Won, Price: r.Price, Usual: r.UsualPrice,
		WouldWinAt: r.WouldWinAt, At: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = why
}

// printable is a peer's text as a terminal may show it.
func printable(text string, most int) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), most)])
}
