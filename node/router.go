package node

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/opencocoon/cocoon/router"
)

// Router is a router's settings. Ports and policies come in the reference's
// words, from its command line or from its configuration file, which
// ReadPolicies and ReadPorts read.
type Router struct {
	// Policies, SOCKS5, Forward, Reverse and Legacy are the values of -P, -S,
	// -F, -R and -p.
	Policies, SOCKS5, Forward, Reverse, Legacy []string
	// SerializeInfo writes peer-info records at the ports above.
	SerializeInfo bool
	// CollateralHash is the list of root keys that are believed; empty is Intel's.
	CollateralHash string
	// Difficulty and MaxDifficulty overrule those of all ports if not nil.
	Difficulty    *int
	MaxDifficulty *int
	// FilePolicies and FilePorts are what a configuration file says.
	FilePolicies []router.Policy
	FilePorts    []router.Port

	// Cert is the base name of certificate and key files; empty makes an
	// identity of its own.
	Cert string
	// Metrics is the loopback address of /metrics; empty is none.
	Metrics string
	// Record is the form of peer-info records, base or current; empty takes it
	// from the names of the policies.
	Record string
	// EmptyList lets an empty list mean anything.
	EmptyList bool
	// BindAddress is where reverse ports listen; empty is everywhere.
	BindAddress string

	MaxConnections   int
	MaxPerSource     int
	MaxHandshakes    int
	HandshakeTimeout Duration
	DialTimeout      Duration
	IdleTimeout      Duration
	Drain            Duration
	Attestation

	// Again reads the settings once more, when Ask says so or File has changed.
	// Nil never does.
	Again func() (*Router, error)
	Ask   <-chan os.Signal
	File  string
}

// settings are those for package router.
func (s *Router) settings() (router.Settings, Problems) {
	var p Problems
	out := router.Settings{
		Record: s.Record, EmptyList: s.EmptyList, BindAddress: s.BindAddress, Rules: s.Rules, Limits: router.Limits{
			Connections: s.MaxConnections, PerSource: s.MaxPerSource, Handshakes: s.MaxHandshakes,
			Handshake: time.Duration(s.HandshakeTimeout), Dial: time.Duration(s.DialTimeout),
			Idle: time.Duration(s.IdleTimeout), Drain: time.Duration(s.Drain),
		},
	}
	each := func(specs []string, add func(string) error) {
		for _, spec := range specs {
			if err := add(spec); err != nil {
				p.Add("%v", err)
			}
		}
	}
	port := func(add func(string, bool) error) func(string) error {
		return func(spec string) error { return add(spec, s.SerializeInfo) }
	}
	each(s.Policies, out.AddPolicy)
	each(s.SOCKS5, port(out.AddSOCKS5))
	each(s.Forward, port(out.AddForward))
	each(s.Reverse, port(out.AddReverse))
	each(s.Legacy, port(out.AddLegacy))
	if s.CollateralHash != "" {
		each([]string{s.CollateralHash}, out.AddRootKeys)
	}
	p = append(p, out.AddFile(s.FilePolicies, s.FilePorts)...)
	for i := range out.Ports {
		if s.Difficulty != nil {
			out.Ports[i].Difficulty = s.Difficulty
		}
		if s.MaxDifficulty != nil {
			out.Ports[i].MaxDifficulty = s.MaxDifficulty
		}
	}
	return out, p
}

// Check implements [Role].
func (s *Router) Check() error {
	settings, p := s.settings()
	var found router.Problems
	if (len(p) == 0 || len(settings.Ports) > 0) && errors.As(settings.Check(), &found) { // "no ports" would be untrue
		p = append(p, found...)
	}
	if s.Metrics != "" {
		if a, err := netip.ParseAddrPort(s.Metrics); err != nil || !a.Addr().IsLoopback() {
			p.Add("metrics %q: want an address on loopback, such as 127.0.0.1:9000", s.Metrics)
		}
	}
	if s.Cert != "" && (s.Fake || s.SimulatedImage != "") {
		p.Add("cert_base_name and an identity of the router's own exclude each other")
	}
	s.Attestation.check(&p)
	return p.Err()
}

// ReadPolicies and ReadPorts read the members of a configuration file that
// no flag can say.
func (s *Router) ReadPolicies(raw json.RawMessage) error {
	var p router.Problems
	s.FilePolicies, p = router.ParsePolicies(raw)
	return Problems(p).Err()
}

// ReadPorts is told with [Router.ReadPolicies].
func (s *Router) ReadPorts(raw json.RawMessage) error {
	var p router.Problems
	s.FilePorts, p = router.ParsePorts(raw)
	return Problems(p).Err()
}
