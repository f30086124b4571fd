package devnet

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ton"
)

// publish changes the registry on the chain, as the network's owner does.
func (n *testNet) publish(change func(*contract.Root)) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), testPatience)
	defer cancel()
	p := &plan{dir: n.net.Info().Data}
	chain, err := ton.Dial(ctx, ton.Config{Path: p.path(configFile), InsecureUnsigned: true})
	if err != nil {
		n.t.Fatal(err)
	}
	defer chain.Close()
	root, err := p.readRootAddress()
	if err != nil {
		n.t.Fatal(err)
	}
	owner, err := fundedOwner(ctx, chain, p)
	if err != nil {
		n.t.Fatal(err)
	}
	a, err := chain.Account(ctx, root)
	if err != nil {
		n.t.Fatal(err)
	}
	want, err := contract.ParseRoot(a.Data)
	if err != nil {
		n.t.Fatal(err)
	}
	change(want)
	if err := updateRoot(ctx, owner, root, want); err != nil {
		n.t.Fatal(err)
	}
}

// An image that leaves the registry ends the trust in those who run it, while
// they are connected: they finish what they have begun and get nothing more.
// Nobody dies of it, and all is well again when the image comes back.
func TestImageIsStruckOffInMidRequest(t *testing.T) {
	for _, c := range []struct {
		role   string
		images func(*contract.Root) *map[[32]byte]struct{}
		said   []string // in the log, by whom it loses
	}{
		{"worker", func(r *contract.Root) *map[[32]byte]struct{} { return &r.WorkerImages }, []string{"worker gets no more requests"}},
		{"proxy", func(r *contract.Root) *map[[32]byte]struct{} { return &r.ProxyImages }, []string{"leaving proxy", "no more work for a proxy that is not trusted"}},
	} {
		t.Run(c.role, func(t *testing.T) {
			goOn := make(chan struct{})
			n := startNet(t, func(w http.ResponseWriter, q *enginetest.Request) {
				select {
				case <-goOn:
				case <-q.Cancelled:
				}
				enginetest.Fast()(w, q)
			}, Config{})
			got := make(chan answer, 1)
			go func() { got <- n.chat("") }()
			n.request()
			var before map[[32]byte]struct{}
			n.publish(func(r *contract.Root) { before, *c.images(r) = *c.images(r), nil })
			for _, text := range append(c.said, "peer is no longer trusted") {
				n.awaitLog(text)
			}
			close(goOn)
			if a := <-got; a.Status != 200 {
				t.Errorf("the request that ran: %d %s, want to be finished", a.Status, a.Body)
			}
			if a := n.chat(`,"timeout":1`); a.Status < 500 || a.errorCode() == "" {
				t.Errorf("the next request: %d %s, want a 5xx with an error object", a.Status, a.Body)
			}
			n.publish(func(r *contract.Root) { *c.images(r) = before })
			n.mustWork()
		})
	}
}

func (n *testNet) awaitLog(text string) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(n.log.String(), text) })
}
