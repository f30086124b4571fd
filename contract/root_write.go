package contract

import (
	"crypto/ed25519"
	"fmt"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Cell is the root contract's data with this content, in the shape that
// StructVersion names. Skipped entries are not in it.
func (r *Root) Cell() (*cell.Cell, error) {
	if err := r.checkShape(); err != nil {
		return nil, err
	}
	params, err := r.paramsCell(r.ProxyCode != nil, r.WorkerCode != nil, r.ClientCode != nil)
	if err != nil {
		return nil, err
	}
	b := newBuilder("root")
	b.addr(r.Owner).uint(uint64(r.Version), 32)
	b.part("lists", r.writeLists).ref(params)
	if r.StructVersion >= 4 {
		b.part("key manager", r.writeKeys)
	}
	if r.StructVersion >= 5 {
		b.part("verified keys", r.writeVerified)
	}
	return b.done()
}

// checkShape refuses content that would be lost or could not be read again.
func (r *Root) checkShape() error {
	keys := len(r.PublicKeys) > 0 || r.KeyManager != "" || r.KeyManagerKey != nil || r.KeyManagerImage != [32]byte{}
	verified := len(r.VerifiedProxies)+len(r.VerifiedWorkers)+len(r.VerifiedKeyManagers) > 0
	switch {
	case r.StructVersion > maxStructVersion:
		return fmt.Errorf("root: %w", r.unknownShape())
	case keys && r.StructVersion < 4:
		return fmt.Errorf("root: struct version %d has no place for encryption keys and their manager, want 4 or 5", r.StructVersion)
	case verified && r.StructVersion < 5:
		return fmt.Errorf("root: struct version %d has no place for verified keys, want 5", r.StructVersion)
	}
	return nil
}

// part writes into a cell of its own.
func (b *builder) part(what string, write func(*builder)) *builder {
	in := newBuilder(what)
	write(in)
	return b.do(in.err).ref(in.cell())
}

func (r *Root) writeLists(b *builder) {
	b.set(r.ProxyImages)
	b.entries(32, func(add func(key []byte, value *builder)) {
		for _, p := range r.Proxies {
			_, _, err := ParseProxyAddress(p.String())
			if err == nil && p.Seqno == offerSeqno {
				err = fmt.Errorf("proxy %s has number %d, which none may have", p, p.Seqno)
			}
			add(be32(p.Seqno), newBuilder("proxy").text(p.String()).do(err))
		}
		if r.Offered != nil {
			add(be32(offerSeqno), newBuilder("offer").uint(1, 1).addr(r.Offered))
		}
	})
	b.uint(uint64(r.LastProxySeqno), 32).set(r.WorkerImages).set(r.Models)
}

func (r *Root) writeKeys(b *builder) {
	b.entries(256, func(add func(key []byte, value *builder)) {
		for _, k := range r.PublicKeys {
			if len(k.Key) != ed25519.PublicKeySize {
				b.do(fmt.Errorf("public key has %d bytes, want %d", len(k.Key), ed25519.PublicKeySize))
				continue
			}
			add(k.Key, newBuilder("public key").uint(uint64(k.Type), 8).uint(uint64(k.ExpireAt), 32))
		}
	})
	if r.KeyManagerKey == nil {
		b.bits(noKey, 256)
	} else {
		b.bits(r.KeyManagerKey, 256)
	}
	b.bits(r.KeyManagerImage[:], 256).text(r.KeyManager)
	if r.KeyManager != "" {
		_, err := parseEndpoint(r.KeyManager)
		b.do(err)
	}
}

func (r *Root) writeVerified(b *builder) {
	b.set(r.VerifiedProxies).set(r.VerifiedWorkers).set(r.VerifiedKeyManagers)
}
