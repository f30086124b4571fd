package router_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/router"
)

const hashA, hashB = "11", "ab"

// h is a hash of one repeated byte.
func h(b string) string { return strings.Repeat(b, 32) }

// add is one flag of the command line.
func add(s *router.Settings, flag, spec string) error {
	switch flag {
	case "-P":
		return s.AddPolicy(spec)
	case "-S":
		return s.AddSOCKS5(spec, false)
	case "-F":
		return s.AddForward(spec, true)
	case "-R":
		return s.AddReverse(spec, false)
	case "-p":
		return s.AddLegacy(spec, false)
	}
	return s.AddRootKeys(spec)
}

// The forms are the deployed router's; what a line means is written as
// policies and ports.
func TestSpecs(t *testing.T) {
	for _, c := range []struct{ flag, spec, want string }{
		{"-S", "8116@tdx", "| 8116 socks5 tdx"},
		{"-S", "8116@mine", "| 8116 socks5 mine"},
		{"-S", "8116@tdx:", "| 8116 socks5 tdx"}, // an empty list is none
		{"-S", "8116@tdx:" + h(hashA), "tdx_inline_8116 tdx [11] [] | 8116 socks5 tdx_inline_8116"},
		{"-S", "8116@any:" + h(hashA), "any_inline_8116 any [11] [] | 8116 socks5 any_inline_8116"},
		{"-S", "8116@fake_tdx:" + h(hashA) + "," + h(hashB), "fake_tdx_inline_8116 fake_tdx [11 ab] [] | 8116 socks5 fake_tdx_inline_8116"},
		{"-S", "8116@tee:" + strings.ToUpper(h(hashB)), "tee_inline_8116 tee [ab] [] | 8116 socks5 tee_inline_8116"},
		{"-F", "8117:backend.com:4430@fake_tee", "| 8117 forward fake_tee backend.com 4430 record"},
		{"-F", "8117:10.0.0.1:4430@tdx:" + h(hashA), "tdx_inline_8117 tdx [11] [] | 8117 forward tdx_inline_8117 10.0.0.1 4430 record"},
		{"-F", "8117:[fd00::1]:4430@any", "| 8117 forward any fd00::1 4430 record"},
		{"-R", "11001:127.0.0.1:11101@tdx", "| 11001 reverse tdx 127.0.0.1 11101"},
		{"-R", "0:localhost:8080@any", "| 0 reverse any localhost 8080"},
		{"-p", "8116:socks5", "| 8116 socks5 any"},
		{"-p", "8116:socks5:tdx", "| 8116 socks5 tdx"},
		{"-p", "8117:reverse:tdx:localhost:8118", "| 8117 reverse tdx localhost 8118"},
		{"-P", "strict:tdx:" + h(hashA), "strict tdx [11] [] |"},
		{"-P", "relaxed:any", "relaxed any [] [] |"},
		{"-P", "tdx:tdx:" + h(hashA), "tdx tdx [11] [] |"},
		{"-P", "mixed:tee:tdx@" + h(hashA) + ",sev@" + h(hashB) + "," + h("22"), "mixed tee [11 22] [ab] |"},
	} {
		s := &router.Settings{}
		if err := add(s, c.flag, c.spec); err != nil {
			t.Errorf("%s %s: %v", c.flag, c.spec, err)
			continue
		}
		if got := describe(s); got != c.want {
			t.Errorf("%s %s is %q, want %q", c.flag, c.spec, got, c.want)
		}
	}
}

func describe(s *router.Settings) string {
	var words []string
	for _, y := range s.Policies {
		var lists [2][]string
		for _, image := range y.Images {
			lists[0] = append(lists[0], image.String()[:2])
		}
		for _, image := range y.SNPImages {
			lists[1] = append(lists[1], image.String()[:2])
		}
		words = append(words, fmt.Sprint(y.Name, " ", y.Type, " ", lists[0], " ", lists[1]))
	}
	words = append(words, "|")
	for _, p := range s.Ports {
		words = append(words, fmt.Sprint(p.Port), p.Type, p.Policy)
		if p.DestinationHost != "" {
			words = append(words, p.DestinationHost, fmt.Sprint(p.DestinationPort))
		}
		if p.Record {
			words = append(words, "record")
		}
	}
	return strings.Join(words, " ")
}

func TestSpecRefusals(t *testing.T) {
	for _, c := range []struct{ flag, spec, want string }{
		{"-S", "8116", "want port@policy"},
		{"-S", "@tdx", `port "", want 0 to 65535`},
		{"-S", "x@tdx", `port "x", want 0 to 65535`},
		{"-S", "65536@tdx", "want 0 to 65535"},
		{"-S", "-1@tdx", "want 0 to 65535"},
		{"-S", "8116:host:80@tdx", "the program names itself"},
		{"-S", "8116@tdx:zz", `image hash "zz" is not 64 hexadecimal digits`},
		{"-S", "8116@tdx:" + h(hashA) + ",", `image hash "" is not`},
		{"-S", "8116@tdx:" + h(hashA) + "11", "is not 64 hexadecimal digits"},
		{"-S", "8116@mine:" + h(hashA), "not a built-in policy"},
		{"-S", "8116@tee:sev@" + h(hashA), "without a family"},
		{"-F", "8117@tdx", "no destination"},
		{"-F", "8117:host@tdx", "no destination"},
		{"-F", "8117:host:@tdx", `port "", want 1 to 65535`},
		{"-F", "8117:host:0@tdx", `port "0", want 1 to 65535`},
		{"-F", "8117::80@tdx", "no destination"},
		{"-R", "8117:fd00::1:80@tdx", "an IPv6 address in brackets"},
		{"-R", "8117:h:80:90@tdx", "IPv6 address in brackets"},
		{"-p", "8116", "no type"},
		{"-p", "x:socks5", `port "x"`},
		{"-p", "8117:reverse:tdx:localhost", "no destination"},
		{"-P", "strict", "want name:type"},
		{"-P", ":tdx", "want name:type"},
		{"-P", "a:tdx:" + h(hashA) + ":more", "want name:type"},
		{"-P", "a:tdx:tdx@" + h(hashA), "is not 64 hexadecimal digits"}, // families came with tee
		{"--collateral-hash", h(hashA), "is not 96 hexadecimal digits"},
	} {
		err := add(&router.Settings{}, c.flag, c.spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.flag, c.spec, err, c.want)
		}
	}
	twice := &router.Settings{}
	if add(twice, "-P", "a:any") != nil || add(twice, "-P", "a:any") == nil {
		t.Error("a name may occur twice")
	}
}

// What the words mean together.
func TestSettingsRefusals(t *testing.T) {
	list := ":" + h(hashA)
	for _, c := range []struct {
		name    string
		options []string
		change  func(*router.Settings)
		want    string // empty: accepted
	}{
		{"sound", []string{"-S 8116@tdx" + list, "-R 9000:h:1@any"}, nil, ""},
		{"no list", []string{"-S 8116@tdx"}, nil, "policy tdx: it names no image"},
		{"no list, current", []string{"-S 8116@tee"}, nil, "policy tee: it names no image"},
		{"no list, said so", []string{"-S 8116@tdx"}, func(s *router.Settings) { s.EmptyList = true }, ""},
		{"a policy nobody uses", []string{"-S 8116@any", "-P a:tdx"}, nil, "policy a: it names no image"},
		{"any with a list", []string{"-S 8116@any" + list}, nil, "lets nobody in"},
		{"fake without a list", []string{"-S 8116@fake_tee"}, nil, ""},
		{"unknown type", []string{"-S 8116@any", "-P a:sgx"}, nil, `type "sgx", want any`},
		{"unknown policy", []string{"-S 8116@mine"}, nil, `"mine" is no policy`},
		{"port twice", []string{"-S 8116@any", "-F 8116:h:1@any"}, nil, "port 8116: occurs twice"},
		{"any free port twice", []string{"-S 0@any", "-S 0@tdx" + list, "-S 0@tdx" + list}, nil, ""},
		{"no ports", nil, nil, "no ports"},
		{"MRTD is only the firmware", []string{"-S 8116@a", "-P a:any"}, func(s *router.Settings) {
			s.Policies[0].Type, s.Policies[0].MRTD = "tdx", make([][48]byte, 1)
		}, "names no image"},
		{"MRTD and RTMRs", []string{"-S 8116@a", "-P a:any"}, func(s *router.Settings) {
			s.Policies[0].Type, s.Policies[0].MRTD, s.Policies[0].RTMR = "tdx", make([][48]byte, 1), make([][4][48]byte, 1)
		}, ""},
		{"difficulty", []string{"-R 9000:h:1@any"}, func(s *router.Settings) { s.Ports[0].Difficulty = new(65) }, "pow_difficulty: 65, want 0 to 64"},
		{"most difficulty", []string{"-S 9000@any"}, func(s *router.Settings) { s.Ports[0].MaxDifficulty = new(-1) }, "max_pow_difficulty: -1, want 0 to 64"},
		{"user names at a forward port", []string{"-F 9000:h:1@any"}, func(s *router.Settings) { s.Ports[0].PolicyFromUser = true }, "only a socks5 port has user names"},
		{"destination missing", []string{"-R 9000:h:1@any"}, func(s *router.Settings) { s.Ports[0].DestinationHost = "" }, "destination_host: missing"},
		{"destination port", []string{"-R 9000:h:1@any"}, func(s *router.Settings) { s.Ports[0].DestinationPort = 0 }, "destination_port 0"},
		{"destination of socks5", []string{"-S 9000@any"}, func(s *router.Settings) { s.Ports[0].DestinationPort = 1 }, "the program names itself"},
		{"type of port", []string{"-S 9000@any"}, func(s *router.Settings) { s.Ports[0].Type = "http" }, `type "http", want socks5`},
		{"record form", []string{"-S 9000@any"}, func(s *router.Settings) { s.Record = "new" }, `"new", want base or current`},
		{"both releases", []string{"-s", "-S 9000@tdx" + list, "-S 9001@tee" + list}, nil, "policies of both releases"},
		{"both releases, no records", []string{"-S 9000@tdx" + list, "-S 9001@tee" + list}, nil, ""},
		{"both releases, said so", []string{"-s", "-S 9000@tdx" + list, "-S 9001@tee" + list}, func(s *router.Settings) { s.Record = "current" }, ""},
		{"bind address", []string{"-R 9000:h:1@any"}, func(s *router.Settings) { s.BindAddress = "eth0" }, `bind_address: "eth0"`},
		{"limits", []string{"-S 9000@any"}, func(s *router.Settings) { s.Idle, s.Connections = -1, -1 }, "max_connections: -1, want at least 1; idle_timeout: cannot be negative"},
	} {
		s := settings(t, c.options...)
		if c.change != nil {
			c.change(&s)
		}
		switch err := s.Check(); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzSpec(f *testing.F) {
	for _, s := range []string{"8116@tdx:" + h(hashA), "8117:[::1]:80@any", "a:tee:sev@" + h(hashA), "8117:reverse:tdx:localhost:8118", "@", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		for _, flag := range []string{"-P", "-S", "-F", "-R", "-p", "--collateral-hash"} {
			s := &router.Settings{}
			if err := add(s, flag, spec); err == nil {
				_ = s.Check() // must not panic
				for _, p := range s.Ports {
					if p.Port < 0 || p.Port > 65535 || p.Policy == "" && flag != "-p" && strings.Contains(spec, "@") && !strings.HasSuffix(spec, "@") && !strings.Contains(spec, "@:") {
						t.Errorf("%s %q gave %+v", flag, spec, p)
					}
				}
			}
		}
	})
}
