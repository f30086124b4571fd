package stats

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
)

// RequireToken lets a request through to next only if it is a POST that
// carries "Authorization: Bearer <token>". Anything else gets a JSON error:
// 405 for another method, 401 for a missing or wrong token, 403 if this node
// has no token at all, so that an unconfigured node cannot be controlled.
func RequireToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", r.Method+" changes nothing here; send a POST with the control token")
		case token == "":
			writeError(w, http.StatusForbidden, "control_disabled", "this node has no control token; set control_token_file and restart it")
		case !bearerIs(r, want):
			w.Header().Set("WWW-Authenticate", `Bearer realm="cocoon control"`)
			writeError(w, http.StatusUnauthorized, "invalid_token", "the control token is missing or wrong; send Authorization: Bearer <token>")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// bearerIs compares hashes, so that neither the length nor the first wrong
// byte of a guess shows in the time taken.
func bearerIs(r *http.Request, want [sha256.Size]byte) bool {
	kind, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return ok && strings.EqualFold(kind, "bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// writeError answers with an error object in the shape of the OpenAI API,
// the one shape every program that talks to a node knows.
func writeError(w http.ResponseWriter, status int, code, message string) {
	type object struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	writeJSON(w, status, map[string]object{"error": {Message: message, Type: "invalid_request_error", Code: code}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the reader went away; nobody is left to tell
}
