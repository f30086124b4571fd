package client

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// origins decides which web pages may use the gateway (the Fetch standard's
// CORS protocol).
type origins struct {
	any     bool
	allowed []string
}

func newOrigins(list []string) origins {
	o := origins{any: slices.Contains(list, "*")}
	for _, origin := range list {
		o.allowed = append(o.allowed, strings.ToLower(strings.TrimSuffix(origin, "/")))
	}
	return o
}

// allow says whether a page of this origin may use the gateway. No origin
// means no browser, or a page of the gateway itself.
func (o origins) allow(origin string) bool {
	if origin == "" || o.any {
		return true
	}
	if len(o.allowed) > 0 {
		return slices.Contains(o.allowed, strings.ToLower(origin))
	}
	return isLocal(origin)
}

// isLocal says whether the page was served by this machine.
func isLocal(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

var (
	corsMethods = []string{"GET, HEAD, POST, OPTIONS"}
	corsHeaders = []string{"*, Authorization, Content-Type"} // "*" does not cover Authorization
	corsExpose  = []string{"X-Request-Id, Retry-After, X-Cocoon-Error, X-Cocoon-Model, X-Cocoon-Cost-Nanoton, X-Cocoon-Attestation, X-Cocoon-Encryption, X-Cocoon-Client-Start, X-Cocoon-Client-End, X-Cocoon-Proxy-Start, X-Cocoon-Proxy-End, X-Cocoon-Worker-Start, X-Cocoon-Worker-End, X-Cocoon-Worker, X-Cocoon-Why, X-Cocoon-Provider-Ignored, X-Cocoon-Resumed"}
	corsAny     = []string{"*"}
	corsMaxAge  = []string{"86400"}
	corsVary    = []string{"Origin"}
)

// setHeader writes what a browser wants to read. Without an origin nobody
// reads it, except that caches must know that the answer depends on it.
func (o origins) setHeader(h http.Header, origin string, allowed bool) {
	if !o.any {
		h["Vary"] = corsVary
		if origin == "" || !allowed {
			return
		}
		h["Access-Control-Allow-Origin"] = []string{origin}
	} else {
		h["Access-Control-Allow-Origin"] = corsAny
	}
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
	h["Access-Control-Expose-Headers"] = corsExpose
	h["Access-Control-Max-Age"] = corsMaxAge
}
