package settlement

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/coin"
)

// earnings is what was earned, by UTC day and model.
type earnings map[string]map[string]*EarnedDay

// keptDays is how long days are kept.
const keptDays = 400

const dayFormat = "2006-01-02"

func (e earnings) add(now time.Time, model string, tokens int64, fee coin.Nano) {
	day := now.UTC().Format(dayFormat)
	if e[day] == nil {
		oldest := now.UTC().AddDate(0, 0, -keptDays).Format(dayFormat)
		maps.DeleteFunc(e, func(day string, _ map[string]*EarnedDay) bool { return day < oldest })
		e[day] = map[string]*EarnedDay{}
	}
	d := e[day][model]
	if d == nil {
		d = &EarnedDay{Day: day, Model: model}
		e[day][model] = d
	}
	d.Requests, d.Tokens, d.Earned = d.Requests+1, d.Tokens+tokens, d.Earned.Add(fee)
}

// EarnedDay is what one model earned on one day: answers that were delivered,
// adjusted tokens reported for them, and the worker's fee; nanoTON.
type EarnedDay struct {
	Day      string    `json:"day"` // UTC
	Model    string    `json:"model"`
	Requests int64     `json:"requests"`
	Tokens   int64     `json:"tokens"`
	Earned   coin.Nano `json:"earned"`
}

// EarningsReport is what a worker has earned. Earned is its own count; of it,
// Signed can be cashed and Paid has been; Pending is not paid yet.
type EarningsReport struct {
	Earned  coin.Nano   `json:"earned"`
	Signed  coin.Nano   `json:"signed"`
	Paid    coin.Nano   `json:"paid"`
	Pending coin.Nano   `json:"pending"`
	Days    []EarnedDay `json:"days"` // oldest first
}

// report is called with mu held.
func (w *Worker) report() EarningsReport {
	r := EarningsReport{Days: w.earned.list()}
	for _, a := range w.accounts {
		fee := a.terms.WorkerFeePerToken
		r.Earned = r.Earned.Add(fee.Times(max(a.r.Worked, a.r.Signed.Tokens)))
		r.Signed = r.Signed.Add(fee.Times(a.r.Signed.Tokens))
		r.Paid = r.Paid.Add(fee.Times(a.r.Paid))
	}
	r.Pending = max(0, r.Earned-r.Paid)
	return r
}

func (e earnings) list() []EarnedDay {
	list := []EarnedDay{}
	for _, models := range e {
		for _, d := range models {
			list = append(list, *d)
		}
	}
	slices.SortFunc(list, func(a, b EarnedDay) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Model, b.Model)) })
	return list
}

// ReadEarnings is the report of a worker's data directory. The worker may be
// running; its last two seconds may be missing.
func ReadEarnings(dir string) (*EarningsReport, error) {
	path := filepath.Join(dir, workerFile)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	record := workerRecord{Earned: earnings{}}
	if err := loadRecord(path, &record); err != nil {
		return nil, err
	}
	w := &Worker{accounts: map[string]*workerAccount{}, earned: record.Earned}
	for name, r := range record.Accounts {
		var err error
		if w.accounts[name], err = w.newAccount(r); err != nil {
			return nil, err
		}
	}
	r := w.report()
	return &r, nil
}
