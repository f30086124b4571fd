package nvidia

import (
	"encoding/json"
	"errors"
	"fmt"
)

// bundle is the form of several tokens (a detached EAT bundle): one about
// the whole, and one for each GPU.
//
//	[["JWT", "…"], {"GPU-0": "…", "GPU-1": "…"}]
type bundle struct {
	whole   string
	modules map[string]string
}

func parseBundle(text []byte) (*bundle, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, err
	}
	if len(parts) != 2 {
		return nil, fmt.Errorf("%d parts, want 2", len(parts))
	}
	var first []string
	b := &bundle{}
	if err := errors.Join(json.Unmarshal(parts[0], &first), json.Unmarshal(parts[1], &b.modules)); err != nil {
		return nil, err
	}
	if len(first) != 2 || first[0] != "JWT" || len(b.modules) == 0 || len(b.modules) > maxBoards {
		return nil, fmt.Errorf("%d tokens of GPUs, want 1 to %d beside a JWT", len(b.modules), maxBoards)
	}
	b.whole = first[1]
	return b, nil
}
