package openai

import "strings"

// IsHeaderName says whether the bytes can name a header; RFC 9110 section 5.6.2.
func IsHeaderName[T string | []byte](name T) bool {
	for i := range len(name) {
		c := name[i]
		alpha := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alpha && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(name) > 0
}

// IsHeaderValue says whether the bytes can stand in one line of a head.
func IsHeaderValue[T string | []byte](value T) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
