package stats

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxControlBody bounds the form of a control action.
const maxControlBody = 64 << 10

// Config describes a role to [Handler]. Nil functions leave their path out.
type Config struct {
	// Page describes the moment for people.
	Page func() *Page
	// JSON is the value that /jsonstats encodes.
	JSON func() any
	// Metrics is the Prometheus registry behind /metrics; see [NewRegistry].
	Metrics *prometheus.Registry
	// Actions are the control actions, each a POST with the token.
	Actions []Action
	// Token opens the actions. Empty closes them all.
	Token string
}

// Action changes something on a running node.
type Action struct {
	// Path is where it is posted to, such as "/request/disable".
	Path string
	// Title says in a few words what happens.
	Title string
	// Params are the names of the arguments, each given in the query or form.
	Params []string
	// Do acts and says what it did. A [RefusedError] is answered with 409,
	// any other error with 500 and without its text.
	Do func(ctx context.Context, args url.Values) (string, error)
}

// RefusedError is an action's refusal that its caller may read.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Handler serves /stats, /jsonstats, /metrics and the control actions.
// Every other path is answered with a JSON 404. On a loopback address, names
// that anybody may register are refused with 403.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", http.HandlerFunc(notFound))
	if cfg.Page != nil {
		mux.Handle("/stats", readOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			writePage(w, r, cfg.Page(), cfg.Actions)
		})))
		mux.Handle("/{$}", http.RedirectHandler("/stats", http.StatusFound))
	}
	if cfg.JSON != nil {
		mux.Handle("/jsonstats", readOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			writeJSON(w, http.StatusOK, cfg.JSON())
		})))
	}
	if cfg.Metrics != nil {
		mux.Handle("/metrics", readOnly(promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{})))
	}
	for _, a := range cfg.Actions {
		mux.Handle(a.Path, RequireToken(cfg.Token, a))
	}
	return ownPages(mux)
}

// ServeHTTP runs the action; [RequireToken] has let the request through.
func (a Action) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxControlBody)
	if err := r.ParseForm(); err != nil {
		writeError(w, http.StatusBadRequest, "bad_request", "the form is malformed or larger than 64 KiB")
		return
	}
	var missing []string
	for _, p := range a.Params {
		if r.Form.Get(p) == "" {
			missing = append(missing, p)
		}
	}
	if missing != nil {
		writeError(w, http.StatusBadRequest, "missing_parameter", "missing: "+strings.Join(missing, ", "))
		return
	}
	done, err := a.Do(r.Context(), r.Form)
	var refused *RefusedError
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, map[string]string{"result": done})
	case errors.As(err, &refused):
		writeError(w, http.StatusConflict, "refused", refused.Reason)
	default:
		writeError(w, http.StatusInternalServerError, "internal", "the action failed; the node's log says why")
	}
}

func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", r.Method+" is not served here; use GET")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	writeError(w, http.StatusNotFound, "not_found", "unknown path; this address serves /stats, /jsonstats and /metrics")
}

// writePage renders into memory first, so that a broken page is an error and
// not half a page.
func writePage(w http.ResponseWriter, r *http.Request, p *Page, actions []Action) {
	var b bytes.Buffer
	if err := p.render(&b, actions, refreshSeconds(r)); err != nil {
		writeError(w, http.StatusInternalServerError, "internal", "the page cannot be drawn")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b.Bytes())
}
