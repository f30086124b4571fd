package client

import (
	"bytes"
	"strings"

	"github.com/opencocoon/cocoon/openai"
)

// splicer makes one stream of the parts of an answer that several workers gave.
// It lets only whole events pass, and of parts behind the first none of what an
// answer says once: its own id, who speaks, the beginning. What was delivered is
// kept until the answer has ended. Not for concurrent use.
type splicer struct {
	chat   bool
	memory *budget
	split  *openai.Splitter
	out    []byte
	unfit  string // why the answer cannot be gone on with, in words that quote nothing of it

	head openai.Head
	text []byte // delivered so far; nil once it is of no use
	held int64  // bytes of text, taken from memory
	most int64  // that may be held

	role           bool          // the answer has said who speaks
	finished, done bool          // the answer has said why it ends, and that it has ended
	broke          *openai.Error // what came in place of the rest

	// Of the part at hand.
	part   int    // 0 is the first
	deltas int64  // chunks with text, each of a token at least
	blanks int64  // those of them at its end that hold nothing but white space
	told   int64  // tokens, as the engine counts them
	owed   string // white space that was delivered, and will come again

	odd    []byte // events that cannot be read: an answer's own, or what was cut off before an error
	last   bool   // the pieces are what is left at a part's end
	astray bool   // it is not the rest of the answer

	before func(prompt int64) openai.Usage // what earlier parts used, by how long the prompt of this one is
}

func newSplicer(chat bool, memory *budget, most int64, unfit string) *splicer {
	return &splicer{chat: chat, memory: memory, most: most, unfit: unfit, split: openai.NewSplitter(openai.SSE, 0)}
}

// feed takes what has come of a part; end means that no more of it does. It
// returns what the caller gets of it.
func (s *splicer) feed(chunks [][]byte, end bool) []byte {
	s.out = nil
	for _, chunk := range chunks {
		s.split.Feed(chunk, s.piece)
	}
	if end {
		s.last = true
		s.split.Close(s.piece)
		if s.last = false; s.done || s.finished {
			s.pass()
		}
	}
	return s.out
}

func (s *splicer) piece(p openai.Piece) {
	var c *openai.Chunk
	err := error(nil)
	if p.JSON != nil {
		c, err = openai.ReadChunk(p.JSON)
	}
	raw := bytes.Trim(p.Raw, "\r\n")
	odd := err != nil || c == nil && !p.Done && !bytes.HasPrefix(raw, []byte(":"))
	switch {
	case s.broke != nil, len(raw) == 0:
	case c != nil && c.Failed != nil:
		s.broke, s.odd = c.Failed, nil
	case odd && s.last: // it was cut off
	case odd:
		s.odd = append(s.odd, p.Raw...)
	default:
		s.pass()
		if c != nil {
			s.chunk(p, c)
			return
		}
		if s.done = s.done || p.Done; p.Done {
			s.out = openai.AppendDocument(s.out, openai.SSE, []byte("[DONE]"))
		} else if !s.last {
			s.out = append(s.out, p.Raw...) // a comment
		}
	}
}

// pass lets events go that could not be read, because what follows shows that
// they are no front of an event that was cut off.
func (s *splicer) pass() {
	if len(s.odd) > 0 {
		s.forget("it holds an event that is none of an answer's")
		s.out = append(s.out, s.odd...)
		s.odd = nil
	}
}

func (s *splicer) chunk(p openai.Piece, c *openai.Chunk) {
	switch {
	case c.Beyond == openai.Reasoning && s.part > 0:
		// What it thinks now is not what the answer's beginning came from.
		s.broke, s.astray = openai.BadGateway(openai.CodeBadAnswer, "the worker that went on began with reasoning"), true
		return
	case c.Beyond != "":
		s.forget("it holds " + c.Beyond)
	}
	s.count(c)
	if s.head.ID == nil {
		s.head = c.Head()
	}
	again := s.role
	s.role = s.role || c.Role
	if s.part == 0 {
		s.keep(c.Text, c.Finish)
		if s.last {
			s.out = openai.AppendDocument(s.out, openai.SSE, c.Bytes()) // its end was cut off, and more may come
			return
		}
		s.out = append(s.out, p.Raw...)
		return
	}
	rest := s.settle(c.Text)
	s.keep(rest, c.Finish)
	if !c.Rest(rest, !again) {
		return
	}
	c.SetHead(s.head)
	if c.Usage != nil {
		c.AddUsage(s.before(c.Usage.PromptTokens))
	}
	s.out = openai.AppendDocument(s.out, openai.SSE, c.Bytes())
}

// count follows how many tokens the part has.
func (s *splicer) count(c *openai.Chunk) {
	if c.Usage != nil {
		s.told = max(s.told, c.Usage.CompletionTokens)
	}
	if c.Text == "" {
		return
	}
	s.deltas++
	if s.blanks++; strings.TrimSpace(c.Text) != "" {
		s.blanks = 0
	}
}

// tokens is how many the part has, as far as is known.
func (s *splicer) tokens() int64 { return max(s.deltas, s.told) }

// settle takes away what a new part repeats of the white space that was delivered.
func (s *splicer) settle(text string) string {
	n := 0
	for n < len(text) && n < len(s.owed) && text[n] == s.owed[n] {
		n++
	}
	if s.owed = s.owed[n:]; n < len(text) {
		s.owed = "" // it writes on in another way
	}
	return text[n:]
}

// keep remembers what is delivered, up to the answer's end.
func (s *splicer) keep(text string, finish bool) {
	if s.finished = s.finished || finish; s.finished {
		s.release()
	}
	switch n := int64(len(text)); {
	case s.finished, s.unfit != "", n == 0:
	case s.held+n > s.most:
		s.forget("it is too long to be sent as a part of a request")
	case !s.memory.take(n):
		s.forget("this gateway holds as much as it may")
	default:
		s.held += n
		s.text = append(s.text, text...)
	}
}

// forget gives up that the answer could be gone on with. The first reason counts.
func (s *splicer) forget(why string) {
	if s.unfit == "" {
		s.unfit = why
	}
	s.release()
}

func (s *splicer) release() {
	s.memory.give(s.held)
	s.text, s.held = nil, 0
}

// wasComplete says whether a part that has ended, perhaps in trouble, has left
// nothing to say.
func (s *splicer) wasComplete(failed bool) bool {
	return s.done || s.finished || !failed && s.broke == nil && s.unfit != ""
}

// next makes ready for the part that goes on behind what is there; sent is how
// much of it the worker was told.
func (s *splicer) next(sent int) {
	s.owed = string(s.text[sent:])
	s.part++
	s.deltas, s.blanks, s.told, s.broke, s.odd, s.astray = 0, 0, 0, nil, nil, false
	s.split = openai.NewSplitter(openai.SSE, 0)
}

// beginning is what a worker that goes on is told of the text, and how many of
// the part's tokens are not in it. Templates of chats take white space from the
// end of a message, and a word's blank by itself is another token than the word
// with it: the worker writes it again, and settle takes it away.
func (s *splicer) beginning() (text string, less int64) {
	if !s.chat {
		return string(s.text), 0
	}
	return strings.TrimRight(string(s.text), " \t\r\n"), s.blanks
}
