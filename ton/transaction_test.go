package ton

import (
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
)

// A message's flags stand where a fee once stood; nobody pays them.
func TestFlagsAreNoFee(t *testing.T) {
	to := address.NewAddress(0, 0, make([]byte, 32))
	for _, flags := range []uint64{0, 1, 3} {
		root, err := tlb.ToCell(&tlb.InternalMessage{IHRDisabled: true, SrcAddr: to, DstAddr: to, Amount: tlb.FromNanoTONU(7), IHRFee: tlb.FromNanoTONU(flags), FwdFee: tlb.FromNanoTONU(100)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseMessage(root)
		if err != nil {
			t.Fatal(err)
		}
		if m.forwarding != 100 || m.Value != 7 {
			t.Errorf("flags %d: forwarding costs %d and %d arrives, want 100 and 7", flags, m.forwarding, m.Value)
		}
	}
}
