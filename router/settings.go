package router

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// Settings are what a router does, in the reference's words where it has them
// (wire.md 3.7, roles.md 7.1, current.md 6.2).
type Settings struct {
	Policies []Policy
	Ports    []Port
	// Rules are asked of every machine that a policy of type tdx or tee judges.
	Rules attest.Rules
	// RootKeys are the roots that policies of a real kind believe, by key id.
	// Nil means Intel's.
	RootKeys [][48]byte
	// Record is the form of peer-info records: "base", "current", or empty for
	// the one that belongs to the names of the policies.
	Record string
	// EmptyList lets an empty list mean "anything of this family", in every
	// policy. Insecure, and what the reference does.
	EmptyList bool
	// BindAddress is the IP address of reverse ports. Empty means all.
	BindAddress string
	Limits
}

// Limits bound what peers can make a router hold. Zero values mean the
// defaults.
type Limits struct {
	Connections int // at a time, in all: 4096
	PerSource   int // at a time, from one address at a reverse port: 256
	Handshakes  int // at a time, per direction: 256; fixed when the router starts

	Handshake time.Duration // from the first byte to the verdict: 20 s; fixed when the router starts
	Dial      time.Duration // to reach a destination: 10 s
	Idle      time.Duration // without a byte, or with one that nobody takes: 15 min
	Drain     time.Duration // for connections to end by themselves at a stop: 10 s
}

func (l Limits) withDefaults() Limits {
	l.Connections, l.PerSource, l.Handshakes = cmp.Or(l.Connections, 4096), cmp.Or(l.PerSource, 256), cmp.Or(l.Handshakes, 256)
	l.Handshake, l.Dial = cmp.Or(l.Handshake, 20*time.Second), cmp.Or(l.Dial, 10*time.Second)
	l.Idle, l.Drain = cmp.Or(l.Idle, 15*time.Minute), cmp.Or(l.Drain, 10*time.Second)
	return l
}

// Policy says whom a port lets through.
type Policy struct {
	Name        string
	Type        string // any, fake_tdx, tdx; of the current release any, fake_tee, tee
	Description string

	MRTD, SNPMeasurements [][48]byte
	RTMR                  [][4][48]byte
	Images, SNPImages     []attest.Hash
	RootKeys              [][48]byte // beside those of the settings

	// EmptyList is that of Settings, for this policy.
	EmptyList bool
}

// Types of policies. The names of both releases mean the same; what differs
// is the form of the record that belongs to them.
const (
	typeAny     = "any"
	typeFakeTDX = "fake_tdx"
	typeTDX     = "tdx"
	typeFakeTEE = "fake_tee"
	typeTEE     = "tee"
)

// Types of ports.
const (
	typeSOCKS5  = "socks5"
	typeForward = "forward"
	typeReverse = "reverse"
)

// Port is one address that a router listens at.
type Port struct {
	Port            int    // 0 takes a free one
	Type            string // socks5, forward, reverse
	Policy          string
	DestinationHost string // of forward and reverse
	DestinationPort int
	// PolicyFromUser lets a SOCKS5 user name choose another policy.
	PolicyFromUser bool
	// Record begins the local connection with a peer-info record.
	Record bool
	// Difficulty is the proof of work that a reverse port asks, MaxDifficulty
	// the most that the others do, both 0 to 64 bits. Nil means 20 and 28.
	Difficulty, MaxDifficulty *int
}

// ParsePolicies reads the member "policies" of a configuration file.
func ParsePolicies(raw json.RawMessage) ([]Policy, Problems) {
	var p Problems
	var out []Policy
	p.array("policies", raw, func(path string, raw json.RawMessage) {
		var one Policy
		one.read(&p, path, raw)
		out = append(out, one)
	})
	return out, p
}

func (y *Policy) read(p *Problems, path string, raw json.RawMessage) {
	var old, current bool // where lists stand tells the release
	tdx := func(path string, raw json.RawMessage) {
		p.object(path, raw, fields{
			"allowed_mrtd":                   digests(p, &y.MRTD, true),
			"allowed_rtmr":                   y.readRTMR(p),
			"allowed_image_hashes":           digests(p, &y.Images, false),
			"allowed_image_hash":             digests(p, &y.Images, false),
			"allowed_collateral_root_hashes": digests(p, &y.RootKeys, false),
		})
	}
	p.object(path, raw, fields{
		"name": p.text(&y.Name), "type": p.text(&y.Type), "description": p.text(&y.Description),
		"insecure_empty_list": p.flag(&y.EmptyList),
		"tdx_config":          func(path string, raw json.RawMessage) { old = true; tdx(path, raw) },
		"ratls_policy": func(path string, raw json.RawMessage) {
			current = true
			p.object(path, raw, fields{
				"tdx_config": tdx,
				"sev_config": func(path string, raw json.RawMessage) {
					p.object(path, raw, fields{
						"allowed_measurement": digests(p, &y.SNPMeasurements, true),
						"allowed_image_id":    digests(p, &y.SNPImages, true),
					})
				},
			})
		},
	})
	switch {
	case y.Name == "":
		p.add(path, "name: missing")
	case old && (current || formOf(y.Type) == formCurrent):
		p.add(path, "tdx_config belongs to policies of type tdx; in one of type tee write ratls_policy.tdx_config")
	case current && formOf(y.Type) == formBase:
		p.add(path, "ratls_policy belongs to policies of type tee; in one of type tdx write tdx_config")
	}
}

func (y *Policy) readRTMR(p *Problems) func(string, json.RawMessage) {
	return func(path string, raw json.RawMessage) {
		p.array(path, raw, func(path string, raw json.RawMessage) {
			var four [][48]byte
			before := len(*p)
			digests(p, &four, true)(path, raw)
			if len(four) == 4 {
				y.RTMR = append(y.RTMR, [4][48]byte(four))
			} else if len(*p) == before {
				p.add(path, "%d registers, want 4", len(four))
			}
		})
	}
}

// ParsePorts reads the member "ports" of a configuration file.
func ParsePorts(raw json.RawMessage) ([]Port, Problems) {
	var p Problems
	var out []Port
	p.array("ports", raw, func(path string, raw json.RawMessage) {
		var one Port
		p.object(path, raw, fields{
			"port": p.number(&one.Port), "type": p.text(&one.Type), "policy_name": p.text(&one.Policy),
			"destination_host": p.text(&one.DestinationHost), "destination_port": p.number(&one.DestinationPort),
			"allow_policy_from_username": p.flag(&one.PolicyFromUser), "serialize_info": p.flag(&one.Record),
			"pow_difficulty": p.perhaps(&one.Difficulty), "max_pow_difficulty": p.perhaps(&one.MaxDifficulty),
		})
		out = append(out, one)
	})
	return out, p
}
