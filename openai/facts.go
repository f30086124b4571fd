package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Abilities is a set of things that a model can do beside text, or that a request needs.
type Abilities uint32

const (
	// Told is set by all who say what they can do: without it nobody knows.
	Told Abilities = 1 << iota
	// Tools means that it understands definitions of tools.
	Tools
	// Vision means that questions may have pictures.
	Vision
	// Structured means that answers can be held to a JSON schema.
	Structured
	// Audio means that questions may have sound.
	Audio
	// CanReason means that it can be told how hard to think.
	CanReason

	// AllAbilities are those that have a name here.
	AllAbilities = CanReason<<1 - 1
)

// abilityNames are of the bits above Told. Text is everybody's, and says that there is nothing else.
var abilityNames = []string{"tools", "vision", "structured", "audio", "reasoning"}

const textOnly = "text"

// Names lists the set; nil if nobody knows, and "text" if there is nothing beside.
func (a Abilities) Names() []string {
	var names []string
	for i, name := range abilityNames {
		if a&(Tools<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil && a&Told != 0 {
		names = []string{textOnly}
	}
	return names
}

func (a Abilities) String() string { return strings.Join(a.Names(), ", ") }

// ParseAbilities reads names. None is unknown, and the set of any other list is Told.
func ParseAbilities(names []string) (set Abilities, err error) {
next:
	for _, name := range names {
		set |= Told
		if name == textOnly {
			continue
		}
		for i, known := range abilityNames {
			if name == known {
				set |= Tools << i
				continue next
			}
		}
		return 0, fmt.Errorf("capability %q: want %s or %s", name, textOnly, strings.Join(abilityNames, ", "))
	}
	return set, nil
}

const (
	// MaxContext is the longest context that is believed, in tokens.
	MaxContext = 1 << 24
	// MaxRegion is how long the name of a region may be, in bytes.
	MaxRegion = 32
)

// Facts are what a worker can do and where it is, or what a request takes and where its caller is.
type Facts struct {
	// Context is how many tokens a question and its answer may have together; 0 is unknown.
	Context int
	Can     Abilities
	// Region is such as "eu" or "eu-west"; empty is unknown.
	Region string
}

// Check says what cannot be believed.
func (f *Facts) Check() error {
	switch {
	case f.Context < 0 || f.Context > MaxContext:
		return fmt.Errorf("a context of %d tokens, want 0 to %d", f.Context, MaxContext)
	case !IsRegion(f.Region):
		return fmt.Errorf("region %.40q, want at most %d small letters, digits and hyphens", f.Region, MaxRegion)
	}
	return nil
}

// ReadFacts takes a peer's word about itself, as the network carries it. Of
// abilities that have no name here nothing is kept.
func ReadFacts(context, capabilities int32, region string) (Facts, error) {
	f := Facts{int(context), Abilities(capabilities) & AllAbilities, region}
	if err := f.Check(); err != nil {
		return Facts{}, err
	}
	if f.Can != 0 && f.Can&Told == 0 {
		return Facts{}, errors.New("capabilities without the bit that they are told")
	}
	return f, nil
}

// IsRegion says whether the text can name a region. The empty one can.
func IsRegion(s string) bool {
	return len(s) <= MaxRegion && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Needs is what the body of a request takes, as far as it can be read, and how long its question
// is in tokens, by estimate. The context counts the question cautiously, so that no estimate keeps
// anybody from an engine that could do it, and of the answer only a limit that the body names.
func Needs(body []byte) (f Facts, prompt int64) {
	doc, err := ParseObject(body)
	if err != nil {
		return Facts{}, 0
	}
	var s sizes
	s.parts(doc.Get("prompt"))
	for message := range Elements(doc.Get("messages")) {
		m, err := ParseObject(message)
		if err != nil {
			continue
		}
		s.tokens += perMessage
		s.parts(m.Get("content"))
	}
	if tools := doc.Get("tools"); len(tools) > 2 && tools[0] == '[' {
		s.can |= Tools
		s.text(tools)
	}
	if r, err := ParseObject(doc.Get("response_format")); err == nil && string(r.Get("type")) == `"json_schema"` {
		s.can |= Structured
	}
	var limit int64
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		if n := int64(0); json.Unmarshal(doc.Get(name), &n) == nil {
			limit = max(limit, n)
		}
	}
	f.Context, f.Can = int(min(s.atLeast+max(limit, 0), MaxContext)), s.can
	return f, s.tokens
}

// What a part of a question counts.
const (
	perMessage = 4   // its role and what encloses it
	perPicture = 500 // tokens; anything from 85 to some thousands
	perWord    = 4   // bytes of a token of Latin text, as a rule
	perWordMax = 6   // which few texts exceed
)

// sizes sums up the parts of a question.
type sizes struct {
	tokens, atLeast int64
	can             Abilities
}

// parts counts a text, or a list of texts and other parts.
func (s *sizes) parts(raw []byte) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
	case raw[0] == '"':
		s.text(raw)
	case raw[0] == '[':
		for part := range Elements(raw) {
			s.part(bytes.TrimSpace(part))
		}
	}
}

func (s *sizes) part(raw []byte) {
	switch {
	case len(raw) == 0:
	case raw[0] == '"':
		s.text(raw)
	case raw[0] >= '0' && raw[0] <= '9': // a prompt in tokens
		s.tokens++
		s.atLeast++
	case raw[0] == '[':
		s.parts(raw)
	case raw[0] == '{':
		p, err := ParseObject(raw)
		if err != nil {
			return
		}
		switch string(p.Get("type")) {
		case `"image_url"`, `"input_image"`:
			s.can |= Vision
			s.tokens += perPicture
		case `"input_audio"`:
			s.can |= Audio
			s.tokens += perPicture
		default:
			s.text(p.Get("text"))
		}
	}
}

// text counts a text in its quotes. Of scripts other than Latin a character is about a token.
func (s *sizes) text(raw []byte) {
	wide := int64(0)
	for i := 0; i < len(raw); {
		if raw[i] < utf8.RuneSelf {
			i++
			continue
		}
		_, n := utf8.DecodeRune(raw[i:])
		i += n
		wide++
	}
	latin := max(int64(len(raw))-2-2*wide, 0)
	s.tokens += (latin+perWord-1)/perWord + wide
	s.atLeast += latin/perWordMax + wide/4
}
