package bench

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// EngineModel is the model that an [Engine] serves.
const EngineModel = "bench/echo"

const (
	// everyMark in a prompt, followed by a Go duration, sets the time between
	// chunks. It travels in the prompt because any node passes that through.
	everyMark = "one chunk every "
	// stampMark in an answer is followed by 19 digits: the unix time in
	// nanoseconds at which that chunk was emitted.
	stampMark = '@'
	// maxChunks bounds what one request may ask for.
	maxChunks = 1 << 20
	// engineIdle is how long a keep-alive connection may be silent.
	engineIdle = 5 * time.Minute
)

// Engine pretends to be an inference engine, as cheaply as HTTP/1.1 allows.
// A plain request is answered at once; a streamed one with max_tokens chunks,
// at the pace that the prompt asks for, each stamped with its emission time.
// It is for measuring and has no place in a network that serves people.
type Engine struct {
	// Log gets connection errors at debug level; nil discards them.
	Log *slog.Logger
}

// Serve answers on l until ctx ends, then closes l and all connections and
// returns nil when they are done.
func (e *Engine) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bench engine: accept: %w", err)
		}
		wg.Go(func() {
			defer nc.Close()
			defer context.AfterFunc(ctx, func() { nc.Close() })()
			err := serveConn(ctx, nc)
			if e.Log != nil && err != nil && ctx.Err() == nil {
				e.Log.Debug("bench engine: connection ended", "peer", nc.RemoteAddr(), "err", err)
			}
		})
	}
}

// serveConn answers requests until the peer leaves or breaks the rules.
func serveConn(ctx context.Context, nc net.Conn) error {
	r := reader{src: nc}
	var body []byte
	for {
		if err := nc.SetDeadline(time.Now().Add(engineIdle)); err != nil {
			return err
		}
		head, err := r.head()
		if err != nil {
			return err
		}
		list, get := bytes.HasPrefix(head, []byte("GET /v1/models ")), bytes.HasPrefix(head, []byte("GET "))
		f, err := framingOf(head, 0)
		if err != nil {
			return err
		}
		if body, err = r.collect(f, body[:0]); err != nil {
			return err
		}
		switch {
		case list:
			_, err = nc.Write(modelsAnswer)
		case get:
			_, err = nc.Write(notFoundAnswer)
		default:
			err = answer(ctx, nc, body)
		}
		if err != nil || f.close {
			return err
		}
	}
}

// collect reads a request's body into buf, at most maxHead bytes of it: what
// an Engine looks for stands within that.
func (r *reader) collect(f framing, buf []byte) ([]byte, error) {
	err := r.body(f, func(p []byte) {
		buf = append(buf, p[:min(len(p), maxHead-len(buf))]...)
	})
	return buf, err
}

func answer(ctx context.Context, nc net.Conn, body []byte) error {
	chunks := min(max(intMember(body, `"max_tokens"`), 1), maxChunks)
	if !bytes.Equal(member(body, `"stream"`), []byte("true")) {
		_, err := nc.Write(plainAnswer)
		return err
	}
	every := time.Duration(0)
	if _, rest, ok := bytes.Cut(body, []byte(everyMark)); ok {
		text, _, _ := bytes.Cut(rest, []byte(`"`))
		every, _ = time.ParseDuration(string(text)) // nonsense means at once
	}
	return stream(ctx, nc, chunks, every)
}

// stream emits the chunks, then the usage and the end mark.
func stream(ctx context.Context, nc net.Conn, chunks int, every time.Duration) error {
	buf := append(make([]byte, 0, 1024), streamHead...)
	next := time.Now()
	for range chunks {
		if every > 0 {
			sleep(ctx, time.Until(next))
			next = next.Add(every)
		}
		if err := nc.SetWriteDeadline(time.Now().Add(engineIdle)); err != nil {
			return err
		}
		buf = appendChunk(buf, appendStamped(nil, time.Now()))
		if _, err := nc.Write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	buf = appendChunk(buf, fmt.Appendf(nil, "data: %s,\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n", chunkHead))
	buf = appendChunk(buf, fmt.Appendf(nil, "data: %s,\"choices\":[],\"usage\":%s}\n\n", chunkHead, usage(chunks)))
	buf = appendChunk(buf, []byte("data: [DONE]\n\n"))
	_, err := nc.Write(append(buf, "0\r\n\r\n"...))
	return err
}

const chunkHead = `{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1764460800,"model":"` + EngineModel + `"`

func appendStamped(b []byte, now time.Time) []byte {
	b = append(b, "data: "+chunkHead+`,"choices":[{"index":0,"delta":{"content":"`...)
	b = append(b, stampMark)
	b = strconv.AppendInt(b, now.UnixNano(), 10)
	return append(b, ` "},"finish_reason":null}]}`+"\n\n"...)
}

func appendChunk(b, data []byte) []byte {
	b = strconv.AppendInt(b, int64(len(data)), 16)
	b = append(b, "\r\n"...)
	b = append(b, data...)
	return append(b, "\r\n"...)
}

func usage(completion int) string {
	return fmt.Sprintf(`{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d}`, completion, 9+completion)
}

// member returns the bare value (a number, true, false) of a JSON member. It
// looks no deeper than text: the load generator's bodies are known.
func member(body []byte, quoted string) []byte {
	_, rest, _ := bytes.Cut(body, []byte(quoted))
	rest = bytes.TrimLeft(rest, ": \t")
	if end := bytes.IndexAny(rest, ",} \n"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

func intMember(body []byte, quoted string) int {
	n, err := strconv.Atoi(string(member(body, quoted)))
	if err != nil {
		return 0
	}
	return n
}

// The answers that never change.
var (
	notFoundAnswer = []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	streamHead     = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	modelsAnswer   = jsonAnswer(`{"object":"list","data":[{"id":"` + EngineModel + `","object":"model","created":1764460800,"owned_by":"cocoon-bench"}]}`)
	plainAnswer    = jsonAnswer(`{"id":"chatcmpl-bench","object":"chat.completion","created":1764460800,"model":"` + EngineModel +
		`","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],"usage":` + usage(1) + `}`)
)

func jsonAnswer(body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// Listen opens a loopback address and serves e on it in the background; stop
// ends it and returns Serve's error.
func (e *Engine) Listen(ctx context.Context) (base string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("bench engine: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, l) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	return "http://" + l.Addr().String(), stop, nil
}
