package wallet

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

const linkPrefix = "ton://transfer/"

// Link asks a wallet application to make this transfer when it is opened or
// its [QR] is scanned. The amount may be left to the payer. Bounce goes into
// the form of the address; All cannot be asked for.
func Link(t Transfer) (string, error) {
	if _, err := t.message(); err != nil || t.All {
		return "", fmt.Errorf("link: a transfer that cannot be asked for: %w", err)
	}
	query := url.Values{}
	if t.Amount > 0 {
		query.Set("amount", strconv.FormatInt(int64(t.Amount), 10))
	}
	if t.Comment != "" {
		query.Set("text", t.Comment)
	}
	if t.Body != nil {
		query.Set("bin", base64.URLEncoding.EncodeToString(t.Body.ToBOC()))
	}
	if t.Init != nil {
		init, err := tlb.ToCell(t.Init)
		if err != nil {
			return "", fmt.Errorf("link: %w", err)
		}
		query.Set("init", base64.URLEncoding.EncodeToString(init.ToBOC()))
	}
	link := linkPrefix + t.To.Bounce(t.Bounce).String()
	if len(query) > 0 {
		link += "?" + strings.ReplaceAll(query.Encode(), "+", "%20") // not every wallet reads + as a blank
	}
	return link, nil
}

// ParseLink reads what [Link] writes. Parameters that it does not know make an
// error: paying without heeding them might be what the asker did not want.
func ParseLink(text string) (Transfer, error) {
	rest, ok := strings.CutPrefix(text, linkPrefix)
	if !ok {
		return Transfer{}, fmt.Errorf("link %q: want one that begins with %s", clip(text), linkPrefix)
	}
	name, query, _ := strings.Cut(rest, "?")
	to, err := contract.ParseAddress(name)
	if err != nil {
		return Transfer{}, fmt.Errorf("link: %w", err)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Transfer{}, fmt.Errorf("link: %w", err)
	}
	t := Transfer{To: to, Bounce: to.IsBounceable()}
	for key, value := range values {
		if err := t.parameter(key, value[0]); err != nil || len(value) != 1 {
			return Transfer{}, fmt.Errorf("link: parameter %q: %d times, want once, and well-formed (%w)", clip(key), len(value), err)
		}
	}
	if _, err := t.message(); err != nil {
		return Transfer{}, fmt.Errorf("link: %w", err)
	}
	return t, nil
}

func (t *Transfer) parameter(key, value string) (err error) {
	switch key {
	case "amount":
		var v uint64
		v, err = strconv.ParseUint(value, 10, 63)
		t.Amount = coin.Nano(v)
	case "text":
		t.Comment = value
	case "bin":
		t.Body, err = linkCell(value)
	case "init":
		var c *cell.Cell
		if c, err = linkCell(value); err == nil {
			t.Init = &tlb.StateInit{}
			err = tlb.Parse(t.Init, c)
		}
	default:
		err = fmt.Errorf("unknown")
	}
	return err
}

func linkCell(text string) (*cell.Cell, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, err
	}
	return cell.FromBOC(raw)
}
