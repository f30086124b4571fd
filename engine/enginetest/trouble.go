package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// HangHead never sends a byte.
func HangHead() Script {
	return func(_ http.ResponseWriter, q *Request) { <-q.Context().Done() }
}

// DieHead cuts the connection instead of answering.
func DieHead() Script {
	return func(http.ResponseWriter, *Request) { panic(http.ErrAbortHandler) }
}

// HTML answers with a web page, as a gateway in front of an engine does.
func HTML(status int) Script {
	return Fixed(status, "text/html; charset=utf-8",
		"<html><head><title>Bad Gateway</title></head><body><h1>nginx</h1></body></html>\n")
}

// Garbage answers 200 with bytes that are no JSON under a JSON type.
func Garbage() Script {
	return Fixed(http.StatusOK, "application/json", `{"choices":[{"message":{"content":"never cl`)
}

// Refusal answers as OpenAI does for a bad request.
func Refusal(status int, message string) Script {
	return Fixed(status, "application/json",
		fmt.Sprintf(`{"error":{"message":%q,"type":"invalid_request_error","param":null,"code":null}}`, message))
}

// RefuseMember answers 400 to every request whose body contains the member
// and leaves the others to next: an engine older than the option.
func RefuseMember(name string, next Script) Script {
	refusal := Refusal(http.StatusBadRequest, "Unrecognized request argument supplied: "+name)
	return func(w http.ResponseWriter, q *Request) {
		if bytes.Contains(q.Payload, []byte(`"`+name+`"`)) {
			refusal(w, q)
			return
		}
		next(w, q)
	}
}

// WrongType sends events under the content type of a plain answer.
func WrongType(n int) Script {
	return func(w http.ResponseWriter, q *Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := range n {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"tok%d \"}}]}\n\n", i)
		}
		io.WriteString(w, "data: [DONE]\n\n")
	}
}

// Huge answers with one JSON document of about size bytes.
func Huge(size int) Script {
	return func(w http.ResponseWriter, q *Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"`)
		block := strings.Repeat("x", 32<<10)
		for left := size; left > 0 && q.Context().Err() == nil; left -= len(block) {
			io.WriteString(w, block[:min(left, len(block))])
		}
		io.WriteString(w, `"}}],"usage":{"prompt_tokens":11,"completion_tokens":9}}`)
	}
}

// Fixed answers every request alike.
func Fixed(status int, contentType, body string) Script {
	return func(w http.ResponseWriter, q *Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// Raw writes the bytes of a whole HTTP answer as they are, for header
// spellings that Go's server would tidy, and then closes the connection.
func Raw(answer string) Script {
	return func(w http.ResponseWriter, q *Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, answer)
	}
}

// Spelled answers one JSON document under the given spelling of the length
// header, content-length or Content-Length.
func Spelled(lengthHeader, body string) Script {
	return Raw(fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%s: %d\r\n\r\n%s", lengthHeader, len(body), body))
}

// AppendEvents appends documents to dst as server-sent events.
func AppendEvents(dst []byte, documents ...string) []byte {
	for _, d := range documents {
		dst = append(append(append(dst, "data: "...), d...), "\n\n"...)
	}
	return dst
}

// BreakOff sends the events and cuts the connection, except where the request
// holds the text: then the answer ends as it should.
func BreakOff(events []byte, unless string) Script {
	return func(w http.ResponseWriter, q *Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(events)
		flush(w)
		if unless == "" || !bytes.Contains(q.Payload, []byte(unless)) {
			panic(http.ErrAbortHandler)
		}
		w.Write([]byte("data: [DONE]\n\n"))
	}
}
