package attest

import (
	"fmt"
	"strings"
)

// Level is what a verdict rests on, as one rung of a ladder: a higher level
// proves all that a lower one does, and levels compare with < and >.
type Level int

// The ladder. Up to LevelSimulated a verdict proves nothing about hardware.
const (
	LevelRefused    Level = iota // a check failed
	LevelNone                    // no evidence
	LevelFake                    // a hash of the key
	LevelSimulated               // genuine structure under a test root
	LevelRelayed                 // a router on this machine has judged
	LevelUnknownTCB              // genuine machine; nobody says whether its firmware is in order
	LevelAttested                // genuine machine, firmware in order
	LevelImage                   // and its image is one that a list names
	LevelGPU                     // and its GPUs are genuine, confidential, and bound to it
	LevelWeights                 // and the weights it serves are measured
)

// rungs are the levels' names, for settings, and what they mean, for people.
var rungs = [...]struct{ name, text string }{
	LevelRefused:    {"refused", "refused"},
	LevelNone:       {"none", "INSECURE: no attestation"},
	LevelFake:       {"fake", "INSECURE: fake evidence, proves only that the peer has its key"},
	LevelSimulated:  {"simulated", "INSECURE: simulated TDX under a test root, anyone with its files can look inside"},
	LevelRelayed:    {"relayed", "relayed: judged by the router on this machine"},
	LevelUnknownTCB: {"unknown-tcb", "genuine machine, platform state UNKNOWN (no collateral)"},
	LevelAttested:   {"attested", "attested: genuine machine, platform in order"},
	LevelImage:      {"image", "attested: genuine machine, platform in order, image listed"},
	LevelGPU:        {"gpu", "attested: genuine machine and GPUs, platform in order, image listed"},
	LevelWeights:    {"weights", "attested: genuine machine and GPUs, platform in order, image listed, model weights measured"},
}

// String says what the level means.
func (l Level) String() string { return l.rung().text }

// Name is the level's short name, as ParseLevel reads it.
func (l Level) Name() string { return l.rung().name }

func (l Level) rung() struct{ name, text string } {
	if l < 0 || int(l) >= len(rungs) {
		return rungs[LevelRefused]
	}
	return rungs[l]
}

// ParseLevel reads a level's short name, or what String says of it, as in the
// JSON of a verdict. Empty is LevelRefused, below which nothing is.
func ParseLevel(name string) (Level, error) {
	var names []string
	for l, r := range rungs {
		if r.name == name || r.text == name {
			return Level(l), nil
		}
		names = append(names, r.name)
	}
	if name == "" {
		return LevelRefused, nil
	}
	return LevelRefused, fmt.Errorf("level %q is none of %s", name, strings.Join(names[1:], ", "))
}

// MarshalText gives the short name, for settings.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.Name()), nil }

// UnmarshalText is ParseLevel.
func (l *Level) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLevel(string(text))
	return err
}
