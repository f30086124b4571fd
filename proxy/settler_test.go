package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/stats"
)

// teller is a settler that writes down what it is told.
type teller struct {
	mu   sync.Mutex
	bad  error
	done []string
}

func (s *teller) Health() error { s.mu.Lock(); defer s.mu.Unlock(); return s.bad }

func (s *teller) Report() Settlement {
	return Settlement{
		Wallet: WalletInfo{Address: "wallet", Balance: 5}, Account: 9, Ready: 3, Deposits: 4 * coin.TON,
		Old:      []OldInstance{{Contract: "old", State: "closing", CloseAt: 77}},
		Due:      []DueInfo{{Kind: "charge", Failures: 2, Error: "refused"}},
		Messages: []MessageCount{{"note", "done", 6}}, Trouble: "look here",
	}
}

func (s *teller) say(what string) (string, error) {
	s.done = append(s.done, what)
	return "did " + what, nil
}

func (s *teller) Charge(_ context.Context, a *address.Address) (string, error) {
	return s.say("charge " + a.StringRaw()[:4])
}

func (s *teller) Payout(_ context.Context, a *address.Address) (string, error) {
	return s.say("payout " + a.StringRaw()[:4])
}

func (s *teller) Withdraw(context.Context) (string, error) {
	return "", &stats.RefusedError{Reason: "nothing there"}
}

// With a settler its orders can be given, with the token alone, its state is
// shown, and while it is unwell no work is taken.
func TestSettler(t *testing.T) {
	s := &teller{}
	inBubble(t, func(c *Config) { c.ControlToken, c.Settler = "token", s }, func(r *rig) {
		h := r.p.Handler()
		call := func(method, path, token string, form url.Values) (int, string) {
			req := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			return rec.Code, rec.Body.String()
		}
		who := func(param, a string) url.Values { return url.Values{param: {a}} }
		for _, x := range []struct {
			method, path, token string
			form                url.Values
			code                int
			says                string
		}{
			{"POST", "/request/charge", "token", who("client", ownerText), 200, "did charge 0:2e"},
			{"POST", "/request/payout", "token", who("worker", ownerText), 200, "did payout 0:2e"},
			{"POST", "/request/withdraw", "token", nil, 409, "nothing there"},
			{"POST", "/request/charge", "token", nil, 400, "client"},
			{"POST", "/request/payout", "token", who("worker", "nobody"), 409, "address"},
			{"POST", "/request/payout", "wrong", who("worker", ownerText), 401, "token"},
			{"GET", "/request/payout", "token", who("worker", ownerText), 405, ""},
			{"GET", "/stats", "", nil, 200, "look here"},
			{"GET", "/metrics", "", nil, 200, `cocoon_proxy_chain_messages_total{kind="note",result="done"} 6`},
			{"GET", "/metrics", "", nil, 200, "cocoon_proxy_failing_transactions 1"},
		} {
			if code, text := call(x.method, x.path, x.token, x.form); code != x.code || !strings.Contains(text, x.says) {
				t.Errorf("%s %s %v: %d %s, want %d and %q", x.method, x.path, x.form, code, text, x.code, x.says)
			}
		}
		if len(s.done) != 2 {
			t.Errorf("done: %q", s.done)
		}
		var got Snapshot
		_, text := call("GET", "/jsonstats", "", nil)
		if err := json.Unmarshal([]byte(text), &struct {
			Wallet   *WalletInfo    `json:"wallet"`
			Contract *ContractInfo  `json:"smartcontract"`
			Old      *[]OldInstance `json:"old_instances"`
		}{&got.Wallet, &got.Contract, &got.Old}); err != nil {
			t.Fatal(err)
		}
		if got.Wallet.Balance != 5 || got.Contract.ReadyForWithdraw != 3 || got.Contract.Balance != 9 || len(got.Old) != 1 || got.Old[0].CloseAt != 77 {
			t.Errorf("jsonstats: %+v %+v %+v", got.Wallet, got.Contract, got.Old)
		}
		early := r.client(4, nil)
		s.mu.Lock()
		s.bad = errors.New("the contract is closing")
		s.mu.Unlock()
		early.send(question(1))
		early.answer(requestID(1), false).refusedWith(t, 503, "651", "no_proxy")
		late := r.dial(r.clients, [32]byte{})
		_, err := late.ask(clientHello())
		late.refusedAndClosed("while the chain forbids it", err, 651, "not participating")
	})
}
