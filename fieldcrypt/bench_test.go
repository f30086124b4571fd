package fieldcrypt

import (
	"strings"
	"testing"
)

// What encryption costs a request: one key agreement and its texts; then, for each
// chunk of a streamed answer, its texts alone.
func BenchmarkRequest(b *testing.B) {
	request := []byte(`{"model":"m","stream":true,"messages":[{"role":"system","content":"` + strings.Repeat("s", 500) + `"},{"role":"user","content":"` + strings.Repeat("u", 1500) + `"}]}`)
	worker := &Seed{2}
	public := worker.Public()
	for b.Loop() {
		app := Seed{1}
		s, err := NewSealer(&app, public, ToWorker)
		if err != nil {
			b.Fatal(err)
		}
		sealed, err := s.Seal(request)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(sealed))/float64(len(request)), "growth")
	}
}

func BenchmarkChunk(b *testing.B) {
	chunk := []byte(`{"id":"chatcmpl-IESVV4TZ35SNWI2ER3ROE35CAX","object":"chat.completion.chunk","created":1795720822,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"usage":null}`)
	app, worker := &Seed{1}, &Seed{2}
	out, err := NewSealer(worker, app.Public(), ToApp)
	if err != nil {
		b.Fatal(err)
	}
	back := sealer(b, app, worker, ToWorker).Reply()
	for b.Loop() {
		sealed, err := out.Seal(chunk)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := back.Open(sealed); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(sealed))/float64(len(chunk)), "growth")
	}
}
