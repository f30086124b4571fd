package openai

import "errors"

// maxDepth bounds nesting: a document of nothing but brackets must not cost a
// stack. Schemas of real requests nest a few dozen levels.
const maxDepth = 512

var (
	errSyntax = errors.New("not valid JSON")
	errDepth  = errors.New("JSON nested deeper than 512 levels")
)

// skipValue returns the offset behind the JSON value that starts at b[i], which
// it validates completely (RFC 8259; like encoding/json it leaves UTF-8 alone).
func skipValue(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return i, errSyntax
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{':
		return skipObject(b, i, depth)
	case c == '[':
		return skipArray(b, i, depth)
	case c == '-' || c >= '0' && c <= '9':
		return skipNumber(b, i)
	case c == 't':
		return skipWord(b, i, "true")
	case c == 'f':
		return skipWord(b, i, "false")
	case c == 'n':
		return skipWord(b, i, "null")
	}
	return i, errSyntax
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func skipWord(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, errSyntax
	}
	return i + len(word), nil
}

func skipString(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c < ' ':
			return i, errSyntax
		case c == '\\':
			n := skipEscape(b[i+1:])
			if n == 0 {
				return i, errSyntax
			}
			i += n
		}
	}
	return i, errSyntax
}

// skipEscape returns the length of the escape behind a backslash, 0 if wrong.
func skipEscape(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(b) < 5 {
			return 0
		}
		for _, c := range b[1:5] {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return 0
			}
		}
		return 5
	}
	return 0
}

func skipNumber(b []byte, i int) (int, error) {
	if b[i] == '-' {
		i++
	}
	start := i
	i = skipDigits(b, i)
	if i == start || b[start] == '0' && i > start+1 {
		return i, errSyntax
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = skipDigits(b, start); i == start {
			return i, errSyntax
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(b, start); i == start {
			return i, errSyntax
		}
	}
	return i, nil
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func skipArray(b []byte, i, depth int) (int, error) {
	if depth >= maxDepth {
		return i, errDepth
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := skipValue(b, skipSpace(b, i), depth+1)
		if err != nil {
			return end, err
		}
		i = skipSpace(b, end)
		switch {
		case i < len(b) && b[i] == ',':
			i++
		case i < len(b) && b[i] == ']':
			return i + 1, nil
		default:
			return i, errSyntax
		}
	}
}

func skipObject(b []byte, i, depth int) (int, error) {
	return walkObject(b, i, depth, nil)
}

// walkObject validates the object at b[i] and tells each member's span: of its
// name with quotes, and of its value.
func walkObject(b []byte, i, depth int, member func(name, nameEnd, value, end int) error) (int, error) {
	if depth >= maxDepth {
		return i, errDepth
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		i = skipSpace(b, i)
		if i >= len(b) || b[i] != '"' {
			return i, errSyntax
		}
		name := i
		nameEnd, err := skipString(b, i)
		if err != nil {
			return nameEnd, err
		}
		if i = skipSpace(b, nameEnd); i >= len(b) || b[i] != ':' {
			return i, errSyntax
		}
		value := skipSpace(b, i+1)
		end, err := skipValue(b, value, depth+1)
		if err != nil {
			return end, err
		}
		if member != nil {
			if err := member(name, nameEnd, value, end); err != nil {
				return end, err
			}
		}
		i = skipSpace(b, end)
		switch {
		case i < len(b) && b[i] == ',':
			i++
		case i < len(b) && b[i] == '}':
			return i + 1, nil
		default:
			return i, errSyntax
		}
	}
}
