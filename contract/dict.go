package contract

import (
	"encoding/binary"
	"fmt"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// maxEntries bounds a list: a few cells that refer to each other can stand for
// a dictionary that never ends.
const maxEntries = 100_000

// dict reads a dictionary in the order of its keys. Each value must be read to
// its end.
func (r *reader) dict(what string, size uint, entry func(key []byte, value *reader)) {
	root := r.maybeRef()
	if r.err != nil || root == nil {
		return
	}
	if err := walk(root.AsDict(size), size, entry); err != nil {
		r.err = fmt.Errorf("%s: %w", what, err)
	}
}

func walk(d *cell.Dictionary, size uint, entry func(key []byte, value *reader)) error {
	it, err := d.Iterator(false, false)
	if err != nil {
		return err
	}
	for n := 0; it.Next(); n++ {
		if n == maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		key, err := it.Key().MustBeginParse().LoadSlice(size)
		if err != nil {
			return err
		}
		value := &reader{s: it.Value()}
		entry(key, value)
		if err := value.end(); err != nil {
			return fmt.Errorf("entry %x: %w", key, err)
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	if !d.ValidateAll() {
		return fmt.Errorf("dictionary has something between its entries")
	}
	return nil
}

// set reads a dictionary of which only the keys count. If strict the values
// must be empty.
func (r *reader) set(what string, strict bool) map[[32]byte]struct{} {
	set := map[[32]byte]struct{}{}
	r.dict(what, 256, func(key []byte, value *reader) {
		set[[32]byte(key)] = struct{}{}
		if !strict {
			value.s = emptySlice()
		}
	})
	return set
}

// entries writes the dictionary that list adds up.
func (b *builder) entries(size uint, list func(add func(key []byte, value *builder))) *builder {
	var items []cell.DictBulkKV
	list(func(key []byte, value *builder) {
		b.do(value.err)
		items = append(items, cell.DictBulkKV{Key: key, Value: value.b})
	})
	d, err := cell.NewDictFromItems(size, items)
	if err != nil {
		return b.do(err)
	}
	return b.dict(d)
}

func (b *builder) set(set map[[32]byte]struct{}) *builder {
	return b.entries(256, func(add func(key []byte, value *builder)) {
		for h := range set {
			add(h[:], newBuilder("hash"))
		}
	})
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
