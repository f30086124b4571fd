package stats

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A page whose name points here for a moment reads nothing.
func TestPagesAreForThisMachine(t *testing.T) {
	var did []string
	server := httptest.NewServer(testHandler(&did))
	defer server.Close()
	for host, want := range map[string]int{
		"attacker.example:12000": 403, "127.0.0.1.attacker.example": 403, "localhost.attacker.example": 403, "ATTACKER.EXAMPLE.": 403,
		"localhost:1": 200, "127.0.0.1": 200, "[::1]:80": 200, "10.1.2.3": 200, "gateway": 200, "a.localhost": 200, "host.docker.internal:10000": 200,
	} {
		for _, path := range []string{"/stats", "/jsonstats", "/metrics"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			res, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s under the name %s: status %d, want %d", path, host, res.StatusCode, want)
			}
		}
	}
}
