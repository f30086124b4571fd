package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// settings reads a verb's settings from its flags, from COCOON_* variables
// and from a JSON file, in this order of precedence. A key of the file is a
// flag's name with "_" for "-"; a variable is COCOON_ and that in capitals.
type settings struct {
	cmd *cobra.Command
	// flags are the verb's own flags.
	flags *pflag.FlagSet
	// secrets can be given by file and environment only: a command line can
	// be read by everybody on the machine.
	secrets *pflag.FlagSet
	// renamed maps key names of the reference network's configuration files
	// to flags; the function, if any, translates the value.
	renamed map[string]rename
	// structured are keys whose values are lists and objects, which no flag
	// can say; the error names the places.
	structured map[string]func(json.RawMessage) error
	// unused lists keys of those files that have no meaning here.
	unused []string
	// idle are those of them that the file does have.
	idle   []string
	config *string
}

type rename struct {
	flag string
	to   func(string) (string, error)
}

// newSettings gives cmd a --config flag and prepares its settings.
func newSettings(cmd *cobra.Command) *settings {
	s := &settings{cmd: cmd, flags: cmd.Flags(), secrets: pflag.NewFlagSet("", pflag.ContinueOnError), renamed: map[string]rename{}}
	s.config = s.flags.StringP("config", "c", "", "read settings from this JSON `file`; every flag is a key, with _ for -")
	return s
}

// problems collects everything that is wrong, so that a person fixes it in
// one go.
type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// err is nil or one usage error naming all problems.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return usageError{errors.New(strings.Join(p, "; "))}
}

// load fills every setting that the command line left alone. The verb adds
// its own findings to the problems returned.
func (s *settings) load(environ []string) problems {
	var p problems
	given := map[string]bool{}
	s.flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	s.loadEnvironment(environ, given, &p)
	if *s.config != "" {
		s.loadFile(*s.config, given, &p)
	}
	return p
}

func (s *settings) lookup(name string) *pflag.Flag {
	if f := s.flags.Lookup(name); f != nil {
		return f
	}
	return s.secrets.Lookup(name)
}

func (s *settings) loadEnvironment(environ []string, given map[string]bool, p *problems) {
	known := settingNames(s.cmd.Root())
	for _, e := range environ {
		key, value, _ := strings.Cut(e, "=")
		name, ours := strings.CutPrefix(key, "COCOON_")
		if !ours {
			continue
		}
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		f := s.lookup(name)
		switch {
		case f == nil && !known[name]:
			p.add("environment: %s is no setting of any verb", key)
		case f == nil || given[name]: // meant for another verb, or overruled
		default:
			given[name] = true
			if err := s.set(f, value); err != nil {
				p.add("environment: %s: %v", key, err)
			}
		}
	}
}

func (s *settings) loadFile(file string, given map[string]bool, p *problems) {
	b, err := os.ReadFile(file)
	if err != nil {
		p.add("config: %v", err)
		return
	}
	members, err := topLevel(b)
	if err != nil {
		p.add("%s: %v", file, err)
	}
	for _, m := range members {
		if read := s.structured[m.key]; read != nil {
			if err := read(m.value); err != nil {
				p.add("%s: %v", file, err)
			}
			continue
		}
		if err := s.setMember(m, given); err != nil {
			p.add("%s: %s: %v", file, m.key, err)
		}
	}
}

var errUnknownKey = errors.New("unknown key")

// setMember sets the flag that a member of the file names, unless a flag or
// variable has set it already.
func (s *settings) setMember(m member, given map[string]bool) error {
	name := strings.ReplaceAll(m.key, "_", "-")
	r, renamed := s.renamed[m.key]
	if renamed {
		name = r.flag
	}
	f := s.lookup(name)
	switch {
	case slices.Contains(s.unused, m.key):
		s.idle = append(s.idle, m.key)
		return nil
	case f == nil || name == "config" || strings.Contains(m.key, "-"):
		return errUnknownKey
	case given[name] || string(m.value) == "null":
		return nil
	}
	if list, ok := f.Value.(pflag.SliceValue); ok && m.value[0] == '[' {
		var values []string
		if err := json.Unmarshal(m.value, &values); err != nil {
			return errors.New("want a list of strings")
		}
		return list.Replace(values)
	}
	text, err := scalar(m.value)
	if err == nil && renamed && r.to != nil {
		text, err = r.to(text)
	}
	if err != nil {
		return err
	}
	return s.set(f, text)
}

// set sets a setting; its errors do not quote secrets.
func (s *settings) set(f *pflag.Flag, text string) error {
	switch err := f.Value.Set(text); {
	case err == nil:
		return nil
	case s.secrets.Lookup(f.Name) != nil:
		return errors.New("malformed (its value is not shown)")
	default:
		return fmt.Errorf("got %q, want %s", text, f.Value.Type())
	}
}

// scalar turns a JSON string, number or boolean into the text a flag takes.
func scalar(raw json.RawMessage) (string, error) {
	switch raw[0] {
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err
	case '{', '[':
		return "", errors.New("want a string, a number or a boolean")
	default:
		return string(raw), nil
	}
}

type member struct {
	key   string
	value json.RawMessage
}

// topLevel reads a JSON object's members in order; a key that occurs twice
// is an error, because one of the two is not what its writer believes.
func topLevel(b []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var members []member
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return members, fmt.Errorf("malformed JSON at byte %d", dec.InputOffset())
		}
		m := member{key: t.(string)} // a key is always a string
		if err := dec.Decode(&m.value); err != nil {
			return members, fmt.Errorf("%s: malformed JSON", m.key)
		}
		if slices.ContainsFunc(members, func(o member) bool { return o.key == m.key }) {
			return members, fmt.Errorf("%s: the key occurs twice", m.key)
		}
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return members, errors.New("malformed JSON: the object does not end")
	}
	if _, err := dec.Token(); err != io.EOF {
		return members, errors.New("something follows the JSON object")
	}
	return members, nil
}

// readSecretFile reads a secret from a file of its own, without the newline
// that editors leave.
func readSecretFile(name string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}
