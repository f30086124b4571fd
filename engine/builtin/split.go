package builtin

import (
	"unicode"
	"unicode/utf8"
)

// digitRun is how many digits may stay together, by the name that GGUF files
// give to their splitting rule. All else is the same in these rules.
var digitRun = map[string]int{"qwen2": 1, "llama-bpe": 3}

// split cuts text into the words inside which byte pairs are merged. It is the
// regular expression that these vocabularies were trained with, by hand, since
// package regexp has no lookahead:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)  |  [^\r\n\p{L}\p{N}]?\p{L}+  |  \p{N}{1,digits}
//	|  ?[^\s\p{L}\p{N}]+[\r\n]*   |  \s*[\r\n]+  |  \s+(?!\S)  |  \s+
func split(text string, digits int, emit func(word string)) {
	for len(text) > 0 {
		n := contraction(text)
		for _, rule := range [...]func(string) int{letters, numerals(digits), marks, lines, spaces} {
			if n == 0 {
				n = rule(text)
			}
		}
		emit(text[:n])
		text = text[n:]
	}
}

// run returns the length of the longest prefix of runes in the class, up to
// limit runes (0 = any number).
func run(s string, limit int, class func(rune) bool) int {
	n := 0
	for i := 0; n < len(s) && (limit == 0 || i < limit); i++ {
		r, size := utf8.DecodeRuneInString(s[n:])
		if !class(r) {
			break
		}
		n += size
	}
	return n
}

func isNewline(r rune) bool { return r == '\r' || r == '\n' }
func isMark(r rune) bool    { return !unicode.IsSpace(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) }

func contraction(s string) int {
	if s[0] != '\'' {
		return 0
	}
	for _, c := range [...]string{"s", "t", "re", "ve", "m", "ll", "d"} {
		if len(s) > len(c) && equalFold(s[1:1+len(c)], c) {
			return 1 + len(c)
		}
	}
	return 0
}

// equalFold compares ASCII letters without their case; lower is lower case.
func equalFold(s, lower string) bool {
	for i := range len(lower) {
		if s[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

func letters(s string) int {
	first, lead := utf8.DecodeRuneInString(s)
	if unicode.IsLetter(first) || isNewline(first) || unicode.IsNumber(first) {
		lead = 0
	}
	if n := run(s[lead:], 0, unicode.IsLetter); n > 0 {
		return lead + n
	}
	return 0
}

func numerals(digits int) func(string) int {
	return func(s string) int { return run(s, digits, unicode.IsNumber) }
}

func marks(s string) int {
	lead := 0
	if s[0] == ' ' {
		lead = 1
	}
	n := run(s[lead:], 0, isMark)
	if n == 0 {
		return 0
	}
	n += lead
	return n + run(s[n:], 0, isNewline)
}

// lines matches white space up to its last line break.
func lines(s string) int {
	for n := run(s, 0, unicode.IsSpace); n > 0; n-- {
		if isNewline(rune(s[n-1])) {
			return n
		}
	}
	return 0
}

// spaces leaves the last white space to the word behind it.
func spaces(s string) int {
	n := run(s, 0, unicode.IsSpace)
	_, last := utf8.DecodeLastRuneInString(s[:n])
	if n < len(s) && n > last {
		return n - last
	}
	return n
}
