package contract_test

import (
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// happened is a transaction, taken apart.
type happened struct {
	now    uint32
	in     *tlb.InternalMessage
	body   contract.Body // of a bounced message, what had been said
	out    []*tlb.InternalMessage
	ok     bool
	rent   coin.Nano
	sender string
}

func (h *happened) outcome(d *tlb.TransactionDescriptionOrdinary) string {
	if d.StoragePhase != nil {
		h.rent = nano(d.StoragePhase.StorageFeesCollected)
	}
	c, ran := d.ComputePhase.Phase.(tlb.ComputePhaseVM)
	h.ok = ran && !d.Aborted
	if !ran {
		return "-"
	}
	if c.Details.ExitCode == 0 && d.ActionPhase != nil {
		return fmt.Sprint(d.ActionPhase.ResultCode)
	}
	return fmt.Sprint(c.Details.ExitCode)
}

// said is the body, of a bounced message the one that came back, nil if it is
// none of ours.
func said(m *tlb.InternalMessage) contract.Body {
	body := plain(m.Body)
	if m.Bounced {
		if body.RefsNum() == 0 {
			return nil
		}
		body = body.MustBeginParse().MustLoadRef().MustToCell()
	}
	b, err := contract.ParseBody(body)
	if err != nil {
		return nil
	}
	return b
}

// returned says whether a message was refused and sent back with all it said.
func (h *happened) returned() bool {
	for _, m := range h.out {
		if m.Bounced && m.DstAddr.StringRaw() == h.sender && said(m) != nil {
			return true
		}
	}
	return false
}

// paid is what the transaction paid somebody.
func (h *happened) paid(to *address.Address) (sum coin.Nano, ok bool) {
	for _, m := range h.out {
		if _, pays := bodyOf(m).(*contract.PaidOut); pays && sameAddress(m.DstAddr, to) {
			sum, ok = sum+nano(m.Amount), true
		}
	}
	return sum, ok
}
