package router

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
)

// plan is checked settings, ready to run. It is not changed.
type plan struct {
	rules   map[string]*rule
	named   map[string]bool // policies that a SOCKS5 user may name
	ports   []Port          // with nothing left open
	form    ratls.Generation
	records bool // some port writes them
	bind    string
	limits  Limits
	later   bool // not the first: peers may have been judged by another
}

// AddFile adds what a configuration file says behind what the command line
// has said: a policy of the same name is overruled, and the file's ports
// count only if the command line has none, as at the reference.
func (s *Settings) AddFile(policies []Policy, ports []Port) Problems {
	var p Problems
	given := len(s.Policies)
	for _, y := range policies {
		switch same := func(o Policy) bool { return o.Name == y.Name }; {
		case slices.ContainsFunc(s.Policies[:given], same):
		case builtin(y.Name):
			p.add("policy "+y.Name, "the name is built in, and the reference ignores such a policy; choose another")
		case slices.ContainsFunc(s.Policies[given:], same):
			p.add("policy "+y.Name, "the name occurs twice")
		default:
			s.Policies = append(s.Policies, y)
		}
	}
	if len(s.Ports) == 0 {
		s.Ports = ports
	}
	return p
}

// Forms of the record, by the release whose names a policy uses.
type form int

const (
	formEither form = iota
	formBase
	formCurrent
)

func formOf(policyType string) form {
	switch policyType {
	case typeFakeTDX, typeTDX:
		return formBase
	case typeFakeTEE, typeTEE:
		return formCurrent
	}
	return formEither
}

func builtin(name string) bool { return name == typeAny || formOf(name) != formEither }

// Check reports everything that is wrong, or nil.
func (s *Settings) Check() error {
	_, err := s.plan(attest.Policy{})
	return err
}

// plan checks settings and makes them ready; base holds what all policies
// share. The error is Problems.
func (s *Settings) plan(base attest.Policy) (*plan, error) {
	var p Problems
	out := &plan{rules: map[string]*rule{}, named: map[string]bool{}, limits: s.Limits.withDefaults(), bind: s.BindAddress}
	for _, y := range s.Policies {
		if out.named[y.Name] {
			p.add("policy "+y.Name, "the name occurs twice")
		}
		out.rules[y.Name], out.named[y.Name] = y.rule(base, s, &p), true
	}
	for _, o := range s.Ports {
		if out.rules[o.Policy] == nil && builtin(o.Policy) {
			out.rules[o.Policy] = Policy{Name: o.Policy, Type: o.Policy}.rule(base, s, &p)
		}
		out.addPort(o, &p)
	}
	if len(s.Ports) == 0 {
		p = append(p, "no ports: give -S, -F or -R, or a configuration file with ports")
	}
	out.chooseForm(s.Record, &p)
	s.checkRest(&p)
	if len(p) > 0 {
		return nil, p
	}
	return out, nil
}

func (l *plan) addPort(o Port, p *Problems) {
	path := fmt.Sprintf("port %d", o.Port)
	fixed := o.Type == typeForward || o.Type == typeReverse
	switch {
	case o.Type != typeSOCKS5 && !fixed:
		p.add(path, "type %q, want socks5, forward or reverse", o.Type)
	case fixed && o.DestinationHost == "":
		p.add(path, "destination_host: missing")
	case fixed && (o.DestinationPort < 1 || o.DestinationPort > 65535):
		p.add(path, "destination_port %d, want 1 to 65535", o.DestinationPort)
	case !fixed && (o.DestinationHost != "" || o.DestinationPort != 0):
		p.add(path, "a destination, which at a socks5 port the program names itself")
	}
	if o.Port < 0 || o.Port > 65535 {
		p.add(path, "want 0 to 65535")
	}
	if o.PolicyFromUser && o.Type != typeSOCKS5 {
		p.add(path, "allow_policy_from_username: only a socks5 port has user names")
	}
	if l.rules[o.Policy] == nil {
		p.add(path, "policy_name %q is no policy", o.Policy)
	}
	if o.Port != 0 && slices.ContainsFunc(l.ports, func(e Port) bool { return e.Port == o.Port }) {
		p.add(path, "occurs twice")
	}
	o.Difficulty = bits(o.Difficulty, 20, path+": pow_difficulty", p)
	o.MaxDifficulty = bits(o.MaxDifficulty, 28, path+": max_pow_difficulty", p)
	l.records = l.records || o.Record
	l.ports = append(l.ports, o)
}

func bits(given *int, fallback int, path string, p *Problems) *int {
	if given == nil {
		return &fallback
	}
	if *given < 0 || *given > 64 {
		p.add(path, "%d, want 0 to 64 bits", *given)
	}
	return given
}

// chooseForm settles the form of records. A router and the programs behind it
// must be of one release (current.md 6.3).
func (l *plan) chooseForm(given string, p *Problems) {
	var base, current bool
	for _, o := range l.ports {
		if r := l.rules[o.Policy]; r != nil {
			base, current = base || formOf(r.Type) == formBase, current || formOf(r.Type) == formCurrent
		}
	}
	l.form = ratls.GenerationBase
	switch {
	case given == "current", given == "" && current:
		l.form = ratls.GenerationCurrent
	case given != "base" && given != "":
		p.add("record", "%q, want base or current", given)
	}
	if given == "" && base && current && l.records {
		p.add("record", "policies of both releases are in use; say base or current, which the programs on this machine must understand")
	}
}

func (s *Settings) checkRest(p *Problems) {
	if _, err := netip.ParseAddr(s.BindAddress); err != nil && s.BindAddress != "" {
		p.add("bind_address", "%q, want an IP address", s.BindAddress)
	}
	for _, n := range []struct {
		name  string
		given int
	}{{"max_connections", s.Connections}, {"max_per_source", s.PerSource}, {"max_handshakes", s.Handshakes}} {
		if n.given < 0 {
			p.add(n.name, "%d, want at least 1", n.given)
		}
	}
	for _, d := range []struct {
		name  string
		given time.Duration
	}{{"handshake_timeout", s.Handshake}, {"dial_timeout", s.Dial}, {"idle_timeout", s.Idle}, {"drain", s.Drain}} {
		if d.given < 0 {
			p.add(d.name, "cannot be negative")
		}
	}
}
