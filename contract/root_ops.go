package contract

import (
	"fmt"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Messages from its owner to the registry: the lists. Source: contracts.md section 7.

// HashList names one of the registry's lists of hashes.
type HashList uint8

// The lists: approved images of workers and of proxies, and models.
const (
	WorkerImages HashList = iota
	ProxyImages
	Models
)

func (l HashList) String() string {
	return [...]string{"worker images", "proxy images", "models"}[l]
}

// hashOps are the operations that add to and remove from each list.
var hashOps = [...][2]uint32{
	WorkerImages: {0xe34b1c60, 0x8d94a79a},
	ProxyImages:  {0x71860e80, 0x3c41d0b2},
	Models:       {0xc146134d, 0x92b11c18},
}

// ChangeHash puts a hash on a list or takes it off. Doing it twice is harmless.
type ChangeHash struct {
	List    HashList
	Remove  bool
	QueryID uint64
	Hash    [32]byte
}

func (m *ChangeHash) op() uint32 {
	if m.Remove {
		return hashOps[m.List][1]
	}
	return hashOps[m.List][0]
}

func (m *ChangeHash) fields(c codec) { c.u64(&m.QueryID); c.hash(&m.Hash) }

// Cell is the body with its operation first.
func (m *ChangeHash) Cell() (*cell.Cell, error) {
	if int(m.List) >= len(hashOps) {
		return nil, fmt.Errorf("list %d of hashes, want 0 to %d", uint8(m.List), len(hashOps)-1)
	}
	return write(m)
}

// RegisterProxy adds a proxy under the next number.
type RegisterProxy struct {
	QueryID uint64
	// Text is where it is: see [ProxyEntry.String]. At most 114 bytes fit.
	Text string
}

func (*RegisterProxy) op() uint32       { return 0x927c7cb5 }
func (m *RegisterProxy) fields(c codec) { c.u64(&m.QueryID); c.text(&m.Text) }

// Cell refuses a text that readers of the registry would skip.
func (m *RegisterProxy) Cell() (*cell.Cell, error) {
	if _, _, err := ParseProxyAddress(m.Text); err != nil {
		return nil, err
	}
	return write(m)
}

// UnregisterProxy removes one; a number that is not there is fine. Under
// number 2^32-1 it takes back an offer of the registry.
type UnregisterProxy struct {
	QueryID uint64
	Seqno   uint32
}

func (*UnregisterProxy) op() uint32                  { return 0x6d49eaf2 }
func (m *UnregisterProxy) fields(c codec)            { c.u64(&m.QueryID); c.u32(&m.Seqno) }
func (m *UnregisterProxy) Cell() (*cell.Cell, error) { return write(m) }

// UpdateProxy moves a proxy that is registered; else exit code 2000.
type UpdateProxy struct {
	QueryID uint64
	Seqno   uint32
	Text    string
}

func (*UpdateProxy) op() uint32       { return 0x9c7924ba }
func (m *UpdateProxy) fields(c codec) { c.u64(&m.QueryID); c.u32(&m.Seqno); c.text(&m.Text) }

// Cell refuses a text that readers of the registry would skip.
func (m *UpdateProxy) Cell() (*cell.Cell, error) {
	if _, _, err := ParseProxyAddress(m.Text); err != nil {
		return nil, err
	}
	return write(m)
}

// ResetLists empties all lists. The last proxy's number stays.
type ResetLists struct{ QueryID uint64 }

func (*ResetLists) op() uint32                  { return 0x563c1d96 }
func (m *ResetLists) fields(c codec)            { c.u64(&m.QueryID) }
func (m *ResetLists) Cell() (*cell.Cell, error) { return write(m) }
