package contract

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
)

// The values that the mode without a chain fixes. Source: roles.md section 2.8.
const (
	fileStructVersion = 1
	fileUniqueID      = 13
	fileProxyDelay    = 600
	fileClientDelay   = 300
	fileStake         = Ton
)

// Largest code cell accepted in a file; the production ones are below 3 kB.
const maxCodeBytes = 1 << 16

// Parse reads the JSON of a registry file, rootConfig.pseudo of either
// generation. It is as lenient as the network's own reader: integers may be
// decimal strings, missing members are zero. It also returns the members it does not know, so
// that a slip of the pen can be reported instead of silently ignored.
// Every problem found is in the error, each with its key, what is there and what is wanted.
func Parse(data []byte) (root *Root, unknown []string, err error) {
	p := parser{}
	if err := json.Unmarshal(data, &p.members); err != nil || p.members == nil {
		return nil, nil, fmt.Errorf("registry: want a JSON object: %w", cmpErr(err))
	}
	r := &Root{
		StructVersion: fileStructVersion, UniqueID: fileUniqueID, IsTest: true,
		ProxyDelay: fileProxyDelay, ClientDelay: fileClientDelay,
		MinProxyStake: fileStake, MinClientStake: fileStake, Multipliers: ledger.Plain,
	}
	r.ProxyImages, r.WorkerImages, r.Models = p.hashes("proxy_hashes"), p.hashes("worker_hashes"), p.hashes("model_hashes")
	for _, name := range p.strings("model_types") {
		r.Models[sha256.Sum256([]byte(BaseModel(name)))] = struct{}{}
	}
	r.Proxies = p.proxies("registered_proxies")
	r.PublicKeys = p.publicKeys("registered_public_keys")
	r.PricePerToken, r.WorkerFeePerToken = coin.Nano(p.number("price_per_token")), coin.Nano(p.number("worker_fee_per_token"))
	r.LastProxySeqno = uint32(p.number("last_proxy_seqno"))
	r.Version, r.ParamsVersion = uint32(p.number("version")), uint32(p.number("params_version"))
	r.ProxyCode, r.WorkerCode, r.ClientCode = p.code("proxy_sc_code"), p.code("worker_sc_code"), p.code("client_sc_code")
	r.KeyManager = p.text("key_manager_address")
	if r.KeyManager != "" {
		_, err := parseEndpoint(r.KeyManager)
		p.fail("key_manager_address", err)
	}
	if owner := p.text("root_owner_address"); owner != "" {
		var err error
		r.Owner, err = ParseAddress(owner)
		p.fail("root_owner_address", err)
	}
	if len(p.problems) == 0 {
		p.fail("registry", r.Check())
	}
	return r, p.rest(), errors.Join(p.problems...)
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("got null")
	}
	return err
}

// parser hands out members by name and notes everything that is wrong.
type parser struct {
	members  map[string]json.RawMessage
	taken    []string
	problems []error
}

func (p *parser) fail(key string, err error) {
	if err != nil {
		p.problems = append(p.problems, fmt.Errorf("%s: %w", key, err))
	}
}

// take decodes one member; a missing or null one leaves the zero value.
func (p *parser) take(key string, into any) {
	p.taken = append(p.taken, key)
	raw, ok := p.members[key]
	if !ok || string(raw) == "null" {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		p.fail(key, tidy(err))
	}
}

// tidy keeps what encoding/json says about types and drops its Go words.
func tidy(err error) error {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return fmt.Errorf("got a JSON %s, want %s", te.Value, strings.TrimPrefix(te.Type.String(), "contract."))
	}
	return err
}

func (p *parser) rest() (unknown []string) {
	for key := range p.members {
		if !slices.Contains(p.taken, key) && key != "@type" {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	return unknown
}

func (p *parser) text(key string) (s string)       { p.take(key, &s); return s }
func (p *parser) strings(key string) (s []string)  { p.take(key, &s); return s }
func (p *parser) number(key string) (n lenientInt) { p.take(key, &n); return n }

func (p *parser) hashes(key string) map[[32]byte]struct{} {
	var list []base64Hash
	p.take(key, &list)
	set := make(map[[32]byte]struct{}, len(list))
	for _, h := range list {
		set[h] = struct{}{}
	}
	return set
}

func (p *parser) proxies(key string) (entries []ProxyEntry) {
	var list []struct {
		Seqno   lenientInt `json:"seqno"`
		Address string     `json:"address"`
	}
	p.take(key, &list)
	for i, x := range list {
		workers, clients, err := ParseProxyAddress(x.Address)
		p.fail(fmt.Sprintf("%s[%d].address", key, i), err)
		entries = append(entries, ProxyEntry{uint32(x.Seqno), workers, clients})
	}
	return entries
}

func (p *parser) publicKeys(key string) (keys []PublicKey) {
	var list []struct {
		PublicKey base64Hash `json:"public_key"`
		KeyType   lenientInt `json:"key_type"`
		ExpireAt  lenientInt `json:"expire_at"`
	}
	p.take(key, &list)
	for i, x := range list {
		if x.KeyType > math.MaxUint8 {
			p.fail(fmt.Sprintf("%s[%d].key_type", key, i), fmt.Errorf("got %d, want 0 to 255", x.KeyType))
		}
		keys = append(keys, PublicKey{x.PublicKey[:], uint8(x.KeyType), uint32(x.ExpireAt)})
	}
	return keys
}

// code reads the hex of a bag with one cell; empty text is the empty cell.
func (p *parser) code(key string) *cell.Cell {
	text := p.text(key)
	if text == "" {
		return nil
	}
	raw, err := hex.DecodeString(text)
	if err == nil && len(raw) > maxCodeBytes {
		err = fmt.Errorf("got %d bytes, want at most %d", len(raw), maxCodeBytes)
	}
	var code *cell.Cell
	if err == nil {
		code, err = cell.FromBOC(raw)
	}
	p.fail(key, err)
	return code
}

// lenientInt is a number from 0 to 2^31-1, also written as a decimal string
// or as a boolean, as the network's reader takes it.
type lenientInt int64

func (n *lenientInt) UnmarshalJSON(b []byte) error {
	text := string(bytes.Trim(b, `"`))
	switch string(b) {
	case "true":
		text = "1"
	case "false", "null":
		text = "0"
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 || v > math.MaxInt32 {
		return fmt.Errorf("got %s, want an integer from 0 to %d", clip(string(b)), math.MaxInt32)
	}
	*n = lenientInt(v)
	return nil
}

// base64Hash is 32 bytes in standard base64.
type base64Hash [32]byte

func (h *base64Hash) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) == len(h) {
			*h = base64Hash(raw)
			return nil
		}
	}
	return fmt.Errorf("got %s, want base64 of 32 bytes", clip(string(b)))
}
