package stats

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ownPages refuses readers who took a page of this machine under a name that
// anybody may register. A web page can let its own name point here for a
// moment and then read what it likes, because browsers go by names (DNS
// rebinding). Addresses and names that nobody can register are as good as
// ever, and so is every name where the server listens to the network anyway.
func ownPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if onLoopback(r) && !private(r.Host) {
			writeError(w, http.StatusForbidden, "wrong_host", "these pages are for this machine: use its address or localhost; a reverse proxy has to send Host: localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func onLoopback(r *http.Request) bool {
	at, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return at != nil && at.IP.IsLoopback()
}

// private says whether a Host header holds an address, or a name that public
// DNS does not know: one without a dot, or below a domain kept for such use
// (RFC 6761, RFC 6762 and the reserved "internal").
func private(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]."))
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return true
	}
	for _, domain := range []string{".localhost", ".local", ".internal", ".test"} {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}
