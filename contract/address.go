package contract

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// ParseAddress reads a TON address: 48 characters of base64, or workchain:hex.
// Source: wire.md section 8.1.
func ParseAddress(text string) (*address.Address, error) {
	if strings.Contains(text, ":") {
		a, err := address.ParseRawAddr(text)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", clip(text), err)
		}
		return a, nil
	}
	plain := strings.NewReplacer("+", "-", "/", "_").Replace(text)
	raw, err := base64.RawURLEncoding.DecodeString(plain)
	if err != nil || len(raw) != 36 || raw[0]&0x3f != 0x11 {
		return nil, fmt.Errorf("address %q: want 48 characters of base64 or workchain:hex", clip(text))
	}
	a, err := address.ParseAddr(plain)
	if err != nil {
		return nil, fmt.Errorf("address %q: checksum is wrong: copy it again", clip(text))
	}
	return a, nil
}

// Peers choose these texts; an error must not carry a megabyte of them.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// ParseProxyAddress reads a registered proxy's text: one ip:port for
// everybody, or two with a blank between them, for workers and for clients.
// Brackets around either are tolerated. IPv4 only, as the network demands.
func ParseProxyAddress(text string) (workers, clients netip.AddrPort, err error) {
	first, second, two := strings.Cut(text, " ")
	if workers, err = parseEndpoint(first); err != nil || !two {
		return workers, workers, err
	}
	clients, err = parseEndpoint(second)
	return workers, clients, err
}

func parseEndpoint(text string) (netip.AddrPort, error) {
	inner := text
	if strings.HasPrefix(inner, "[") && strings.HasSuffix(inner, "]") {
		inner = inner[1 : len(inner)-1]
	}
	ap, err := netip.ParseAddrPort(inner)
	if err != nil || !ap.Addr().Is4() {
		return netip.AddrPort{}, fmt.Errorf("proxy address %q: want ip:port with an IPv4 address", clip(text))
	}
	return ap, nil
}

// String is the registry's text for the entry.
func (p ProxyEntry) String() string {
	if p.Workers == p.Clients {
		return p.Workers.String()
	}
	return p.Workers.String() + " " + p.Clients.String()
}

// ProxyAddress is where the contract of a proxy lives, given its owner's
// wallet, the registry's own address and the key that signs its payments. Like all
// derived addresses it is in workchain 0, non-bounceable and of mainnet form.
func (r *Root) ProxyAddress(owner, root *address.Address, key ed25519.PublicKey) (*address.Address, error) {
	params, err := r.paramsCell(false, true, true)
	if err != nil {
		return nil, err
	}
	b := newBuilder("proxy contract")
	b.addr(owner).bits(key, 256).addr(root).uint(0, 2).coins(0).coins(0).uint(0, 32).ref(params)
	return b.address(r.ProxyCode)
}

// WorkerAddress is the contract between a worker's owner and a proxy.
func (r *Root) WorkerAddress(owner, proxy *address.Address, key ed25519.PublicKey) (*address.Address, error) {
	params, err := r.paramsCell(false, false, false)
	if err != nil {
		return nil, err
	}
	b := newBuilder("worker contract")
	b.addr(owner).addr(proxy).bits(key, 256).uint(0, 2).uint(0, 64).ref(params)
	return b.address(r.WorkerCode)
}

// ClientAddress is the contract between a client's node wallet and a proxy.
func (r *Root) ClientAddress(wallet, proxy *address.Address, key ed25519.PublicKey) (*address.Address, error) {
	params, err := r.paramsCell(false, false, false)
	if err != nil {
		return nil, err
	}
	who := newBuilder("client contract")
	who.addr(wallet).addr(proxy).bits(key, 256)
	b := newBuilder("client contract")
	b.uint(0, 2).coins(0).coins(r.MinClientStake).uint(0, 64).uint(0, 32).bits(make([]byte, 32), 256)
	b.ref(who.cell()).ref(params)
	b.err = errors.Join(b.err, who.err)
	return b.address(r.ClientCode)
}

// builder writes a cell and remembers the first thing that did not fit, so
// that layouts read as one line.
type builder struct {
	what string
	b    *cell.Builder
	err  error
}

func newBuilder(what string) *builder { return &builder{what: what, b: cell.BeginCell()} }

func (b *builder) do(err error) *builder {
	if b.err == nil && err != nil {
		b.err = fmt.Errorf("%s: %w", b.what, err)
	}
	return b
}

func (b *builder) uint(v uint64, size uint) *builder { return b.do(b.b.StoreUInt(v, size)) }
func (b *builder) coins(v uint64) *builder           { return b.do(b.b.StoreCoins(v)) }
func (b *builder) ref(c *cell.Cell) *builder         { return b.do(b.b.StoreRef(c)) }

func (b *builder) bits(v []byte, size uint) *builder {
	if uint(len(v))*8 != size {
		return b.do(fmt.Errorf("got %d bits, want %d", len(v)*8, size))
	}
	return b.do(b.b.StoreSlice(v, size))
}

// Only full addresses have a place in the contracts' data: an absent one
// would be stored silently as two zero bits and give a wrong contract.
func (b *builder) addr(a *address.Address) *builder {
	if a == nil || a.Type() != address.StdAddress || a.Anycast() != nil {
		return b.do(errors.New("a standard address is missing"))
	}
	return b.do(b.b.StoreAddr(a))
}

func (b *builder) cell() *cell.Cell { return b.b.EndCell() }

// address hashes the state init: no depth, no special, code, data, no library.
func (b *builder) address(code *cell.Cell) (*address.Address, error) {
	if b.err != nil {
		return nil, b.err
	}
	if code == nil {
		code = emptyCell
	}
	init := newBuilder(b.what).uint(0b00110, 5).ref(code).ref(b.cell())
	if init.err != nil {
		return nil, init.err
	}
	return address.NewAddress(0, 0, init.cell().Hash(0)).Bounce(false), nil
}

var emptyCell = cell.BeginCell().EndCell()
