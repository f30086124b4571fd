package ton

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Send hands an external message to one liteserver. That it takes the message
// says little: see [SendAndConfirm]. A refusal is a [RefusedError], which is the
// server's word and not proven.
func (c *Client) Send(ctx context.Context, message *cell.Cell) error {
	if _, err := parseExternal(message); err != nil {
		return err
	}
	body := message.ToBOC()
	return c.ask(ctx, "send a message", func(ctx context.Context, s server) error {
		status, err := query[tonapi.SendMessageStatus](ctx, s.link, s.line, tonapi.SendMessage{Body: body})
		var refusal tonapi.LSError
		if errors.As(err, &refusal) && refusal.Code == codeRefused {
			return final{refused(refusal.Text)}
		}
		if err == nil && status.Status != 1 {
			return fmt.Errorf("status %d, want 1", status.Status)
		}
		return err
	})
}

// codeRefused is a liteserver's answer when a message cannot be applied.
const codeRefused = 0

// Servers put the exit code into words: "… exitcode=33, steps=…".
var exitCode = regexp.MustCompile(`exit ?code[ =:]*(-?\d+)`)

func refused(text string) *RefusedError {
	e := &RefusedError{Reason: clip(strings.Join(strings.Fields(text), " "))}
	if m := exitCode.FindStringSubmatch(text); m != nil {
		if code, err := strconv.ParseInt(m[1], 10, 32); err == nil {
			e.ExitCode, e.Ran = int32(code), true
		}
	}
	return e
}

// clip shortens what a stranger says.
func clip(text string) string {
	if len(text) > 300 {
		return text[:300] + "…"
	}
	return text
}
