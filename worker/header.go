package worker

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/opencocoon/cocoon/tl"
)

// neverToEngine are the caller's headers that end here. Hop-by-hop ones (RFC
// 9110 §7.6.1) speak about another connection. Accept-Encoding would bring an
// answer that cannot be metered. The rest says who the caller is, which is
// none of the engine's business, or makes engines refuse strangers' pages.
var neverToEngine = set("Host", "Content-Length", "Expect", "Accept-Encoding",
	"Origin", "Referer", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip")

// credentials are dropped unless the operator wants them passed: a key is
// meant for the caller's own gateway, not for a stranger's engine.
var credentialHeaders = set("Authorization", "Cookie", "Api-Key", "X-Api-Key")

// neverToCaller are the engine's headers that end here: framing is made anew,
// and a cookie could tie anonymous requests together.
var neverToCaller = set("Content-Length", "Set-Cookie", "Set-Cookie2", "Alt-Svc")

var hopByHop = set("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade")

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// engineHeader is what the engine sees of the caller's headers. Ill-formed
// ones are left out: the caller wrote them, the engine must not read them.
func engineHeader(in []tl.HTTPHeader, credentials bool) http.Header {
	out := make(http.Header, len(in)+2)
	var named map[string]bool
	for _, h := range in {
		name := textproto.CanonicalMIMEHeaderKey(h.Name)
		switch {
		case name == "Connection":
			named = connectionNames(named, h.Value)
		case !validHeader(name, h.Value), hopByHop[name], neverToEngine[name], private(name):
		case credentialHeaders[name] && !credentials:
		default:
			out[name] = append(out[name], h.Value)
		}
	}
	for name := range named {
		delete(out, name)
	}
	return out
}

// callerHeader is what the caller sees of the engine's headers, with room for
// those that we add.
func callerHeader(in http.Header) []tl.HTTPHeader {
	out := make([]tl.HTTPHeader, 0, len(in)+4)
	var named map[string]bool
	for _, v := range in["Connection"] {
		named = connectionNames(named, v)
	}
	for name, values := range in {
		if hopByHop[name] || neverToCaller[name] || named[name] || private(name) {
			continue
		}
		for _, v := range values {
			out = append(out, tl.HTTPHeader{Name: name, Value: v})
		}
	}
	return out
}

// private headers are the network's own: neither side may forge them.
func private(name string) bool { return strings.HasPrefix(name, "X-Cocoon-") }

func connectionNames(names map[string]bool, value string) map[string]bool {
	for name := range strings.SplitSeq(value, ",") {
		if names == nil {
			names = map[string]bool{}
		}
		names[textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))] = true
	}
	return names
}

// validHeader follows RFC 9110 §5.5 and §5.6.2.
func validHeader(name, value string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
