package worker

import "strings"

// oddity is a set of things an engine should not report. They are shown in
// the debug record and counted; what they do to the bill is said at [meter].
type oddity uint8

const (
	oddUncountable oddity = 1 << iota
	oddDecreasing
	oddPrompt
	oddLimit
	oddText
	oddZero
)

var oddNames = []string{
	"usage is not countable", "usage decreased", "prompt above the size of its request",
	"completion above the caller's limit", "completion above the text delivered", "no completion tokens for text",
}

// names lists what is set, for people.
func (o oddity) names() []string {
	var names []string
	for i, name := range oddNames {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func (o oddity) String() string { return strings.Join(o.names(), ", ") }
