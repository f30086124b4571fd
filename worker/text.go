package worker

import (
	"bytes"

	"github.com/opencocoon/cocoon/openai"
)

// Estimates of token counts, for engines that tell none. A token of today's
// vocabularies stands for about four bytes of text. These are guesses and
// every answer that carries one says "estimated".
const bytesPerToken = 4

// longToken is a length, in bytes, that the tokens of a text seldom exceed on average.
const longToken = 8

// bytesPerAudioToken and mediaTokens stand for what is no text: a recording
// at usual bit rates gives about 16 tokens per second, an image some hundreds
// however many bytes encode it.
const (
	bytesPerAudioToken = 1 << 10
	mediaTokens        = 256
)

func tokensOf(textBytes int64) int64 { return (textBytes + bytesPerToken - 1) / bytesPerToken }

// estimatePrompt guesses the prompt's tokens from the request's body, erring
// a little upwards by counting names and punctuation as well.
func (r *request) estimatePrompt() int64 {
	if r.form {
		return max(int64(len(r.payload))/bytesPerAudioToken, 1)
	}
	n, media := int64(len(r.payload)), int64(0)
	eachString(r.payload, func(name, value []byte) {
		switch string(name) {
		case "url", "data", "file_data":
			n -= int64(len(value))
			media++
		}
	})
	return max(tokensOf(n)+media*mediaTokens, 1)
}

// spoken counts the bytes of text that a document of the answer adds. A
// transcription says its text once as a whole and again in segments.
func (r *request) spoken(doc []byte) int64 {
	if !r.form {
		return spoken(doc)
	}
	if o, err := openai.ParseObject(doc); err == nil {
		return int64(max(len(o.Get("text"))-2, 0))
	}
	return 0
}

// spoken counts the bytes that a document adds to the answer's text: content,
// reasoning, refusals and the arguments of tools. Escapes count as written.
func spoken(doc []byte) (n int64) {
	eachString(doc, func(name, value []byte) {
		switch string(name) {
		case "content", "text", "reasoning_content", "reasoning", "refusal", "arguments":
			n += int64(len(value))
		}
	})
	return n
}

// inked counts the bytes that are not white space.
func inked(text []byte) (n int64) {
	for _, c := range text {
		if c > ' ' {
			n++
		}
	}
	return n
}

// eachString calls f for each member of doc, at any depth, whose value is a
// string; both come without quotes and with escapes as written. It is one quick
// pass for estimates: bad JSON gives odd strings, never a panic.
func eachString(doc []byte, f func(name, value []byte)) {
	for i := 0; i < len(doc); i++ {
		if doc[i] != '"' {
			continue
		}
		name, end := quoted(doc, i)
		i = skip(doc, end)
		if i >= len(doc) || doc[i] != ':' {
			i--
			continue
		}
		i = skip(doc, i+1)
		if i >= len(doc) || doc[i] != '"' {
			i--
			continue
		}
		value, end := quoted(doc, i)
		f(name, value)
		i = end - 1
	}
}

// quoted reads the string that opens at doc[i] and returns it with the offset
// behind its closing quote.
func quoted(doc []byte, i int) (s []byte, end int) {
	from := i + 1
	for at := from; ; at++ {
		n := bytes.IndexByte(doc[at:], '"')
		if n < 0 {
			return doc[from:], len(doc)
		}
		at += n
		if !escaped(doc[from:at]) {
			return doc[from:at], at + 1
		}
	}
}

// escaped reports whether the byte behind s is escaped: an odd number of
// backslashes precede it.
func escaped(s []byte) bool {
	n := 0
	for n < len(s) && s[len(s)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

func skip(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}
