package router

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencocoon/cocoon/attest"
)

// Prefixes of image hashes in a policy of the current release. None is TDX.
const (
	prefixTDX = "tdx@"
	prefixSNP = "sev@"
)

// AddPolicy adds a policy in the reference's form for command lines,
//
//	name:type[:hash,hash…]
//
// where the hashes are of images. With type tee each may begin with tdx@ or
// sev@, its family.
func (s *Settings) AddPolicy(spec string) error {
	parts := strings.Split(spec, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return fmt.Errorf("policy %q: want name:type or name:type:hash,hash", spec)
	}
	y := Policy{Name: parts[0], Type: parts[1]}
	if slices.ContainsFunc(s.Policies, func(o Policy) bool { return o.Name == y.Name }) {
		return fmt.Errorf("policy %s: the name occurs twice", y.Name)
	}
	var err error
	if len(parts) == 3 && parts[2] != "" {
		for text := range strings.SplitSeq(parts[2], ",") {
			err = errors.Join(err, y.addImage(text))
		}
	}
	s.Policies = append(s.Policies, y) // also with an error, so that ports which name it are not told that it is missing
	if err != nil {
		return fmt.Errorf("policy %s: %s", y.Name, strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return nil
}

func (y *Policy) addImage(text string) error {
	list := &y.Images
	if formOf(y.Type) == formCurrent {
		if rest, ok := strings.CutPrefix(text, prefixSNP); ok {
			text, list = rest, &y.SNPImages
		}
		text = strings.TrimPrefix(text, prefixTDX)
	}
	h, err := parseDigest[attest.Hash](text)
	*list = append(*list, h) // of zeros if it cannot be read, which is nobody's
	if err != nil {
		return fmt.Errorf("image hash %w", err)
	}
	return nil
}

// AddSOCKS5 adds a port that speaks SOCKS5, port@policy. After the name of a
// built-in policy may follow ":hash,hash…", the images that this port wants.
func (s *Settings) AddSOCKS5(spec string, record bool) error {
	return s.addPort(typeSOCKS5, spec, record)
}

// AddForward adds a port with one attested destination,
// port:host:port@policy, with hashes as in AddSOCKS5.
func (s *Settings) AddForward(spec string, record bool) error {
	return s.addPort(typeForward, spec, record)
}

// AddReverse adds a port for attested peers in front of a plain service,
// port:host:port@policy, with hashes as in AddSOCKS5.
func (s *Settings) AddReverse(spec string, record bool) error {
	return s.addPort(typeReverse, spec, record)
}

func (s *Settings) addPort(kind, spec string, record bool) error {
	form := "port@policy[:hash,hash]"
	if kind != typeSOCKS5 {
		form = "port:host:port@policy[:hash,hash]"
	}
	where, who, ok := strings.Cut(spec, "@")
	if !ok {
		return fmt.Errorf("%s %q: want %s", kind, spec, form)
	}
	p := Port{Type: kind, Record: record}
	if err := p.readWhere(where); err != nil {
		return fmt.Errorf("%s %q: %w; want %s", kind, spec, err, form)
	}
	if err := s.readWho(&p, who); err != nil {
		return fmt.Errorf("%s %q: %w", kind, spec, err)
	}
	s.Ports = append(s.Ports, p)
	return nil
}

func (p *Port) readWhere(where string) (err error) {
	port, destination, fixed := strings.Cut(where, ":")
	if p.Port, err = number(port, 0); err != nil || p.Type == typeSOCKS5 {
		if fixed && err == nil {
			err = errors.New("a destination, which the program names itself")
		}
		return err
	}
	return p.readDestination(destination)
}

// readDestination reads host:port; an IPv6 address stands in brackets.
func (p *Port) readDestination(text string) (err error) {
	at := strings.LastIndex(text, ":")
	if at <= 0 {
		return errors.New("no destination")
	}
	host := text[:at]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.Contains(host, ":") {
		return fmt.Errorf("host %q, want a name, an IPv4 address or an IPv6 address in brackets", host)
	}
	p.DestinationHost = host
	p.DestinationPort, err = number(text[at+1:], 1)
	return err
}

// readWho reads policy[:hash,hash…]. Hashes make a policy of its own, named
// as the reference names it.
func (s *Settings) readWho(p *Port, who string) error {
	name, hashes, _ := strings.Cut(who, ":")
	p.Policy = name
	if hashes == "" {
		return nil
	}
	if !builtin(name) {
		return fmt.Errorf("hashes after %q, which is not a built-in policy: write them into the policy, name:type:hash,hash", name)
	}
	p.Policy = fmt.Sprintf("%s_inline_%d", name, p.Port)
	for n := 2; p.Port == 0 && slices.ContainsFunc(s.Policies, func(o Policy) bool { return o.Name == p.Policy }); n++ {
		p.Policy = fmt.Sprintf("%s_inline_0_%d", name, n)
	}
	if strings.Contains(hashes, "@") {
		return fmt.Errorf("hashes %q, want them without a family; they are of TDX images", hashes)
	}
	return s.AddPolicy(p.Policy + ":" + name + ":" + hashes)
}

// AddLegacy adds a port in the old form of the reference,
// port:type[:policy[:host:port]]; without a policy it is any.
func (s *Settings) AddLegacy(spec string, record bool) (err error) {
	parts := strings.SplitN(spec, ":", 4)
	p := Port{Policy: typeAny, Record: record}
	switch {
	case len(parts) < 2:
		err = errors.New("no type")
	case len(parts) > 2 && parts[2] == "":
		err = errors.New("no policy")
	case len(parts) == 4:
		err = p.readDestination(parts[3])
	}
	if err == nil {
		p.Port, err = number(parts[0], 0)
	}
	if err != nil {
		return fmt.Errorf("port %q: %w; want port:type:policy or port:type:policy:host:port", spec, err)
	}
	p.Type = parts[1]
	if len(parts) > 2 {
		p.Policy = parts[2]
	}
	s.Ports = append(s.Ports, p)
	return nil
}

// AddRootKeys adds the key ids of --collateral-hash, hash,hash….
func (s *Settings) AddRootKeys(list string) error {
	for text := range strings.SplitSeq(list, ",") {
		key, err := parseDigest[[48]byte](text)
		if err != nil {
			return fmt.Errorf("root key %w", err)
		}
		s.RootKeys = append(s.RootKeys, key)
	}
	return nil
}

func number(text string, least int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > 65535 {
		return 0, fmt.Errorf("port %q, want %d to 65535", text, least)
	}
	return n, nil
}
