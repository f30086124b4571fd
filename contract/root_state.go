package contract

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// The registry's data. The first byte of the parameter cell is the version of
// the whole; all cells end where the layout does.
//
//	root      owner:Addr version:32 ^lists ^params  [^keys from 4]  [^verified from 5]
//	lists     proxyImages:Dict256 proxies:Dict32 lastProxy:32 workerImages:Dict256 models:Dict256
//	entry     kind:1 size:uint7 text                in proxies; kind 0, others are not for us
//	keys      publicKeys:Dict256 managerKey:256 managerImage:256 kind:1(=0) size:uint7 text
//	verified  proxies:Dict256 workers:Dict256 keyManagers:Dict256
//
// Source: contracts.md sections 4.1 and 19.1, current.md section 5.1.

// noKey is how the registry writes that there is no key manager.
var noKey = make([]byte, ed25519.PublicKeySize)

// ParseRoot reads the root contract's data, of every shape from 0 to 5. Like
// the network's reader it refuses anything beyond the layout and skips proxy
// entries that it cannot read ([Root.Skipped]).
func ParseRoot(data *cell.Cell) (*Root, error) {
	r := &Root{}
	in, err := open(data)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	r.Owner, r.Version = in.addr(), uint32(in.uint(32))
	lists := in.ref()
	r.readParams(in)
	in.inside("lists", lists, r.readLists)
	if r.StructVersion >= 4 {
		in.inside("key manager", in.ref(), r.readKeys)
	}
	if r.StructVersion >= 5 {
		in.inside("verified keys", in.ref(), r.readVerified)
	}
	if err := in.end(); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	return r, nil
}

// readParams also builds the cell again: every contract's address is made from
// our copy of it, so a copy that differs would be a wrong address.
func (r *Root) readParams(in *reader) {
	params := in.ref()
	var proxy, worker, client bool
	in.inside("parameters", params, func(in *reader) { proxy, worker, client = r.parseParams(in) })
	if in.err != nil {
		return
	}
	again, err := r.paramsCell(proxy, worker, client)
	if err == nil && !bytes.Equal(again.Hash(0), params.Hash(0)) {
		err = errors.New("parameters: an amount is longer than it need be, or above 2^63 nanoTON")
	}
	in.fail(err)
}

func (r *Root) readLists(in *reader) {
	r.ProxyImages = in.set("proxy images", true)
	in.dict("proxies", 32, r.readProxy)
	r.LastProxySeqno = uint32(in.uint(32))
	r.WorkerImages = in.set("worker images", true)
	r.Models = in.set("models", true)
}

// readProxy never fails: one bad entry must not take the network's whole
// registry away.
func (r *Root) readProxy(key []byte, in *reader) {
	e := ProxyEntry{Seqno: uint32(key[0])<<24 | uint32(key[1])<<16 | uint32(key[2])<<8 | uint32(key[3])}
	if e.Seqno == offerSeqno {
		if offer, ok := readOffer(*in); ok {
			r.Offered, in.s = offer, emptySlice()
			return
		}
	}
	text := in.text()
	err := in.end()
	if err == nil {
		e.Workers, e.Clients, err = ParseProxyAddress(text)
	}
	in.err, in.s = nil, emptySlice()
	if err != nil {
		r.Skipped = append(r.Skipped, SkippedEntry{e.Seqno, err})
		return
	}
	r.Proxies = append(r.Proxies, e)
}

func emptySlice() *cell.Slice { return emptyCell.MustBeginParse() }

// offerSeqno is the number under which our root contract keeps the owner that
// the registry is offered to, in an entry of kind 1.
const offerSeqno = 1<<32 - 1

func readOffer(in reader) (*address.Address, bool) {
	in.s = in.s.Copy()
	kind, owner := in.bit(), in.addr()
	return owner, in.end() == nil && kind
}

func (r *Root) readKeys(in *reader) {
	in.dict("public keys", 256, func(key []byte, in *reader) {
		r.PublicKeys = append(r.PublicKeys, PublicKey{bytes.Clone(key), uint8(in.uint(8)), uint32(in.uint(32))})
	})
	if key := in.bits(256); !bytes.Equal(key, noKey) {
		r.KeyManagerKey = key
	}
	r.KeyManagerImage = in.hash()
	if r.KeyManager = in.text(); r.KeyManager != "" {
		_, err := parseEndpoint(r.KeyManager)
		in.fail(err)
	}
}

func (r *Root) readVerified(in *reader) {
	r.VerifiedProxies = in.set("proxies", false)
	r.VerifiedWorkers = in.set("workers", false)
	r.VerifiedKeyManagers = in.set("key managers", false)
}
