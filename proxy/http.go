package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// Of the HTTP messages inside requests and answers the proxy reads the frame
// only: lengths of all, and the few headers that it must change. Nothing is
// copied but the head of an answer.

// checkRequest says whether the bytes are one boxed http.request.
func checkRequest(b []byte) error {
	r := tl.NewReader(b)
	if id := r.Uint32("id"); r.Err() == nil && id != (*tl.HTTPRequest)(nil).TLID() {
		return fmt.Errorf("constructor is %#08x, want http.request", id)
	}
	r.Bytes("method")
	r.Bytes("url")
	r.Bytes("http_version")
	for range r.Count("headers", 8) {
		r.Bytes("name")
		r.Bytes("value")
	}
	r.Bytes("payload")
	return end(r)
}

func end(r *tl.Reader) error {
	if r.Err() == nil && r.Len() > 0 {
		return fmt.Errorf("%d bytes too many", r.Len())
	}
	return r.Err()
}

// head is the first answer of a worker, taken apart as far as needed.
//
//	id version status reason | count | header … | payload
//	                         start
type head struct {
	raw      []byte
	start    int
	headers  []span
	payload  []byte
	status   int32
	framing  openai.Framing
	length   int // index of Content-Length in headers, or -1
	chunked  bool
	twoSizes bool
	split    bool // something in it would end a line, or worse
}

// span is where a header lies in raw.
type span struct{ from, to int }

// parseHead reads a boxed http.response and refuses what a client could not relay.
func parseHead(b []byte) (*head, error) {
	r := tl.NewReader(b)
	if id := r.Uint32("id"); r.Err() == nil && id != (*tl.HTTPResponse)(nil).TLID() {
		return nil, fmt.Errorf("constructor is %#08x, want http.response", id)
	}
	h := &head{raw: b, length: -1}
	version := r.Bytes("http_version")
	h.status = r.Int32("status_code")
	h.split = !openai.IsHeaderValue(r.Bytes("reason"))
	h.start = len(b) - r.Len()
	for range r.Count("headers", 8) {
		h.readHeader(r)
	}
	h.payload = r.Bytes("payload")
	if err := end(r); err != nil {
		return nil, err
	}
	if v := string(version); v != "HTTP/1.0" && v != "HTTP/1.1" || h.status < 100 || h.status > 999 {
		return nil, fmt.Errorf("version %.20q status %d, want HTTP/1.0 or 1.1 and 100 to 999", version, h.status)
	}
	switch {
	case h.twoSizes:
		return nil, fmt.Errorf("two Content-Length headers")
	case h.split:
		return nil, fmt.Errorf("a header or the reason has characters that none may have")
	}
	return h, nil
}

func (h *head) readHeader(r *tl.Reader) {
	from := len(h.raw) - r.Len()
	name, value := r.Bytes("name"), r.Bytes("value")
	switch {
	case bytes.EqualFold(name, []byte("Content-Type")):
		h.framing = openai.FramingOf(string(value[:min(len(value), 200)]))
	case bytes.EqualFold(name, []byte("Content-Length")):
		h.twoSizes, h.length = h.length >= 0, len(h.headers)
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		h.chunked = true
	case isOurs(name):
		return // a worker does not speak in the names of others
	}
	h.split = h.split || !openai.IsHeaderName(name) || !openai.IsHeaderValue(value)
	h.headers = append(h.headers, span{from, len(h.raw) - r.Len()})
}

// isOurs says whether a header is the proxy's or the client's to set: who
// served and why, that it is a refusal, and when.
func isOurs(name []byte) bool {
	const prefix = "X-Cocoon-"
	if len(name) < len(prefix) || !bytes.EqualFold(name[:len(prefix)], []byte(prefix)) {
		return false
	}
	name = bytes.ToLower(name[len(prefix):])
	switch string(name) {
	case "worker", "why", "error":
		return true
	}
	return bytes.HasPrefix(name, []byte("proxy-")) || bytes.HasPrefix(name, []byte("client-"))
}

// rewrite is the head as the client gets it: with the proxy's times and with
// the one framing header that reference clients need. An answer that goes on in parts
// must not announce a length, because parts may change it.
func (h *head) rewrite(final bool, start, now time.Time, more ...[2]string) []byte {
	extra := append([][2]string{{"X-Cocoon-Proxy-Start", unixText(start)}, {"X-Cocoon-Proxy-End", unixText(now)}}, more...)
	drop := -1
	switch {
	case !final:
		if drop = h.length; !h.chunked {
			extra = append(extra, [2]string{"Transfer-Encoding", "chunked"})
		}
	case h.length < 0 && !h.chunked:
		extra = append(extra, [2]string{"Content-Length", strconv.Itoa(len(h.payload))})
	}
	count := len(h.headers) + len(extra)
	if drop >= 0 {
		count--
	}
	out := make([]byte, 0, len(h.raw)+64*len(extra))
	out = append(out, h.raw[:h.start]...)
	out = binary.LittleEndian.AppendUint32(out, uint32(count))
	for i, s := range h.headers {
		if i != drop {
			out = append(out, h.raw[s.from:s.to]...)
		}
	}
	for _, x := range extra {
		out = tl.AppendString(tl.AppendString(out, x[0]), x[1])
	}
	return tl.AppendBytes(out, h.payload)
}

// unixText is a time as headers have it: unix seconds, six decimals.
func unixText(t time.Time) string { return strconv.FormatFloat(unix(t), 'f', 6, 64) }

func unix(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
