package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/stats"
)

// Snapshot is the state of a key manager, as /jsonstats has it: the names of
// current.md section 4.4, then ours. It holds no private key.
type Snapshot struct {
	Status  StatusInfo     `json:"status"`
	Local   LocalInfo      `json:"localconf"`
	Root    *contract.Root `json:"root_contract_config"`
	Keys    []KeyInfo      `json:"keys"`
	Callers int            `json:"connections"`
	Served  int64          `json:"queries_served"`
	Refused int64          `json:"queries_refused"`
	Wallet  any            `json:"wallet,omitempty"`
}

// StatusInfo says whether the key manager works.
type StatusInfo struct {
	// Named says that the registry has our public key.
	Named bool `json:"named_by_registry"`
	// Usable is how many keys apps can encrypt for now.
	Usable  int    `json:"usable_keys"`
	Trouble string `json:"trouble,omitempty"`
}

// LocalInfo is the configuration that others depend on.
type LocalInfo struct {
	CheckHashes  bool   `json:"check_hashes"`
	PublicKey    string `json:"public_key"`
	ServeWorkers bool   `json:"serve_workers"`
	// KeysKept is how the secrets of this node lie on disk, for people.
	KeysKept string `json:"keys_kept,omitempty"`
}

// KeyInfo is one key; times are Unix seconds.
type KeyInfo struct {
	Public     string `json:"public_key"`
	Type       uint8  `json:"key_type"`
	Created    int64  `json:"created_at"`
	Expires    int64  `json:"expire_at"`
	Registered bool   `json:"registered"`
}

// Snapshot describes the key manager now.
func (m *Manager) Snapshot() Snapshot {
	root := m.cfg.Registry.Root()
	s := Snapshot{
		Status: StatusInfo{Named: m.named(root)}, Root: root, Keys: []KeyInfo{}, Served: m.served.Load(), Refused: m.refused.Load(),
		Local: LocalInfo{m.cfg.CheckImages || !root.IsTest, hex.EncodeToString(m.public()), m.cfg.ServeWorkers, m.cfg.KeysKept},
	}
	if m.cfg.Wallet != nil {
		s.Wallet = m.cfg.Wallet()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Status.Trouble, s.Callers = m.trouble, len(m.callers)
	now := m.cfg.Now().Unix()
	for _, e := range m.keys {
		s.Keys = append(s.Keys, KeyInfo{hex.EncodeToString(e.public[:]), e.kind, e.created, e.expires, e.listed})
		if e.kind == TypeV1 && e.listed && e.expires > now {
			s.Status.Usable++
		}
	}
	return s
}

// Handler serves /stats, /jsonstats, /metrics and, by POST with the control
// token, /request/generatekey and /request/removekey.
func (m *Manager) Handler() http.Handler {
	return stats.Handler(stats.Config{
		Page: m.page, JSON: func() any { return m.Snapshot() }, Metrics: stats.NewRegistry(m.metrics), Token: m.cfg.ControlToken,
		Actions: []stats.Action{
			{Path: "/request/generatekey", Title: "make a key now; type=N for another type than 1", Do: m.generateAction},
			{Path: "/request/removekey", Title: "erase a key", Params: []string{"key"}, Do: m.removeAction},
		},
	})
}

func (m *Manager) generateAction(_ context.Context, args url.Values) (string, error) {
	kind := uint64(TypeV1)
	if text := args.Get("type"); text != "" {
		var err error
		if kind, err = strconv.ParseUint(text, 10, 8); err != nil {
			return "", &stats.RefusedError{Reason: fmt.Sprintf("type %.20q, want 0 to 255", text)}
		}
	}
	public, err := m.Generate(uint8(kind))
	if errors.Is(err, errManyKeys) {
		err = &stats.RefusedError{Reason: err.Error()}
	}
	return hex.EncodeToString(public[:]), err
}

func (m *Manager) removeAction(_ context.Context, args url.Values) (string, error) {
	public, err := fieldcrypt.ParsePublicKey(args.Get("key"))
	if err == nil {
		err = m.Remove(public)
	} else {
		err = &stats.RefusedError{Reason: err.Error()}
	}
	if errors.Is(err, ErrUnknown) {
		err = &stats.RefusedError{Reason: err.Error()}
	}
	return "erased; the registry lists it until it expires, unless its owner strikes it", err
}

func (m *Manager) page() *stats.Page {
	s := m.Snapshot()
	state := stats.Badge{Level: stats.OK, Text: "serving"}
	switch {
	case s.Status.Trouble != "":
		state = stats.Badge{Level: stats.Bad, Text: "trouble: " + s.Status.Trouble}
	case s.Status.Usable == 0:
		state = stats.Badge{Level: stats.Warn, Text: "starting: the registry lists no key yet"}
	}
	t := stats.Table{Title: "Keys", Empty: "none yet", Columns: []string{"public key", "type", "made", "expires in", "registry"}}
	for _, k := range s.Keys {
		listed := stats.Badge{Level: stats.OK, Text: "listed"}
		if !k.Registered {
			listed = stats.Badge{Level: stats.Warn, Text: "not listed"}
		}
		t.Rows = append(t.Rows, []any{k.Public, int(k.Type), time.Unix(k.Created, 0), time.Unix(k.Expires, 0).Sub(m.cfg.Now()).Round(time.Second), listed})
	}
	return &stats.Page{Title: "cocoon keys", State: state, Tables: []stats.Table{t}, Facts: []stats.Fact{
		{Name: "public key", Value: s.Local.PublicKey}, {Name: "named by the registry", Value: s.Status.Named},
		{Name: "registry version", Value: s.Root.Version}, {Name: "images are checked", Value: s.Local.CheckHashes},
		{Name: "connections", Value: s.Callers}, {Name: "queries served", Value: s.Served}, {Name: "queries refused", Value: s.Refused},
	}}
}

func (m *Manager) metrics() []stats.Metric {
	s := m.Snapshot()
	return []stats.Metric{
		stats.GaugeMetric("cocoon_keys_live", "Keys that have not expired.", float64(len(s.Keys))),
		stats.GaugeMetric("cocoon_keys_usable", "Keys that apps can encrypt for.", float64(s.Status.Usable)),
		stats.GaugeMetric("cocoon_keys_connections", "Connections of proxies and workers.", float64(s.Callers)),
		stats.CounterMetric("cocoon_keys_queries_served_total", "Queries answered with keys.", float64(s.Served)),
		stats.CounterMetric("cocoon_keys_queries_refused_total", "Queries refused.", float64(s.Refused)),
	}
}

func (m *Manager) serveHTTP(ctx context.Context) error {
	server := &http.Server{Handler: m.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(m.cfg.HTTPListener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("statistics: %w", err)
	}
	return nil
}
